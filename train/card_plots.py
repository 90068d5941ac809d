"""Stored figures -> the pictures of a model card, as PNG: drawn with Pillow, the same bytes for the same figures."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ser_core.emotions import COLOURS, Emotion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

Anchor = Literal["lm", "mm", "rm", "mt", "lt"]
Colour = tuple[int, int, int]
Curve = list[tuple[float, float]]
"""Points (x, y), each in [0, 1], from left to right."""

PAPER: Colour = (255, 255, 255)
INK: Colour = (33, 37, 41)
FAINT: Colour = (222, 226, 230)
DEEP: Colour = (13, 110, 100)
"""The cell of an emotion that was always heard as such; paler ones lie between it and the paper."""

_SCALE = 2
"""Everything is drawn this many times as large and then reduced, which smooths its edges."""
_CURVE_COLOURS = (COLOURS[Emotion.SAD], COLOURS[Emotion.ANGRY])


def draw(metrics: Mapping[str, Any]) -> dict[str, bytes]:
    """All pictures that the figures allow, as PNG by file name: none where `metrics` holds nothing of unheard speakers.

    Args:
        metrics: see `train.figures.of`.
    """
    channels = metrics.get("actor_independent", {})
    drawn = {
        f"confusion-{channel}.png": confusion(values["confusion"], metrics["labels"], channel)
        for channel, values in channels.items()
    }
    if channels:
        drawn["reliability.png"] = reliability({name: values["reliability"] for name, values in channels.items()})
        drawn["coverage.png"] = coverage({name: values["coverage"] for name, values in channels.items()})
    return {name: png(picture) for name, picture in drawn.items()}


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], channel: str) -> Image:
    """A confusion matrix: per row, in per cent of its clips, what they were heard as.

    Args:
        matrix: clips by true emotion (rows) and answer (columns).
        labels: names of both, in order.
        channel: what the clips are, for the title.

    Returns:
        An RGB picture; the row of an emotion without clips is left empty.
    """
    cell, left, top = 70, 110, 84
    side = cell * len(labels)
    canvas = _Canvas(left + side + 20, top + side + 20)
    canvas.text((left, 12), f"{channel}: acted (rows), heard as (columns), % of the row", "lt", size=20)
    for row, counts in enumerate(matrix):
        y = top + row * cell
        canvas.text((left - 10, y + cell / 2), labels[row], "rm")
        canvas.text((left + (row + 0.5) * cell, top - 16), labels[row], "mm", size=15)
        total = sum(counts)
        for column, count in enumerate(counts):
            share = count / total if total else 0.0
            x = left + column * cell
            canvas.box((x, y, x + cell, y + cell), _between(PAPER, DEEP, share))
            if count:
                ink = PAPER if share > 0.6 else INK
                canvas.text((x + cell / 2, y + cell / 2), f"{100 * share:.0f}", "mm", ink=ink)
    return canvas.reduced()


def reliability(channels: Mapping[str, Sequence[Mapping[str, float]]]) -> Image:
    """The reliability diagram: of clips with about the same confidence, how many were right; RGB.

    Args:
        channels: for each channel its bins, with mean `confidence` and `accuracy`.
    """
    curves = {name: [(one["confidence"], one["accuracy"]) for one in bins] for name, bins in channels.items()}
    return _chart(curves, "confidence", "accuracy", floor=0.0, diagonal=True)


def coverage(channels: Mapping[str, Sequence[Mapping[str, float]]]) -> Image:
    """Accuracy where only the surest clips are answered, over the share of clips that are; RGB.

    Args:
        channels: for each channel its steps, with `coverage` and `accuracy`.
    """
    curves = {name: [(one["coverage"], one["accuracy"]) for one in steps] for name, steps in channels.items()}
    lowest = min((y for curve in curves.values() for _, y in curve), default=0.0)
    return _chart(curves, "share of clips answered, surest first", "accuracy", floor=math.floor(10 * lowest) / 10)


def bars(values: Mapping[str, float], title: str) -> Image:
    """Shares as horizontal bars from 0 to 1, written in per cent; RGB.

    Args:
        values: shares in [0, 1], by name, from top to bottom.
        title: what they are.
    """
    left, top, step, length = 210, 44, 28, 360
    canvas = _Canvas(left + length + 80, top + step * len(values) + 12)
    canvas.text((12, 12), title, "lt")
    for number, (name, value) in enumerate(values.items()):
        y = top + step * (number + 0.5)
        canvas.text((left - 10, y), name, "rm", size=15)
        canvas.box((left, y - 9, left + length, y + 9), PAPER)
        canvas.box((left, y - 9, left + length * value, y + 9), DEEP)
        canvas.text((left + length + 10, y), f"{100 * value:.1f} %", "lm", size=15)
    return canvas.reduced()


def _chart(curves: Mapping[str, Curve], x_title: str, y_title: str, *, floor: float, diagonal: bool = False) -> Image:
    """Curves over [0, 1], with y from `floor` to 1, both written in per cent; `diagonal` marks where y equals x."""
    plot = _Plot(floor=floor)
    canvas = _Canvas(plot.right + 30, plot.bottom + 64)
    canvas.text((plot.left, 12), f"{y_title}, %", "lt")
    canvas.text(((plot.left + plot.right) / 2, plot.bottom + 34), f"{x_title}, %", "mt")
    for percent in range(0, 101, 20):
        x, _ = plot.at(percent / 100, floor)
        canvas.line([(x, plot.top), (x, plot.bottom)], FAINT)
        canvas.text((x, plot.bottom + 8), str(percent), "mt")
    for percent in range(round(100 * floor), 101, 10 if floor > 0.3 else 20):
        _, y = plot.at(0.0, percent / 100)
        canvas.line([(plot.left, y), (plot.right, y)], FAINT)
        canvas.text((plot.left - 8, y), str(percent), "rm")
    if diagonal:
        canvas.line([plot.at(floor, floor), plot.at(1.0, 1.0)], INK)
    legend: list[tuple[str, Colour | str, int]] = [("right as often as sure", INK, 1)] if diagonal else []
    for number, (name, curve) in enumerate(curves.items()):
        colour = _CURVE_COLOURS[number % len(_CURVE_COLOURS)]
        points = [plot.at(x, y) for x, y in curve]
        canvas.line(points, colour, width=3)
        for point in points:
            canvas.dot(point, colour)
        legend.append((name, colour, 3))
    # Where no curve comes: below the diagonal at high confidence, and under the start of a curve that falls.
    x = plot.right - 236 if diagonal else plot.left + 20
    for number, (name, ink, width) in enumerate(reversed(legend)):
        y = plot.bottom - 24 - 26 * number
        canvas.line([(x, y), (x + 26, y)], ink, width=width)
        canvas.text((x + 36, y), name, "lm")
    return canvas.reduced()


@dataclass(frozen=True)
class _Plot:
    """Where a chart's axes lie, in pixels; y runs from `floor` at the bottom to 1 at the top."""

    floor: float
    left: int = 60
    top: int = 44
    right: int = 580
    bottom: int = 464

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a point; one below the floor lies on it."""
        height = max(0.0, (y - self.floor) / (1.0 - self.floor)) if self.floor < 1.0 else 1.0
        return self.left + x * (self.right - self.left), self.bottom - height * (self.bottom - self.top)


class _Canvas:
    """A white picture that is drawn on in pixels of its reduced size.

    Args:
        width, height: pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self._size = (width, height)
        self._image = Image.new("RGB", (width * _SCALE, height * _SCALE), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def text(
        self, at: tuple[float, float], text: str, anchor: Anchor, *, size: int = 17, ink: Colour | str = INK
    ) -> None:
        self._draw.text(_scaled(at), text, fill=ink, font=_font(size * _SCALE), anchor=anchor)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour | str, *, width: int = 1) -> None:
        self._draw.line([_scaled(point) for point in points], fill=colour, width=width * _SCALE, joint="curve")

    def dot(self, at: tuple[float, float], colour: Colour | str, radius: float = 4.0) -> None:
        (x, y), reach = _scaled(at), radius * _SCALE
        self._draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)

    def box(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        x0, y0, x1, y1 = (value * _SCALE for value in box)
        self._draw.rectangle((x0, y0, x1, y1), fill=colour, outline=FAINT, width=_SCALE)

    def reduced(self) -> Image:
        from PIL import Image

        return self._image.resize(self._size, Image.Resampling.LANCZOS)


def _font(size: int) -> ImageFont | FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


def _scaled(point: tuple[float, float]) -> tuple[float, float]:
    return point[0] * _SCALE, point[1] * _SCALE


def _between(light: Colour, dark: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(light, dark, strict=True))
    return red, green, blue


def png(picture: Image) -> bytes:
    """A picture as a file, the same bytes each time."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
