"""File names and tables -> clips, for every corpus, in every layout that they come in."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ser_core.emotions import Emotion
from tests.train_data import ravdess_clips, touch, write_table
from train import corpora
from train.corpora import BanglaSer, Clip, CorpusError, Nemo, Own, Ravdess

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED = sorted(Ravdess.expected())
NEMO_ROWS = (
    ("SB0_anger_1.wav", "SB0", "anger", "male"),
    ("SB0_sadness_2.wav", "SB0", "sadness", "male"),
    ("KF0_fear_1.wav", "KF0", "fear", "female"),
    ("KF0_happiness_7.wav", "KF0", "happiness", "female"),
    ("KF0_neutral_1.wav", "KF0", "neutral", "female"),
    ("KF0_surprised_1.wav", "KF0", "surprised", "female"),
)


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Clip]:
    return {clip.key: clip for clip in ravdess_clips(tmp_path_factory.mktemp("ravdess"))}


def nemo(root: Path) -> Path:
    touch(root / "samples", [name.removesuffix(".wav") for name, *_ in NEMO_ROWS])
    lines = ["file_id\tspeaker_id\temotion\tgender", *("\t".join(row) for row in NEMO_ROWS)]
    (root / "data.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("03-01-01-01-01-01-01", (Emotion.NEUTRAL, "1", "male", "speech", False, "1")),
        ("03-01-02-02-01-02-24", (Emotion.CALM, "24", "female", "speech", True, "1")),
        ("03-02-03-01-02-02-17", (Emotion.HAPPY, "17", "male", "song", False, "2")),
        ("03-01-04-01-02-01-18", (Emotion.SAD, "18", "female", "speech", False, "2")),
        ("03-02-05-02-01-01-09", (Emotion.ANGRY, "9", "male", "song", True, "1")),
        ("03-02-06-01-02-01-10", (Emotion.FEARFUL, "10", "female", "song", False, "2")),
        ("03-01-07-02-02-02-20", (Emotion.DISGUST, "20", "female", "speech", True, "2")),
        ("03-01-08-01-01-02-03", (Emotion.SURPRISED, "3", "male", "speech", False, "1")),
    ],
)
def test_ravdess_names_are_read(ravdess: dict[str, Clip], name: str, fields: tuple[object, ...]) -> None:
    clip = ravdess[f"ravdess/{name}"]
    assert (clip.emotion, clip.speaker, clip.sex, clip.channel, clip.strong, clip.statement) == fields
    assert (clip.corpus, clip.path.stem) == ("ravdess", name)


def test_ravdess_has_the_published_counts(ravdess: dict[str, Clip]) -> None:
    assert len(EXPECTED) == len(ravdess) == 2_452
    assert {f"ravdess/{name}" for name in EXPECTED} == set(ravdess)
    per_actor = Counter((clip.speaker, clip.channel) for clip in ravdess.values())
    actors = [str(number) for number in range(1, 25)]
    assert {actor: per_actor[actor, "speech"] for actor in actors} == dict.fromkeys(actors, 60)
    assert {actor: per_actor[actor, "song"] for actor in actors} == {**dict.fromkeys(actors, 44), "18": 0}
    emotions = Counter(clip.emotion for clip in ravdess.values() if clip.channel == "speech")
    assert emotions == {emotion: 96 if emotion is Emotion.NEUTRAL else 192 for emotion in Emotion}
    sung = {clip.emotion for clip in ravdess.values() if clip.channel == "song"}
    assert sung == set(Emotion) - {Emotion.DISGUST, Emotion.SURPRISED}
    assert not any(clip.strong for clip in ravdess.values() if clip.emotion is Emotion.NEUTRAL)


def test_missing_clips_are_named_with_their_actors(tmp_path: Path) -> None:
    gone = {"03-01-05-01-01-01-07", "03-02-06-02-02-02-07", "03-01-08-02-01-02-21"}
    touch(tmp_path, set(EXPECTED) - gone)
    with pytest.raises(CorpusError) as caught:
        Ravdess().clips(tmp_path)
    message = str(caught.value)
    assert "3 clips are missing" in message
    assert all(name in message for name in gone)
    assert "of actor 07, actor 21. Download or unpack it again." in message


def test_many_missing_clips_are_not_all_listed(tmp_path: Path) -> None:
    touch(tmp_path, [name for name in EXPECTED if not name.endswith("-18")])
    with pytest.raises(CorpusError, match="60 clips are missing") as caught:
        Ravdess().clips(tmp_path)
    # Of the list alone: the folder's own path may hold "-18" too.
    listed = re.search(r"missing \((.*) \.\.\.\), of actor 18\.", str(caught.value))
    assert listed
    assert len(listed[1].split(", ")) == 5


def test_every_layout_and_format_gives_the_same_clips(tmp_path: Path, ravdess: dict[str, Clip]) -> None:
    spoken = [name for name in EXPECTED if name.startswith("03-01")]
    sung = [name for name in EXPECTED if name.startswith("03-02")]
    for name in spoken:
        touch(tmp_path / "nested" / "ravdess" / "speech" / f"Actor_{name[-2:]}", [name])
    touch(tmp_path / "nested" / "ravdess" / "song", sung, ".flac")
    touch(tmp_path / "flat", EXPECTED, ".flac")
    nested, flat = (corpora.read(tmp_path / folder, ["ravdess"]) for folder in ("nested", "flat"))
    assert [clip.key for clip in nested] == [clip.key for clip in flat] == sorted(ravdess)
    assert [clip.emotion for clip in nested] == [clip.emotion for clip in flat]
    assert {clip.path.suffix for clip in nested if clip.channel == "song"} == {".flac"}
    assert nested[0].path == tmp_path / "nested/ravdess/speech/Actor_01/03-01-01-01-01-01-01.wav"


def test_files_that_are_none_of_ravdess_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, EXPECTED)
    touch(tmp_path, ["03-01-09-01-01-01-01", "03-01-01-01-01-01-25", "01-01-01-01-01-01-01", "notes"])
    touch(tmp_path, ["03-01-01-01-01-01-01"], ".txt")
    assert len(Ravdess().clips(tmp_path)) == 2_452


def test_nemo_is_read_from_its_table(tmp_path: Path) -> None:
    clips = {clip.key: clip for clip in Nemo().clips(nemo(tmp_path))}
    assert {key: (c.emotion, c.speaker, c.sex, c.statement) for key, c in clips.items()} == {
        "nemo/KF0_fear_1": (Emotion.FEARFUL, "KF0", "female", "1"),
        "nemo/KF0_happiness_7": (Emotion.HAPPY, "KF0", "female", "7"),
        "nemo/KF0_neutral_1": (Emotion.NEUTRAL, "KF0", "female", "1"),
        "nemo/KF0_surprised_1": (Emotion.SURPRISED, "KF0", "female", "1"),
        "nemo/SB0_anger_1": (Emotion.ANGRY, "SB0", "male", "1"),
        "nemo/SB0_sadness_2": (Emotion.SAD, "SB0", "male", "2"),
    }
    assert list(clips) == sorted(clips)
    assert clips["nemo/SB0_anger_1"].path == tmp_path / "samples" / "SB0_anger_1.wav"


def test_nemo_names_what_is_missing(tmp_path: Path) -> None:
    (nemo(tmp_path) / "samples" / "KF0_fear_1.wav").unlink()
    with pytest.raises(CorpusError, match=r"nEMO in .* 1 clips are missing \(KF0_fear_1\), of KF0\."):
        Nemo().clips(tmp_path)
    (tmp_path / "data.tsv").unlink()
    with pytest.raises(CorpusError, match=r"nEMO has no data\.tsv in "):
        Nemo().clips(tmp_path)


def test_banglaser_has_its_own_numbers_for_emotions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        f"03-01-0{emotion}-01-02-01-{speaker}" for emotion, speaker in zip(range(1, 6), (4, 5, 16, 17, 34), strict=True)
    ]
    names = [name if len(name) == 20 else f"{name[:-1]}0{name[-1]}" for name in names]
    touch(tmp_path, names)
    with pytest.raises(CorpusError, match=r"BanglaSER has 5 clips in .*, 1466 were expected"):
        BanglaSer().clips(tmp_path)
    monkeypatch.setattr(BanglaSer, "count", 5)
    assert [
        (clip.key, clip.emotion, clip.speaker, clip.sex, clip.statement) for clip in BanglaSer().clips(tmp_path)
    ] == [
        ("banglaser/03-01-01-01-02-01-04", Emotion.HAPPY, "04", "female", "02"),
        ("banglaser/03-01-02-01-02-01-05", Emotion.SAD, "05", "male", "02"),
        ("banglaser/03-01-03-01-02-01-16", Emotion.ANGRY, "16", "female", "02"),
        ("banglaser/03-01-04-01-02-01-17", Emotion.SURPRISED, "17", "male", "02"),
        ("banglaser/03-01-05-01-02-01-34", Emotion.NEUTRAL, "34", "female", "02"),
    ]


def test_own_recordings_are_read_from_their_table(tmp_path: Path) -> None:
    touch(tmp_path / "own" / "kitchen", ["b"], ".m4a")
    touch(tmp_path / "own", ["a"])
    write_table(tmp_path, [("kitchen/b.m4a", "calm", "Zoë", "female"), ("a.wav", "surprised", "Ben", "male")])
    assert corpora.read(tmp_path, ["own"]) == [
        Clip("own/a.wav", tmp_path / "own/a.wav", "own", Emotion.SURPRISED, "Ben", "male"),
        Clip("own/kitchen/b.m4a", tmp_path / "own/kitchen/b.m4a", "own", Emotion.CALM, "Zoë", "female"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("b.wav", "calm", "Ben", "male"), r"clips\.csv, line 3: there is no file b\.wav in "),
        (("a.wav", "bored", "Ben", "male"), r"line 3: 'bored' is none of neutral, calm, happy, sad, angry, fearful, "),
        (("a.wav", "calm", "Ben", "m"), r"line 3: sex is 'm', write female or male\."),
        (("a.wav", "sad", "Ben", "male"), r"names a\.wav twice: keep one line for each file\."),
    ],
)
def test_own_tables_that_are_wrong_are_told(tmp_path: Path, row: tuple[str, ...], message: str) -> None:
    touch(tmp_path / "own", ["a"])
    write_table(tmp_path, [("a.wav", "calm", "Ben", "male"), row])
    with pytest.raises(CorpusError, match=message):
        Own().clips(tmp_path / "own")


def test_own_tables_that_lack_something_are_told(tmp_path: Path) -> None:
    table = write_table(tmp_path, [("a.wav", "calm")], header=("file", "emotion"))
    with pytest.raises(CorpusError, match=r"clips\.csv lacks the columns sex, speaker: add them to its first line\."):
        Own().clips(tmp_path / "own")
    table.unlink()
    with pytest.raises(
        CorpusError, match=r"has no clips\.csv: write one with the columns file, emotion, speaker, sex\."
    ):
        Own().clips(tmp_path / "own")


def test_own_table_with_a_short_row_is_told(tmp_path: Path) -> None:
    write_table(tmp_path, [("a.wav", "calm", "Ben")])
    with pytest.raises(CorpusError, match=r"clips\.csv, line 2 has too few fields: give file, emotion, speaker, sex\."):
        Own().clips(tmp_path / "own")


def test_a_blank_behind_a_name_makes_no_other_speaker(tmp_path: Path) -> None:
    write_table(tmp_path, [("a.wav", "calm", "Ben", "male"), ("b.wav", "calm", "Ben ", "male")])
    touch(tmp_path / "own", ["a", "b"])
    assert {clip.speaker for clip in Own().clips(tmp_path / "own")} == {"Ben"}


def test_own_table_as_spreadsheets_save_it(tmp_path: Path) -> None:
    table = write_table(tmp_path, [("a.wav", "calm", "Ben", "male")])
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    touch(tmp_path / "own", ["a"])
    assert [clip.speaker for clip in Own().clips(tmp_path / "own")] == ["Ben"]


def test_an_unknown_or_absent_corpus_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"No corpus is called 'emodb'; there are ravdess, nemo, banglaser, own\."):
        corpora.read(tmp_path, ["emodb"])
    with pytest.raises(
        CorpusError, match=r"nemo was looked for in .*nemo, which isn't there\..*`corpora` leave it out"
    ):
        corpora.read(tmp_path, ["nemo"])


def test_corpora_come_in_the_order_they_are_asked_for(tmp_path: Path) -> None:
    nemo(tmp_path / "nemo")
    touch(tmp_path / "own", ["a"])
    write_table(tmp_path, [("a.wav", "calm", "Ben", "male")])
    assert [clip.corpus for clip in corpora.read(tmp_path, ["own", "nemo"])] == ["own"] + ["nemo"] * 6
    assert [clip.corpus for clip in corpora.read(tmp_path, ["nemo", "own"])] == ["nemo"] * 6 + ["own"]


def test_recordings_of_noise_are_kept_apart_for_testing(tmp_path: Path) -> None:
    touch(tmp_path / "noise" / "rain", "abcdefg", ".opus")
    touch(tmp_path / "noise" / "cafe", "xy", ".flac")
    touch(tmp_path / "noise" / "rain", ["notes"], ".txt")
    train = [path.stem for path in corpora.noise(tmp_path, "train")]
    test = [path.stem for path in corpora.noise(tmp_path, "test")]
    # The second of every three, within each folder.
    assert test == ["y", "b", "e"]
    assert train == ["x", "a", "c", "d", "f", "g"]


def test_without_recordings_of_noise_there_are_none(tmp_path: Path) -> None:
    assert corpora.noise(tmp_path, "train") == corpora.noise(tmp_path, "test") == []
