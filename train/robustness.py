"""`python -m train evaluate --robustness`: test speakers as people really record them, and sounds that are no voice.

Each condition changes a test clip by a function of `train.degrade`; draws hang on the clip's name and the condition, so
that every network of a fold meets the same sounds. Noise comes from recordings that training never heard, babble from
other test speakers of the same fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ser_core.config import FeatureConfig
from train import corpora, degrade, judging
from train.judging import ResultsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ser_core.backends import Backend
    from ser_core.features import Waveform
    from ser_core.prediction import Precision
    from train.corpora import Clip
    from train.metrics import Judged

SNR_DB = (20, 10, 5)
GENERATED = 200
"""Sounds made by `generated`."""


@dataclass(frozen=True)
class Sources:
    """What conditions mix in.

    Attributes:
        sample_rate: Hz, of everything.
        noises: recordings.
        voices: clips of other speakers.
    """

    sample_rate: int
    noises: Sequence[Waveform]
    voices: Sequence[Waveform]


Change: TypeAlias = "Callable[[Waveform, Sources, np.random.Generator], Waveform]"
"""A waveform, what can be mixed in, and draws -> the waveform as it is recorded under a condition."""


def _white(snr_db: int) -> Change:
    return lambda x, _, rng: degrade.add_noise(x, degrade.coloured_noise(len(x), 0.0, rng), snr_db)


def _recorded(snr_db: int) -> Change:
    def change(x: Waveform, sources: Sources, rng: np.random.Generator) -> Waveform:
        recording = sources.noises[int(rng.integers(len(sources.noises)))]
        return degrade.add_noise(x, degrade.stretch_of(recording, len(x), rng), snr_db)

    return change


def _babble(snr_db: int) -> Change:
    def change(x: Waveform, sources: Sources, rng: np.random.Generator) -> Waveform:
        return degrade.add_noise(x, degrade.babble(sources.voices, len(x), rng), snr_db)

    return change


def _silence_around(x: Waveform, sources: Sources, rng: np.random.Generator) -> Waveform:
    before, after = (round(seconds * sources.sample_rate) for seconds in rng.uniform(0.5, 2.0, 2))
    return np.pad(x, (before, after))


def _cut_beginning(x: Waveform, sources: Sources, rng: np.random.Generator) -> Waveform:
    """Begin up to 0.5 s into the sound, as a recording does that was started late."""
    from ser_core import features

    return x[features.trim(x, FeatureConfig()).start + round(rng.uniform(0.2, 0.5) * sources.sample_rate) :]


CONDITIONS: dict[str, Change] = {
    **{f"white noise, {snr} dB": _white(snr) for snr in SNR_DB},
    **{f"recorded noise, {snr} dB": _recorded(snr) for snr in SNR_DB},
    **{f"babble, {snr} dB": _babble(snr) for snr in SNR_DB},
    "20 dB quieter": lambda x, _s, _r: degrade.gain(x, -20.0),
    "20 dB louder": lambda x, _s, _r: degrade.gain(x, 20.0),
    "clipping, 12 dB over": lambda x, _s, _r: degrade.clip(x, 12.0),
    "telephone, 8 kHz": lambda x, s, _: degrade.telephone(x, s.sample_rate),
    "Opus, 16 kbit/s": lambda x, s, _: degrade.codec(x, s.sample_rate, "opus", 16_000),
    "MP3, 32 kbit/s": lambda x, s, _: degrade.codec(x, s.sample_rate, "mp3", 32_000),
    "small room": lambda x, s, rng: degrade.reverberate(x, s.sample_rate, 0.4, 3.0, rng),
    "silence around": _silence_around,
    "cut beginning": _cut_beginning,
}

BOUNDED = (
    "white noise, 20 dB",
    "recorded noise, 20 dB",
    "babble, 20 dB",
    "20 dB quieter",
    "20 dB louder",
    "telephone, 8 kHz",
    "Opus, 16 kbit/s",
)
"""Conditions that shall cost at most 6 points of accuracy."""

NOT_VOICES = "esc10"
"""Folder of recordings that are no voice, by class; those of `HUMAN` are judged apart."""
HUMAN = ("baby_cry", "person_sneeze")


def rng_of(*names: str) -> np.random.Generator:
    """Draws that hang on names alone."""
    return np.random.default_rng(list("\n".join(names).encode()))


def generated(sample_rate: int) -> list[tuple[str, Waveform]]:
    """`GENERATED` sounds of 1 to 6 s that are no voice: silence, white noise, tones; with their kind."""
    sounds = []
    for number in range(GENERATED):
        rng = rng_of("generated", str(number))
        time_s = np.arange(round(rng.uniform(1.0, 6.0) * sample_rate)) / sample_rate
        kind = ("silence", "white noise", "tone", "chord", "beeps")[number % 5]
        if kind == "silence":
            # From digital silence to the hiss of a quiet sound card.
            sound = rng.standard_normal(len(time_s)) * 10.0 ** rng.uniform(-6.0, -3.8) * (number % 2)
        elif kind == "white noise":
            sound = rng.standard_normal(len(time_s)) * 10.0 ** rng.uniform(-3.0, -0.7)
        else:
            base = 10.0 ** rng.uniform(np.log10(60.0), np.log10(4_000.0))
            ratios = {"tone": [1.0], "chord": [1.0, 1.25, 1.5], "beeps": [1.0]}[kind]
            sound = sum(np.sin(2 * np.pi * base * ratio * time_s + rng.uniform(0.0, 6.0)) for ratio in ratios)
            sound = sound * 10.0 ** rng.uniform(-2.5, -0.5)
            if kind == "beeps":
                sound = sound * (np.sin(2 * np.pi * rng.uniform(0.5, 4.0) * time_s) > 0.0)
        sounds.append((kind, np.clip(sound, -1.0, 1.0).astype(np.float32)))
    return sounds


def judge(
    clips: Sequence[Clip], backends: Mapping[Precision, Backend], fold: int, data: Path
) -> dict[str, dict[str, Judged]]:
    """Judge one fold's test clips under every condition, and sounds that are no voice, in the lightest precision.

    Args:
        clips: of the fold's test speakers.
        backends: its network.
        fold: its number.
        data: folder of the corpora, with `noise` and, where it is there, `esc10`.

    Returns:
        "robustness": by condition; "not-voices": in the one precision, sounds that are called KIND/NUMBER.

    Raises:
        ResultsError: there is no recorded noise that training didn't hear, or nobody to babble.
    """
    from ser_core import audio

    rate = FeatureConfig().sample_rate
    recordings = corpora.noise(data, "test")
    if not recordings:
        raise ResultsError(f"There is no noise in {data / 'noise'}: put recordings of noise there, at least two.")
    if len({clip.speaker for clip in clips}) < 2:
        raise ResultsError(f"Fold {fold} tests one speaker alone, and babble wants others: judge another fold.")
    noises = [audio.read(path, sample_rate=rate).samples for path in recordings]
    light: dict[Precision, Backend] = {"int8": backends["int8"]}
    under = {}
    for name, change in CONDITIONS.items():
        under[name] = judging.judge(
            clips, light, fold, partial(_changed, name=name, change=change, clips=clips, noises=noises), what=name
        )["int8"]
    return {"robustness": under, "not-voices": {"int8": _not_voices(light, fold, data)}}


def _changed(
    samples: Waveform, clip: Clip, *, name: str, change: Change, clips: Sequence[Clip], noises: Sequence[Waveform]
) -> Waveform:
    from ser_core import audio

    rate, rng = FeatureConfig().sample_rate, rng_of(name, clip.key)
    voices: list[Waveform] = []
    if name.startswith("babble"):
        others = [other for other in clips if other.speaker != clip.speaker]
        chosen = rng.choice(len(others), size=min(4, len(others)), replace=False)
        voices = [audio.read(others[index].path, sample_rate=rate).samples for index in chosen]
    return change(samples, Sources(rate, noises, voices), rng)


def _not_voices(backends: Mapping[Precision, Backend], fold: int, data: Path) -> Judged:
    from ser_core import audio

    rate = FeatureConfig().sample_rate
    sounds = generated(rate)
    for folder in sorted((data / NOT_VOICES).glob("*/")):
        sounds += [(folder.name, audio.read(path, sample_rate=rate).samples) for path in sorted(folder.glob("*.ogg"))]
    named = [(f"{kind}/{number}", sound) for number, (kind, sound) in enumerate(sounds)]
    return judging.judge_sounds(named, backends, fold)["int8"]
