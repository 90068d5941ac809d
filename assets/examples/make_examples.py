"""Makes the example clips beside this script: sentences read by espeak-ng, a synthetic voice.

    python assets/examples/make_examples.py

espeak-ng's formant synthesiser has no random part, so one version of it writes the same bytes every time (the clips
here are by 1.51). They let a visitor hear what pitch, rate and loudness do to the answer; nobody's voice is in them,
and they express no true emotion.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class Clip:
    """One sentence and how it is read.

    Attributes:
        name: the file's name behind "synthetic-", without its ending.
        text: the sentence.
        pitch: base pitch, 0 to 99 (espeak-ng's default is 50).
        pitch_range: how far the pitch moves, in % of espeak-ng's own; 0 is a monotone.
        words_per_minute: rate, 80 to 450 (espeak-ng's default is 175).
        amplitude: loudness, 0 to 200 (espeak-ng's default is 100).
    """

    name: str
    text: str
    pitch: int
    pitch_range: int
    words_per_minute: int
    amplitude: int

    @property
    def file_name(self) -> str:
        """The file's name; it says that the voice is a synthetic one."""
        return f"synthetic-{self.name}.wav"


CLIPS = (
    Clip("plain", "The train leaves at half past nine.", 50, 100, 165, 90),
    Clip("slow-and-low", "The train leaves at half past nine.", 10, 60, 125, 70),
    Clip("fast-and-high", "The train leaves at half past nine.", 90, 200, 230, 100),
    Clip("loud-and-lively", "There is a letter on the table!", 65, 300, 185, 130),
    Clip("quiet-and-flat", "There is a letter on the table.", 30, 0, 150, 12),
)


def make(clip: Clip, folder: Path) -> Path:
    """Write `clip` into `folder` as WAV (16-bit, mono, 22.05 kHz) and return its path.

    Raises:
        subprocess.CalledProcessError: espeak-ng refused; its own message is on stderr.
    """
    target = folder / clip.file_name
    reading = ["-v", "en-us", "-p", clip.pitch, "-s", clip.words_per_minute, "-a", clip.amplitude]
    ssml = f'<speak><prosody range="{clip.pitch_range}%">{escape(clip.text)}</prosody></speak>'
    command = ["espeak-ng", *map(str, reading), "-z", "-w", str(target), "-m", ssml]
    subprocess.run(command, check=True)
    return target


def main() -> int:
    """Write all clips beside this script."""
    if shutil.which("espeak-ng") is None:
        print("espeak-ng is missing; get it first (Debian: apt-get install espeak-ng).", file=sys.stderr)
        return 1
    for clip in CLIPS:
        target = make(clip, Path(__file__).parent)
        print(f"{target.name}: {target.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
