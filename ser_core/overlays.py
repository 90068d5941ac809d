"""What is drawn over the spectrogram of `ser_core.plots` and below it: what was judged, where the model listened, and
which emotion was heard when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ser_core.emotions import COLOURS, Emotion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from ser_core.plots import Layout
    from ser_core.prediction import Span
    from ser_core.timeline import Segment

Colour = tuple[int, int, int]

# The picture keeps its own dark ground on a light page and on a dark one, like the display of an instrument.
GROUND: Colour = (17, 17, 27)
MARK: Colour = (94, 234, 212)
LISTENED: Colour = (255, 255, 255)

STRIP_HEIGHT, STRIP_GAP = 12, 4
"""Pixels: of the strip of emotions, and between it and the spectrogram."""


def mark(picture: Image, font: ImageFont | FreeTypeFont, sound: Span, shown: Span, layout: Layout) -> None:
    """Dim what was not judged and draw a bar with a caption over what was; `shown` is what the picture shows."""
    from PIL import Image, ImageDraw

    left, right = (layout.column(time_s, shown) for time_s in (sound.start_s, sound.end_s))
    for start, end in ((layout.left, left), (right, layout.left + layout.plot_width)):
        if end > start:
            box = (start, layout.top, end, layout.plot_bottom)
            stretch = picture.crop(box)
            picture.paste(Image.blend(stretch, Image.new("RGB", stretch.size, GROUND), 0.6), box)
    draw = ImageDraw.Draw(picture)
    draw.line([(left, layout.top - 6), (right, layout.top - 6)], fill=MARK, width=4)
    for x in (left, right):
        draw.line([(x, layout.top - 6), (x, layout.plot_bottom)], fill=MARK, width=2)
    caption = f"judged: {sound.start_s:.1f} to {sound.end_s:.1f} s"
    half = draw.textlength(caption, font=font) / 2
    centre = min(max((left + right) / 2, layout.left + half), layout.left + layout.plot_width - half)
    draw.text((centre, 10), caption, fill=MARK, font=font, anchor="mt")


def line(picture: Image, curve: npt.NDArray[np.float64], layout: Layout) -> None:
    """Draw a curve of (plot_width,) in [0, 1] over the lowest quarter of the spectrogram; NaN interrupts it."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    bottom = layout.plot_bottom - 4
    points = np.stack([layout.left + np.arange(len(curve)), bottom - curve * layout.plot_height / 4], axis=1)
    for part in np.ma.clump_unmasked(np.ma.masked_invalid(curve)):  # type: ignore[no-untyped-call]
        draw.line([(x, y) for x, y in points[part].tolist()], fill=LISTENED, width=3)


def strip(picture: Image, segments: Sequence[Segment], shown: Span, layout: Layout) -> None:
    """Draw each segment as a stretch of its colour between spectrogram and time axis, where `layout.strip` is left."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    top = layout.plot_bottom + STRIP_GAP
    for segment in segments:
        left, right = (layout.column(time_s, shown) for time_s in (segment.start_s, segment.end_s))
        if right > left:  # in ten minutes a short one may be narrower than a column
            # Pillow's rectangles hold their last row and column, too.
            draw.rectangle((left, top, right - 1, top + STRIP_HEIGHT - 1), fill=colour(segment))


def colour(segment: Segment) -> Colour:
    """The emotion's own; halfway to the ground where the answer is uncertain; the ground where there is no voice."""
    if segment.label is None:
        return GROUND
    code = COLOURS[Emotion(segment.label)]
    strength = 1.0 if segment.state == "ok" else 0.5
    red, green, blue = (
        round(ground + strength * (int(code[at : at + 2], 16) - ground))
        for at, ground in zip((1, 3, 5), GROUND, strict=True)
    )
    return red, green, blue
