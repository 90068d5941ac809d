"""Corpora, caches and recipes that the tests of training make themselves: small, synthetic, and quick to train on."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from ser_core import features
from ser_core.config import FeatureConfig
from ser_core.emotions import EMOTIONS, Emotion
from tests import sounds
from train import cache
from train.__main__ import main
from train.augment import AugmentConfig
from train.cache import FeatureCache
from train.corpora import Channel, Clip, Ravdess

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parent.parent
SPEAKERS = {"ana": "female", "ben": "male", "cho": "female", "dag": "male", "eva": "female", "fay": "female"}
LONG_CLIP = "ana-neutral.wav"
"""The one clip that is longer than a window, and than what is judged in one piece."""
LONG_S = FeatureConfig().one_piece_s + 1.0
"""How long."""

Row = tuple[str, str, str, str]
"""file, emotion, speaker and sex, as in the table of one's own recordings."""

NEMO_SPEAKERS = {"KF0": "female", "SB0": "male"}
NEMO_EMOTIONS = ("anger", "fear", "happiness", "neutral", "sadness", "surprised")
"""nEMO's own names."""

UNCHANGED = AugmentConfig(
    degraded=0.0,
    tempo=1.0,
    formants=1.0,
    tilt_db=0.0,
    noise_floor_probability=0.0,
    time_masks=0,
    mel_masks=0,
    mixup=0.0,
    label_smoothing=0.0,
)
"""All changes switched off."""

VERSIONS = 3
"""In the caches of `cache_of`: each clip as it is, and two that stand for degraded ones."""


def train(*arguments: object) -> int:
    """`python -m train ARGUMENTS` within this process."""
    return main([str(argument) for argument in arguments])


def train_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`python -m train ARGUMENTS` as a process of its own."""
    return python("-m", "train", *arguments)


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` in the project's folder."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def touch(folder: Path, names: Iterable[str], suffix: str = ".wav") -> Path:
    """Empty files of these names: enough for reading a corpus's names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}{suffix}").touch()
    return folder


def ravdess_clips(folder: Path) -> list[Clip]:
    """All 2,452 clips of RAVDESS by name, without sound."""
    return Ravdess().clips(touch(folder, Ravdess.expected()))


def write_table(
    data: Path, rows: Iterable[Sequence[str]], header: Sequence[str] = ("file", "emotion", "speaker", "sex")
) -> Path:
    """`clips.csv` of one's own recordings in `data / "own"`."""
    table = data / "own" / "clips.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return table


def own_rows() -> list[Row]:
    """24 clips: six speakers with four emotions each, all eight in all."""
    return [
        (f"{speaker}-{emotion}.wav", str(emotion), speaker, sex)
        for number, (speaker, sex) in enumerate(SPEAKERS.items())
        for emotion in (EMOTIONS[(3 * number + k) % len(EMOTIONS)] for k in range(4))
    ]


def own_corpus(data: Path) -> Path:
    """The clips of `own_rows` as sounds in `data / "own"`, each with a pitch of its own; gives back `data`."""
    rows = own_rows()
    write_table(data, rows)
    for number, (name, *_) in enumerate(rows):
        sound = sounds.voice(LONG_S if name == LONG_CLIP else 1.0, pitch=90.0 + 4.0 * number, seed=number)
        sounds.write(data / "own", sound, 16_000, stem=Path(name).stem)
    return data


def nemo_corpus(data: Path) -> Path:
    """Twelve clips in the layout of nEMO, two speakers with its six emotions each, as sounds; gives back `data`."""
    folder = data / "nemo"
    rows = [
        (f"{speaker}_{emotion}_1.wav", speaker, emotion, sex)
        for speaker, sex in NEMO_SPEAKERS.items()
        for emotion in NEMO_EMOTIONS
    ]
    (folder / "samples").mkdir(parents=True)
    for number, (name, *_) in enumerate(rows):
        sound = sounds.voice(1.0, pitch=100.0 + 5.0 * number, seed=100 + number)
        sounds.write(folder / "samples", sound, 16_000, stem=Path(name).stem)
    lines = ["file_id\tspeaker_id\temotion\tgender", *("\t".join(row) for row in rows)]
    (folder / "data.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return data


def tiny_recipe(path: Path, **changes: Any) -> Path:
    """A recipe that extends `tiny` and trains on one's own recordings."""
    path.write_text(yaml.safe_dump({"extends": "tiny", "corpora": ["own"], **changes}), encoding="utf-8")
    return path


def clip(
    number: int,
    corpus: str = "own",
    emotion: Emotion = Emotion.NEUTRAL,
    speaker: str = "ana",
    channel: Channel = "speech",
    statement: str | None = None,
) -> Clip:
    """A clip without a file."""
    path = Path(f"{number}.wav")
    return Clip(f"{corpus}/{number}", path, corpus, emotion, speaker, "female", channel, statement=statement)


def cache_of(clips: Sequence[Clip], frames: Sequence[int], *, versions: int = VERSIONS) -> FeatureCache:
    """A feature cache without sound: clip number i in version v holds `frames[i] + v` frames.

    Every value of a frame is `mark(i, v)`, from which a test reads what it was given.
    """
    config = FeatureConfig()
    lengths = np.array([[count + version for version in range(versions)] for count in frames])
    ends = np.cumsum(lengths.ravel()).reshape(lengths.shape)
    marks = [
        np.full((lengths[i, v], config.n_mels), _level(i, v), dtype=np.uint8)
        for i in range(len(clips))
        for v in range(versions)
    ]
    offsets = np.stack([ends - lengths, ends], axis=-1)
    return FeatureCache(tuple(clips), np.concatenate(marks), offsets, config, features.band_hz(config), digest="0" * 16)


def one_frame_each(clips: Sequence[Clip], twins: Iterable[tuple[int, int]]) -> FeatureCache:
    """A feature cache of one frame a clip, each another but for pairs that sound the same."""
    config = FeatureConfig()
    frames = np.random.default_rng(0).integers(0, 256, (len(clips), config.n_mels), dtype=np.uint8)
    for first, second in twins:
        frames[second] = frames[first]
    ends = np.arange(1, len(clips) + 1)
    offsets = np.stack([ends - 1, ends], axis=-1)[:, None]
    return FeatureCache(tuple(clips), frames, offsets, config, features.band_hz(config), digest="0" * 16)


def mark(number: int, version: int) -> float:
    """What `cache_of` fills a spectrogram with, above -1."""
    return float(cache.restore(np.array([[_level(number, version)]], dtype=np.uint8)).item())


def _level(number: int, version: int) -> int:
    level = 1 + VERSIONS * number + version
    assert level <= 255, "a byte tells no more clips apart"
    return level


@dataclass(frozen=True)
class Pipeline:
    """What the commands made of the synthetic corpora, with one epoch for each network.

    There are five folds, one run on all speakers, and one without each corpus, each of two networks.
    """

    data: Path
    cache: Path
    runs: Path
    results: Path
    recipe: Path
    bundle: Path

    @property
    def figures(self) -> Path:
        """The stored figures."""
        return self.results / self.recipe.stem / "metrics.json"


def pipeline(folder: Path) -> Pipeline:
    """prepare -> fit -> evaluate -> export through the real command line, in `folder`."""
    folder.mkdir(exist_ok=True)
    made = Pipeline(
        data=nemo_corpus(own_corpus(folder / "data")),
        cache=folder / "cache",
        runs=folder / "runs",
        results=folder / "results",
        recipe=tiny_recipe(folder / "synthetic.yaml", corpora=["own", "nemo"], optim={"epochs": 1}, members=2),
        bundle=folder / "bundle",
    )
    which = ("--config", made.recipe, "--cache", made.cache, "--runs", made.runs)
    corpora = ("--corpora", "own", "nemo")
    assert train("prepare", "--data", made.data, *corpora, "--cache", made.cache, "--workers", 1) == 0
    assert train("fit", *which, "--threads", 1, "--fold", 0, 1, 2, 3, 4) == 0
    assert train("fit", *which, "--threads", 1, "--leave-out", "own", "nemo") == 0
    assert train("fit", *which, "--threads", 1, "--all") == 0
    assert train("evaluate", *which, "--data", made.data, "--results", made.results) == 0
    assert train("export", *which, "--metrics", made.figures, "--out", made.bundle, "--name", "synthetic") == 0
    return made
