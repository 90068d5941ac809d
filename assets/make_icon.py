"""Draws assets/icon.png, the page's icon: a voice as eight bars, one in each emotion's colour.

python -m assets.make_icon
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from ser_core.emotions import COLOURS
from ser_core.overlays import GROUND

ICON = Path(__file__).parent / "icon.png"
SIZE, FINER = 512, 4
HEIGHTS = (0.22, 0.42, 0.72, 0.54, 0.88, 0.62, 0.36, 0.2)
"""Of the bars, as shares of the picture; what makes it look like a voice."""


def draw() -> Image.Image:
    """RGBA (512, 512); drawn finer and reduced, which smooths the edges."""
    size = SIZE * FINER
    picture = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((0, 0, size - 1, size - 1), radius=size // 5, fill=GROUND)
    step = size * 0.8 / len(HEIGHTS)
    for place, (height, colour) in enumerate(zip(HEIGHTS, COLOURS.values(), strict=True)):
        centre = size * 0.1 + (place + 0.5) * step
        half, reach = step * 0.3, size * height * 0.42
        pen.rounded_rectangle((centre - half, size / 2 - reach, centre + half, size / 2 + reach), half, fill=colour)
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw().save(ICON, optimize=True)
    print(ICON)
