"""Corpora of emotional speech: file names -> clips with emotion, speaker, channel, statement.

One's own recordings need no code: `Own` reads a table. A corpus with names of its own kind takes one small class with a
`folder` and `clips(root)`, and a line in `CORPORA`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from ser_core.emotions import EMOTIONS, LABELS, Emotion
from ser_core.errors import SerError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Sex = Literal["female", "male"]
Channel = Literal["speech", "song"]


class CorpusError(SerError):
    """A corpus that isn't where it was looked for, or isn't whole."""


@dataclass(frozen=True)
class Clip:
    """One recording and what its corpus says of it.

    Attributes:
        key: corpus and file name without its ending; unique, the same for every layout and format on disk.
        path: the file.
        corpus: a key of `CORPORA`.
        emotion: what was acted.
        speaker: unique within the corpus.
        sex: of the speaker.
        channel: spoken or sung.
        strong: acted with strong intensity; None where the corpus doesn't say.
        statement: which text was spoken; None where the corpus doesn't say.
    """

    key: str
    path: Path
    corpus: str
    emotion: Emotion
    speaker: str
    sex: Sex
    channel: Channel = "speech"
    strong: bool | None = None
    statement: str | None = None


class Corpus(Protocol):
    """A reader of one corpus: where it lies below the data folder, and how its names are read."""

    folder: ClassVar[str]

    def clips(self, root: Path) -> list[Clip]:
        """All clips below `root`, sorted by key. Raises CorpusError where some are missing, naming them."""
        ...


class Ravdess:
    """RAVDESS, audio only (Livingstone & Russo 2018): 1,440 spoken and 1,012 sung clips by 24 actors.

    Reads the layout that the archives of Zenodo record 1188976 unpack to (WAV) and FLAC copies of it, however nested.
    """

    folder: ClassVar[str] = "ravdess"
    actors: ClassVar[range] = range(1, 25)
    actors_without_song: ClassVar[frozenset[int]] = frozenset({18})

    _NAME = re.compile(r"03-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")

    @classmethod
    def expected(cls) -> set[str]:
        """The 2,452 names, without ending: neutral is never strong, disgust and surprise are never sung."""
        names = set()
        for actor in cls.actors:
            for channel, emotions in ((1, range(1, 9)), (2, range(1, 7))):
                if channel == 2 and actor in cls.actors_without_song:
                    continue
                for emotion in emotions:
                    for intensity in (1, 2) if emotion > 1 else (1,):
                        for statement in (1, 2):
                            for repetition in (1, 2):
                                fields = (3, channel, emotion, intensity, statement, repetition, actor)
                                names.add("-".join(f"{field:02d}" for field in fields))
        return names

    def clips(self, root: Path) -> list[Clip]:
        """See `Corpus.clips`."""
        clips: dict[str, Clip] = {}
        for path in _sounds(root):
            # Where RAVDESS lies beside other corpora, BanglaSER's names would be taken for its own.
            if path.relative_to(root).parts[0] in _OTHER_FOLDERS or (clip := self.parse(path)) is None:
                continue
            if clip.key in clips:
                raise CorpusError(
                    f"RAVDESS has {path.stem} twice: {clips[clip.key].path} and {path}. Keep one of them."
                )
            clips[clip.key] = clip
        missing = {f"ravdess/{name}" for name in self.expected()} - set(clips)
        if missing:
            raise CorpusError(_missing("RAVDESS", root, missing, {f"actor {key[-2:]}" for key in missing}))
        return sorted(clips.values(), key=lambda clip: clip.key)

    @classmethod
    def parse(cls, path: Path) -> Clip | None:
        """What a file's name says of it; None where it isn't one of RAVDESS's."""
        match = cls._NAME.fullmatch(path.stem)
        if match is None:
            return None
        channel, emotion, intensity, statement, _repetition, actor = (int(field) for field in match.groups())
        return Clip(
            key=f"ravdess/{path.stem}",
            path=path,
            corpus="ravdess",
            emotion=EMOTIONS[emotion - 1],
            speaker=str(actor),
            sex="male" if actor % 2 else "female",
            channel="speech" if channel == 1 else "song",
            strong=intensity == 2,
            statement=str(statement),
        )


class Nemo:
    """nEMO, acted Polish speech (Christop 2024): 4,481 clips, 9 actors, six states; no calm, no disgust."""

    folder: ClassVar[str] = "nemo"
    _EMOTIONS: ClassVar[dict[str, Emotion]] = {
        "anger": Emotion.ANGRY,
        "fear": Emotion.FEARFUL,
        "happiness": Emotion.HAPPY,
        "neutral": Emotion.NEUTRAL,
        "sadness": Emotion.SAD,
        "surprised": Emotion.SURPRISED,
    }

    def clips(self, root: Path) -> list[Clip]:
        """See `Corpus.clips`; the list of clips is the corpus's own `data.tsv`."""
        table = root / "data.tsv"
        if not table.is_file():
            raise CorpusError(f"nEMO has no data.tsv in {root}: name the folder that holds it and its sounds.")
        sounds = {path.stem: path for path in _sounds(root)}
        with table.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        names = [row["file_id"].rpartition(".")[0] for row in rows]
        if missing := set(names) - set(sounds):
            raise CorpusError(_missing("nEMO", root, missing, {name.split("_")[0] for name in missing}))
        clips = [
            Clip(
                key=f"nemo/{name}",
                path=sounds[name],
                corpus="nemo",
                emotion=self._emotion(table, row["emotion"]),
                speaker=row["speaker_id"].strip(),
                sex="female" if row["gender"].strip() == "female" else "male",
                statement=name.rpartition("_")[2],
            )
            for name, row in zip(names, rows, strict=True)
        ]
        return sorted(clips, key=lambda clip: clip.key)

    def _emotion(self, table: Path, name: str) -> Emotion:
        if name not in self._EMOTIONS:
            raise CorpusError(f"{table} has the emotion {name!r}; nEMO knows {', '.join(self._EMOTIONS)}.")
        return self._EMOTIONS[name]


class BanglaSer:
    """BanglaSER, acted Bengali speech in ordinary rooms (Das et al. 2022): 34 speakers, five states.

    Its names look like RAVDESS's with other numbers for the emotions; no calm, fear or disgust.
    """

    folder: ClassVar[str] = "banglaser"
    _EMOTIONS: ClassVar[dict[str, Emotion]] = {
        "01": Emotion.HAPPY,
        "02": Emotion.SAD,
        "03": Emotion.ANGRY,
        "04": Emotion.SURPRISED,
        "05": Emotion.NEUTRAL,
    }
    count: ClassVar[int] = 1466

    _NAME = re.compile(r"\d\d-\d\d-(0[1-5])-(\d\d)-(\d\d)-\d\d-(\d\d)")

    def clips(self, root: Path) -> list[Clip]:
        """See `Corpus.clips`."""
        found = [(path, match) for path in _sounds(root) if (match := self._NAME.fullmatch(path.stem))]
        if len(found) < self.count:
            raise CorpusError(
                f"BanglaSER has {len(found)} clips in {root}, {self.count} were expected: unpack it anew."
            )
        clips = [
            Clip(
                key=f"banglaser/{path.stem}",
                path=path,
                corpus="banglaser",
                emotion=self._EMOTIONS[match[1]],
                speaker=match[4],
                sex="male" if int(match[4]) % 2 else "female",
                statement=match[3],
            )
            for path, match in found
        ]
        return sorted(clips, key=lambda clip: clip.key)


class Own:
    """One's own recordings: a folder `own` with `clips.csv`, whose columns are file, emotion, speaker and sex.

    `file` is relative to the folder, in any format that the app reads; `emotion` one of the eight names; `speaker` any
    text that tells people apart; `sex` female or male.
    """

    folder: ClassVar[str] = "own"
    columns: ClassVar[tuple[str, ...]] = ("file", "emotion", "speaker", "sex")

    def clips(self, root: Path) -> list[Clip]:
        """See `Corpus.clips`."""
        table = root / "clips.csv"
        if not table.is_file():
            raise CorpusError(f"{root} has no clips.csv: write one with the columns {', '.join(self.columns)}.")
        # "-sig": spreadsheets like to begin a UTF-8 file with a byte-order mark.
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            if absent := set(self.columns) - set(reader.fieldnames or ()):
                raise CorpusError(f"{table} lacks the columns {', '.join(sorted(absent))}: add them to its first line.")
            clips = [self._parse(root, table, number, row) for number, row in enumerate(reader, start=2)]
        if repeated := [key for key, count in Counter(clip.key for clip in clips).items() if count > 1]:
            raise CorpusError(f"{table} names {repeated[0].removeprefix('own/')} twice: keep one line for each file.")
        return sorted(clips, key=lambda clip: clip.key)

    @staticmethod
    def _parse(root: Path, table: Path, number: int, row: dict[str, str]) -> Clip:
        if any(row[column] is None for column in Own.columns):
            raise CorpusError(f"{table}, line {number} has too few fields: give {', '.join(Own.columns)}.")
        path = root / row["file"]
        if not path.is_file():
            raise CorpusError(f"{table}, line {number}: there is no file {row['file']} in {root}.")
        if row["emotion"] not in LABELS:
            raise CorpusError(f"{table}, line {number}: {row['emotion']!r} is none of {', '.join(LABELS)}.")
        if row["sex"] not in ("female", "male"):
            raise CorpusError(f"{table}, line {number}: sex is {row['sex']!r}, write female or male.")
        return Clip(
            key=f"own/{row['file']}",
            path=path,
            corpus="own",
            emotion=Emotion(row["emotion"]),
            speaker=row["speaker"].strip(),
            sex="female" if row["sex"] == "female" else "male",
        )


CORPORA: dict[str, Corpus] = {"ravdess": Ravdess(), "nemo": Nemo(), "banglaser": BanglaSer(), "own": Own()}
_OTHER_FOLDERS = {corpus.folder for name, corpus in CORPORA.items() if name != "ravdess"}


def read(data: Path, names: Iterable[str]) -> list[Clip]:
    """The clips of the named corpora.

    Args:
        data: the folder that holds a folder for each corpus; RAVDESS alone may lie in it directly.
        names: keys of `CORPORA`.

    Returns:
        Clips by corpus in the order of `names`, then by key.

    Raises:
        CorpusError: a corpus is unknown, not there or not whole.
    """
    clips: list[Clip] = []
    for name in names:
        if name not in CORPORA:
            raise CorpusError(f"No corpus is called {name!r}; there are {', '.join(CORPORA)}.")
        corpus = CORPORA[name]
        root = data / corpus.folder
        if not root.is_dir() and name == "ravdess":
            root = data
        if not root.is_dir():
            raise CorpusError(
                f"{name} was looked for in {root}, which isn't there. Put it there, or train with a config whose "
                "`corpora` leave it out."
            )
        clips += corpus.clips(root)
    return clips


def noise(data: Path, side: Literal["train", "test"]) -> list[Path]:
    """Recordings of noise in the folder `noise`, where it is there: every third by name is kept for testing."""
    kept = [_sounds(folder) for folder in sorted((data / "noise").glob("*/"))]
    return [path for paths in kept for number, path in enumerate(paths) if (number % 3 == 1) == (side == "test")]


def _sounds(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.suffix in {".wav", ".flac", ".opus"})


def _missing(corpus: str, root: Path, missing: set[str], groups: set[str]) -> str:
    some = ", ".join(sorted(missing)[:5]) + (" ..." if len(missing) > 5 else "")
    return (
        f"{corpus} in {root} is not whole: {len(missing)} clips are missing ({some}), of {', '.join(sorted(groups))}. "
        "Download or unpack it again."
    )
