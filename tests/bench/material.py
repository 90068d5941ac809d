"""What the bench judges: synthetic voices, 16-bit mono WAV at 48 kHz, as browsers and corpora have them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from tests import sounds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS, RATE = 4.0, 48_000
CLIP = f"a {SECONDS:.0f} s WAV at {RATE // 1000} kHz"
DIFFERENT = 20
"""Voices; beyond them the same ones come again."""


def clip(folder: Path) -> Path:
    """A recording as long as those of most corpora."""
    return _write(folder / "voice.wav", [_voice(0)])


def recording(folder: Path, seconds: int) -> Path:
    """A long one, of many voices; `seconds` is a multiple of `SECONDS`."""
    voices = [_voice(seed) for seed in range(min(DIFFERENT, round(seconds / SECONDS)))]
    return _write(folder / "long.wav", [voices[i % len(voices)] for i in range(round(seconds / SECONDS))])


def clips(folder: Path, count: int) -> None:
    """Fill an empty folder with as many recordings of 3 to 5 s; beyond `DIFFERENT` they are links to the first ones."""
    for number in range(count):
        path = folder / f"voice-{number:04}.wav"
        if number < DIFFERENT:
            _write(path, [_voice(number, 3.0 + 2.0 * number / DIFFERENT)])
        else:
            os.link(folder / f"voice-{number % DIFFERENT:04}.wav", path)


def visitors(folder: Path, count: int) -> Iterator[Path]:
    """Recordings as visitors make them, each of a length of its own: of 1 to 5 s, and every tenth of 12 s and more.

    Each takes the place of the one before it. Libraries keep memory for each length that they met, which the same few
    recordings over and over would not show.
    """
    spoken = np.concatenate([_voice(seed) for seed in range(5)])
    for number, share in enumerate(np.random.default_rng(0).permutation(count) / count):
        seconds = 12.0 + 8.0 * share if number % 10 == 9 else 1.0 + 4.0 * share
        yield _write(folder / "visitor.wav", [spoken[: round(seconds * RATE)]])


def _voice(seed: int, seconds: float = SECONDS) -> sounds.Floats:
    return sounds.voice(seconds, RATE, pitch=110.0 + 5.0 * seed, seed=seed)


def _write(path: Path, parts: list[sounds.Floats]) -> Path:
    soundfile.write(path, np.concatenate(parts), RATE, subtype="PCM_16")
    return path
