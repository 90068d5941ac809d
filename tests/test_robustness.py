"""Test speakers as people really record them: each condition, what it mixes in, and the whole through the command."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile as sf

from ser_core import features, voice
from ser_core.config import FeatureConfig
from ser_core.emotions import LABELS
from tests import sounds
from tests.test_judging import BACKENDS
from tests.train_data import NEMO_SPEAKERS, Pipeline, own_rows, train, write_table
from train import corpora, degrade, judging, metrics, robustness
from train.judging import ResultsError
from train.robustness import CONDITIONS, Sources, rng_of

if TYPE_CHECKING:
    from pathlib import Path

    from ser_core.features import Waveform

CONFIG = FeatureConfig()
RATE = CONFIG.sample_rate


def sources() -> Sources:
    return Sources(RATE, [sounds.noise(3.0)], [sounds.voice(2.0, pitch=100.0, seed=8), sounds.voice(1.0, seed=9)])


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_changes_a_voice_and_its_draws_alone_decide_how(name: str) -> None:
    spoken = sounds.voice(1.5, level=0.3)
    before = spoken.copy()
    first, again = (CONDITIONS[name](spoken, sources(), rng_of(name, "clip")) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert len(first) != len(spoken) or not np.allclose(first, spoken, atol=1e-4)
    assert np.array_equal(spoken, before)
    # It is still somebody who speaks.
    assert voice.detector().find(first, CONFIG).duration_s >= CONFIG.min_voice_s


@pytest.mark.parametrize("kind", ["white noise", "recorded noise", "babble"])
def test_noise_is_as_loud_as_its_name_says(kind: str) -> None:
    spoken = sounds.voice(1.5, level=0.3)
    for snr in robustness.SNR_DB:
        added = CONDITIONS[f"{kind}, {snr} dB"](spoken, sources(), rng_of("a")) - spoken
        level = 20.0 * np.log10(degrade.level(spoken) / np.sqrt(np.square(added, dtype=np.float64).mean()))
        assert level == pytest.approx(snr, abs=0.1)


def test_levels_are_as_their_names_say() -> None:
    spoken = sounds.voice(1.0, level=0.05)
    draws = rng_of("a")
    assert CONDITIONS["20 dB quieter"](spoken, sources(), draws) == pytest.approx(0.1 * spoken, rel=1e-5)
    assert CONDITIONS["20 dB louder"](spoken, sources(), draws) == pytest.approx(10.0 * spoken, rel=1e-5)
    clipped = CONDITIONS["clipping, 12 dB over"](spoken, sources(), draws)
    assert (np.abs(clipped) == 1.0).sum() > 10


def test_silence_around_a_voice_is_half_a_second_to_two() -> None:
    spoken = np.full(RATE, 0.5, dtype=np.float32)
    lengths = []
    for number in range(50):
        padded = CONDITIONS["silence around"](spoken, sources(), rng_of(str(number)))
        (places,) = np.nonzero(padded)
        assert np.array_equal(padded[places[0] : places[-1] + 1], spoken)
        lengths += [places[0] / RATE, (len(padded) - 1 - places[-1]) / RATE]
    assert min(lengths) == pytest.approx(0.5, abs=0.1)
    assert max(lengths) == pytest.approx(2.0, abs=0.1)
    assert 0.5 <= min(lengths) <= max(lengths) <= 2.0


def test_a_cut_beginning_takes_some_of_the_voice() -> None:
    spoken = np.concatenate([sounds.silence(1.0), sounds.voice(1.5, seed=3)])
    start = features.trim(spoken, CONFIG).start
    for number in range(20):
        cut = CONDITIONS["cut beginning"](spoken, sources(), rng_of(str(number)))
        assert np.array_equal(cut, spoken[len(spoken) - len(cut) :])
        assert 0.2 <= (len(spoken) - len(cut) - start) / RATE <= 0.5


def test_conditions_with_a_bound_are_conditions() -> None:
    assert set(robustness.BOUNDED) < set(CONDITIONS)
    assert len(robustness.BOUNDED) == 7


def noisy_data(folder: Path, *, train_side: int = 1, test_side: int = 2) -> Path:
    """Recordings of noise: the first and the last are training's, the one between is for testing."""
    for number, seed in enumerate((train_side, test_side, train_side)):
        path = folder / "noise" / "street" / f"{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, sounds.noise(2.0, seed=seed), RATE)
    return folder


def own_clips(folder: Path, speakers: dict[str, tuple[int, ...]]) -> list[corpora.Clip]:
    """Speakers whose clips hold nothing but a constant of so many hundredths, by which they are told apart."""
    rows = [(f"{who}-{level}.wav", "calm", who, "female") for who, levels in speakers.items() for level in levels]
    write_table(folder, rows)
    for name, _, _, _ in rows:
        level = int(name.partition("-")[2].removesuffix(".wav")) / 100
        sf.write(folder / "own" / name, np.full(RATE, level), RATE, subtype="FLOAT")
    return corpora.read(folder, ["own"])


def spied(
    clips: list[corpora.Clip], data: Path, monkeypatch: pytest.MonkeyPatch, name: str = "babble, spied"
) -> dict[float, tuple[list[float], list[Waveform], float]]:
    """For each clip, by its constant: those of the voices mixed in, the noises, and the first draw."""
    met: dict[float, tuple[list[float], list[Waveform], float]] = {}

    def spy(waveform: Waveform, mixed: Sources, draws: np.random.Generator) -> Waveform:
        voices: list[float] = [round(100 * float(one[0])) for one in mixed.voices]
        met[round(100 * float(waveform[0]))] = (voices, list(mixed.noises), draws.random())
        return waveform

    monkeypatch.setattr(robustness, "CONDITIONS", {name: spy})
    monkeypatch.setattr(robustness, "GENERATED", 1)
    robustness.judge(clips, BACKENDS, 0, data)
    return met


SPEAKERS = {"ana": (1, 2, 3), "ben": (11, 12, 13), "cho": (21, 22)}


def test_babble_is_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = own_clips(noisy_data(tmp_path), SPEAKERS)
    met = spied(clips, tmp_path, monkeypatch)
    assert sorted(met) == sorted(level for levels in SPEAKERS.values() for level in levels)
    for level, (voices, _, _) in met.items():
        assert len(set(voices)) == 4
        assert not {other // 10 for other in voices} & {level // 10}
    assert len({tuple(sorted(voices)) for voices, _, _ in met.values()}) > 3


def test_noise_is_what_training_never_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = own_clips(noisy_data(tmp_path), SPEAKERS)
    for _, noises, _ in spied(clips, tmp_path, monkeypatch).values():
        assert len(noises) == 1
        assert noises[0] == pytest.approx(sounds.noise(2.0, seed=2), abs=1e-4)


def test_every_network_meets_the_same_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = own_clips(noisy_data(tmp_path), SPEAKERS)
    met = spied(clips, tmp_path, monkeypatch, "one")
    # Another order, other company, and one clip is still drawn for alike; another condition draws otherwise.
    again = spied(clips[::-1][:6], tmp_path, monkeypatch, "one")
    assert {level: draw for level, (_, _, draw) in again.items()} == {level: met[level][2] for level in again}
    other = spied(clips, tmp_path, monkeypatch, "another")
    draws = [draw for one in (met, other) for _, _, draw in one.values()]
    assert len(set(draws)) == len(draws) == 16
    # Who babbles is drawn from the company, which is that of the fold.
    first, second = (spied(clips, tmp_path, monkeypatch) for _ in range(2))
    assert [(voices, draw) for voices, _, draw in first.values()] == [
        (voices, draw) for voices, _, draw in second.values()
    ]


def test_without_noise_or_company_nothing_is_judged(tmp_path: Path) -> None:
    clips = own_clips(tmp_path, SPEAKERS)
    with pytest.raises(ResultsError, match=r"There is no noise in .*noise: put recordings of noise there, at least"):
        robustness.judge(clips, BACKENDS, 0, tmp_path)
    noisy_data(tmp_path)
    with pytest.raises(ResultsError, match=r"Fold 2 tests one speaker alone, and babble wants others"):
        robustness.judge(clips[:3], BACKENDS, 2, tmp_path)


# Sounds that are no voice.


@pytest.fixture(scope="module")
def generated() -> list[tuple[str, Waveform]]:
    return robustness.generated(RATE)


def test_what_is_generated_is_silence_noise_and_tones(generated: list[tuple[str, Waveform]]) -> None:
    assert Counter(kind for kind, _ in generated) == dict.fromkeys(
        ("silence", "white noise", "tone", "chord", "beeps"), 40
    )
    for kind, sound in generated:
        assert sound.dtype == np.float32
        assert 1.0 <= len(sound) / RATE <= 6.0
        assert np.abs(sound).max() <= 1.0
        # -65 dBFS is where silence begins, a hair less for what hisses.
        assert (20.0 * np.log10(max(float(sound.std()), 1e-9)) < -65.0) == (kind == "silence")
    digital = [sound for kind, sound in generated if kind == "silence" and not sound.any()]
    assert len(digital) == 20
    again = robustness.generated(RATE)
    assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(generated, again, strict=True))


def test_hardly_any_of_it_is_taken_for_a_voice(generated: list[tuple[str, Waveform]]) -> None:
    found = judging.judge_sounds([(f"{kind}/{n}", sound) for n, (kind, sound) in enumerate(generated)], BACKENDS, 0)
    spoken = found["fp32"].keys[np.unique(found["fp32"].window_clip[found["fp32"].sound_s > 0.0])]
    # At least 95 % of 200 shall get no emotion; the network's own doubts come on top of this.
    assert len(spoken) <= 10, spoken.tolist()


# The whole through the command line.


@pytest.fixture(scope="module")
def hard(made: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results after fold 0 under every condition, and each corpus as heard by those who never heard it."""
    folder = tmp_path_factory.mktemp("hard")
    data = noisy_data(folder / "data")
    for corpus in ("own", "nemo"):
        (data / corpus).symlink_to(made.data / corpus)
    for kind, sound in (("rain", sounds.noise(1.0)), ("baby_cry", sounds.voice(1.0, pitch=200.0))):
        (data / "esc10" / kind).mkdir(parents=True)
        sounds.write(data / "esc10" / kind, sound, RATE, "ogg-vorbis")
    shutil.copytree(made.results, folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robustness, "GENERATED", 10)
        asked = ("--fold", 0, "--robustness", "--leave-out", "own", "nemo")
        where = ("--cache", made.cache, "--runs", made.runs, "--data", data, "--results", folder / "results")
        assert train("evaluate", "--config", made.recipe, *where, *asked) == 0
    return folder / "results" / "synthetic"


def figures_of(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_a_fold_is_judged_under_every_condition(hard: Path) -> None:
    clean, origin = judging.load(hard / "fold0.npz")
    under, same_origin = judging.load(hard / "robustness-fold0.npz")
    assert list(under) == list(CONDITIONS)
    assert same_origin == origin
    for one in under.values():
        assert one.keys.tolist() == clean["int8"].keys.tolist()
    # Features are relative to the loudest bin and the detector is given a level, so a gain changes next to nothing.
    told = clean["int8"].probabilities(1.0)
    assert under["20 dB quieter"].probabilities(1.0) == pytest.approx(told, abs=0.02)
    moved = {name: float(np.abs(one.probabilities(1.0) - told).max()) for name, one in under.items()}
    assert min(value for name, value in moved.items() if name != "20 dB quieter") > 1e-6


def test_the_figures_say_what_each_condition_costs(hard: Path) -> None:
    found = figures_of(hard)
    table = found["robustness"]
    assert list(table) == ["unchanged", *CONDITIONS]
    temperature = found["calibration"]["folds"][0]
    under, _ = judging.load(hard / "robustness-fold0.npz")
    clean = judging.load(hard / "fold0.npz")[0]["int8"]
    for name, one in {"unchanged": clean, **under}.items():
        accuracy = metrics.accuracy(one.emotions, one.probabilities(temperature))
        assert table[name]["speech"]["accuracy"] == pytest.approx(accuracy)
        assert table[name]["speech"]["cost"] == pytest.approx(table["unchanged"]["speech"]["accuracy"] - accuracy)
    assert table["unchanged"]["no_speech"] == 0


def test_sounds_that_are_no_voice_are_counted_by_kind(hard: Path) -> None:
    table = figures_of(hard)["not_voices"]
    assert {kind: (one["n"], one["human"]) for kind, one in table.items()} == {
        **dict.fromkeys(("silence", "white noise", "tone", "chord", "beeps"), (2, False)),
        "baby_cry": (1, True),
        "rain": (1, False),
    }
    assert {kind: one["no_speech"] for kind, one in table.items() if kind in ("silence", "white noise", "rain")} == {
        "silence": 1.0,
        "white noise": 1.0,
        "rain": 1.0,
    }
    # What stands for a baby here is a voice to the detector; whether it gets an emotion is the threshold's affair.
    assert table["baby_cry"]["no_speech"] == 0.0


def test_corpora_are_judged_by_networks_that_never_heard_them(hard: Path) -> None:
    judged, origin = judging.load(hard / "without-nemo.npz")
    assert (origin["trained_on"], origin["train_clips"], origin["trained_emotions"]) == (["own"], 24, list(LABELS))
    assert set(judged["fp32"].speakers) == set(NEMO_SPEAKERS)
    assert len(judged["fp32"].keys) == 12
    judged, origin = judging.load(hard / "without-own.npz")
    spoken_in_nemo = [label for label in LABELS if label not in ("calm", "disgust")]
    assert (origin["trained_on"], origin["train_clips"]) == (["nemo"], 12)
    assert origin["trained_emotions"] == spoken_in_nemo
    assert len(judged["fp32"].keys) == 24
    table = figures_of(hard)["other_recordings"]
    assert {corpus: (one["n"], one["emotions"], one["trained_on"]) for corpus, one in table.items()} == {
        "nemo": (12, spoken_in_nemo, ["own"]),
        # Clips of emotions that training never met are left out.
        "own": (sum(emotion in spoken_in_nemo for _, emotion, _, _ in own_rows()), spoken_in_nemo, ["nemo"]),
    }
    for one in table.values():
        assert [label for label, value in one["recall"].items() if value is None] == ["calm", "disgust"]
        assert one["uar"] == pytest.approx(np.mean([one["recall"][label] for label in spoken_in_nemo]))


def test_all_figures_come_out_again_from_what_is_stored(
    hard: Path, made: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(hard, tmp_path / "synthetic")
    (tmp_path / "synthetic" / "metrics.json").unlink()
    assert train("evaluate", "--config", made.recipe, "--results", tmp_path) == 0
    assert figures_of(tmp_path / "synthetic") == figures_of(hard)
    printed = capsys.readouterr().out
    for line in ("Opus, 16 kbit/s: speech ", "rain: not answered ", "nemo, never heard: UAR "):
        assert f"\n{line}" in printed
