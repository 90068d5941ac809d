"""Pictures of a recording, drawn with NumPy and Pillow: no window system, no global state, safe from many threads."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ser_core import features, overlays
from ser_core.overlays import GROUND
from ser_core.prediction import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from ser_core.config import FeatureConfig
    from ser_core.features import Waveform
    from ser_core.overlays import Colour
    from ser_core.prediction import Window
    from ser_core.timeline import Segment

INK: Colour = (205, 207, 220)

# Every 32nd colour of matplotlib's "magma" (van der Walt & Smith, CC0): perceptually even, and readable in print.
_MAGMA = np.array(
    [
        (0, 0, 4), (20, 14, 54), (59, 15, 112), (100, 26, 128), (140, 41, 129),
        (183, 55, 121), (222, 73, 104), (247, 112, 92), (254, 159, 109), (254, 207, 146), (252, 253, 191),
    ],
    dtype=np.float64,
)  # fmt: skip

_MAX_FRAMES_PER_COLUMN = 4
"""A long recording is drawn from this many frames a column, evenly spaced: time and memory stay bounded."""


@dataclass(frozen=True)
class Layout:
    """Sizes in pixels. The text is large, since a phone shows the picture at less than half its size.

    Attributes:
        width, height: the whole picture.
        left, top, right, bottom: margins around the spectrogram.
        text: height of the letters.
        strip: height of the strip of emotions between spectrogram and time axis, with the gap above it.
    """

    width: int = 880
    height: int = 460
    left: int = 92
    top: int = 54
    right: int = 24
    bottom: int = 52
    text: int = 26
    strip: int = 0

    @property
    def plot_width(self) -> int:
        """Columns of the spectrogram."""
        return self.width - self.left - self.right

    @property
    def plot_height(self) -> int:
        """Rows of the spectrogram."""
        return self.height - self.top - self.bottom - self.strip

    @property
    def plot_bottom(self) -> int:
        """The row below the spectrogram's last."""
        return self.top + self.plot_height

    def column(self, time_s: float, shown: Span) -> int:
        """The column of a moment in a picture of what is `shown`; that of an edge where it lies outside."""
        share = (time_s - shown.start_s) / shown.duration_s if shown.duration_s > 0.0 else 0.0
        return round(self.left + min(max(share, 0.0), 1.0) * self.plot_width)


LAYOUT = Layout()


def spectrogram(
    samples: Waveform,
    config: FeatureConfig,
    sound: Span | None = None,
    windows: Sequence[Window] = (),
    segments: Sequence[Segment] = (),
    *,
    start_s: float = 0.0,
    layout: Layout = LAYOUT,
) -> Image:
    """The log-mel spectrogram of a recording, with time in seconds and frequency in Hz.

    It is made of the network's own features, but over the whole recording and relative to its loudest bin. What lies
    outside `sound` is dimmed. A line along the bottom rises where the model listened. A strip below shows the emotions
    in their colours: fainter where the answer is uncertain, none where there is no voice.

    Args:
        samples: float32 (n,), mono, at `config.sample_rate`; any n, an empty recording gives an empty picture.
        config: rates and bands.
        sound: the span that was judged; None marks nothing.
        windows: what was judged in it, with its attention; none draws no line.
        segments: the recording's timeline, see `ser_core.timeline`; none draws no strip, and leaves it no room.
        start_s: seconds, where in the recording `samples` begin; the other times are the recording's, too.
        layout: sizes.

    Returns:
        An RGB picture of (layout.width, layout.height), whatever the recording's length.
    """
    from PIL import Image, ImageDraw, ImageFont

    if segments:
        layout = dataclasses.replace(layout, strip=overlays.STRIP_HEIGHT + overlays.STRIP_GAP)
    shown = Span(start_s, start_s + samples.size / config.sample_rate)
    picture = Image.new("RGB", (layout.width, layout.height), GROUND)
    picture.paste(_heat(samples, config, layout), (layout.left, layout.top))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=layout.text)
    _frequency_axis(draw, font, config, layout)
    _time_axis(draw, font, shown, layout)
    if sound is not None and shown.duration_s > 0.0:
        overlays.mark(picture, font, sound, shown, layout)
        overlays.line(picture, listened(windows, shown, layout.plot_width), layout)
    overlays.strip(picture, segments, shown, layout)
    return picture


def listened(windows: Sequence[Window], shown: Span, columns: int) -> npt.NDArray[np.float64]:
    """How much of the model's attention fell on each moment of a recording.

    Args:
        windows: judged stretches; they may overlap, and where they do, their mean counts.
        shown: of the recording; longer than 0 s.
        columns: how many moments.

    Returns:
        float64 (columns,) in [0, 1], 1 where it listened most; NaN where nothing was judged.
    """
    moments = shown.start_s + (np.arange(columns) + 0.5) / columns * shown.duration_s
    total, count = np.zeros(columns), np.zeros(columns)
    for window in windows:
        if window.sound is None or not window.attention:
            continue
        inside = (moments >= window.sound.start_s) & (moments < window.sound.end_s)
        place = (moments[inside] - window.sound.start_s) / window.sound.duration_s * len(window.attention)
        # Each slice's share, times how many there are: a second counts alike in a short window and in a long one.
        total[inside] += np.array(window.attention)[place.astype(int)] * len(window.attention)
        count[inside] += 1.0
    with np.errstate(invalid="ignore"):
        mean = total / np.where(count > 0.0, count, np.nan)
    highest = np.nanmax(mean, initial=0.0)
    return mean / highest if highest > 0.0 else mean


def describe(
    duration_s: float, sound: Span | None, windows: Sequence[Window] = (), segments: Sequence[Segment] = ()
) -> str:
    """The picture in words, for those who can't see it; the arguments are those of `spectrogram`."""
    if sound is None:
        return f"Spectrogram of {duration_s:.1f} seconds of recording, in which no voice was found."
    strip = " A strip below shows the emotions in their colours." if segments else ""
    return (
        f"Spectrogram of {duration_s:.1f} seconds of recording: time in seconds from left to right, frequency in Hz "
        f"from bottom to top. The sound from {sound.start_s:.1f} to {sound.end_s:.1f} seconds was judged; a "
        f"line along the bottom rises where the model listened{_most(windows, duration_s)}.{strip}"
    )


def _most(windows: Sequence[Window], duration_s: float) -> str:
    curve = listened(windows, Span(0.0, duration_s), 1_000)
    if np.isnan(curve).all():
        return ""
    return f", most at {(np.nanargmax(curve) + 0.5) / 1_000 * duration_s:.1f} seconds"


def time_ticks(duration_s: float, start_s: float = 0.0, most: int = 7) -> list[float]:
    """Round times in `duration_s` from `start_s` on (seconds), 1, 2 or 5 times a power of ten apart, at most `most`."""
    if duration_s <= 0.0:
        return [start_s]
    coarse = duration_s / (most - 1)
    power = 10.0 ** math.floor(math.log10(coarse))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= coarse * (1 - 1e-9))
    first, last = math.ceil(start_s / step - 1e-9), math.floor((start_s + duration_s) / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def frequency_ticks(config: FeatureConfig) -> list[tuple[int, float]]:
    """Octaves of 125 Hz inside the bands, as (Hz, height): height 0 is the bottom edge of the picture and 1 its top.

    Mel bands are evenly spaced on the mel scale; band i of n is centred on step i + 1 of the n + 1 steps from `f_min`
    to `f_max` (librosa.filters.mel), and is a row of the picture around its centre.
    """
    import librosa

    low, high = librosa.hz_to_mel([config.f_min, config.f_max])
    ticks = []
    for hertz in (125, 250, 500, 1000, 2000, 4000, 8000):
        step = (float(librosa.hz_to_mel(hertz)) - low) / (high - low) * (config.n_mels + 1)
        height = (step - 0.5) / config.n_mels
        if 0.0 <= height <= 1.0 + 1.0 / config.n_mels:
            ticks.append((hertz, min(float(height), 1.0)))
    return ticks


def _heat(samples: Waveform, config: FeatureConfig, layout: Layout) -> Image:
    """The coloured spectrogram alone, RGB (plot_width, plot_height)."""
    from PIL import Image

    if samples.size == 0:
        return Image.new("RGB", (layout.plot_width, layout.plot_height), _tuple(_MAGMA[0]))
    hop = max(config.hop_length, math.ceil(samples.size / (layout.plot_width * _MAX_FRAMES_PER_COLUMN)))
    log_mel = features.log_mel(samples, dataclasses.replace(config, hop_length=hop))
    grey = Image.fromarray(np.round((log_mel[::-1] + 1.0) * 127.5).astype(np.uint8))
    grey = grey.resize((layout.plot_width, layout.plot_height), Image.Resampling.BICUBIC)
    return Image.fromarray(colour_map()[np.asarray(grey)])


def colour_map() -> npt.NDArray[np.uint8]:
    """256 colours from silence to the loudest bin: uint8 (256, 3), sRGB."""
    levels = np.linspace(0.0, 1.0, 256)
    anchors = np.linspace(0.0, 1.0, len(_MAGMA))
    channels = [np.interp(levels, anchors, _MAGMA[:, channel]) for channel in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def _frequency_axis(draw: ImageDraw, font: ImageFont | FreeTypeFont, config: FeatureConfig, layout: Layout) -> None:
    lowest_text = math.inf
    for hertz, height in frequency_ticks(config):
        y = round(layout.plot_bottom - height * layout.plot_height)
        if lowest_text - y < layout.text:  # octaves lie closer together at the low end of the mel scale
            continue
        lowest_text = y
        draw.line([(layout.left - 8, y), (layout.left - 2, y)], fill=INK, width=2)
        draw.text((layout.left - 14, y), str(hertz), fill=INK, font=font, anchor="rm")
    draw.text((layout.left - 14, 10), "Hz", fill=INK, font=font, anchor="rt")


def _time_axis(draw: ImageDraw, font: ImageFont | FreeTypeFont, shown: Span, layout: Layout) -> None:
    bottom, right = layout.plot_bottom + layout.strip, layout.left + layout.plot_width
    unit_left = right - draw.textlength("seconds", font=font)
    for time_s in time_ticks(shown.duration_s, shown.start_s):
        x = layout.column(time_s, shown)
        text = f"{time_s:g}"
        draw.line([(x, bottom + 2), (x, bottom + 8)], fill=INK, width=2)
        if x + draw.textlength(text, font=font) / 2 < unit_left - 10:
            draw.text((x, bottom + 12), text, fill=INK, font=font, anchor="mt")
    draw.text((right, bottom + 12), "seconds", fill=INK, font=font, anchor="rt")


def _tuple(colour: npt.NDArray[np.float64]) -> Colour:
    red, green, blue = (round(float(value)) for value in colour)
    return red, green, blue
