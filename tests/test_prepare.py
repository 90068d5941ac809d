"""Sound -> feature cache: what is cleaned, what is reported, and that a cache is whole or refused."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile as sf

from ser_core import audio, features
from ser_core.config import FeatureConfig
from tests import sounds
from tests.train_data import LONG_CLIP, own_corpus, own_rows, train, train_process, write_table
from train import prepare
from train.prepare import SPEEDS, CacheError, FeatureCache

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = FeatureConfig()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def prepared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "cache"
    assert train("prepare", "--data", data, "--corpora", "own", "--cache", folder, "--workers", 1) == 0
    return folder


def prepare_clips(folder: Path, clips: dict[str, tuple[np.ndarray[Any, Any], str, str]]) -> tuple[Path, dict[str, Any]]:
    """Prepare 16 kHz clips given as name -> samples, emotion, speaker; the cache's folder and its report."""
    write_table(folder, [(f"{name}.wav", emotion, who, "female") for name, (_, emotion, who) in clips.items()])
    for name, (samples, _, _) in clips.items():
        sf.write(folder / "own" / f"{name}.wav", samples, 16_000, subtype="FLOAT")
    cache = folder / "cache"
    assert train("prepare", "--data", folder, "--corpora", "own", "--cache", cache, "--workers", 1) == 0
    return cache, json.loads((cache / "report.json").read_text(encoding="utf-8"))


def test_the_cache_holds_every_clip_and_what_is_known_of_it(prepared: Path, data: Path) -> None:
    cache = FeatureCache.open(prepared)
    known = [(c.key, c.path, str(c.emotion), c.speaker, c.sex, c.channel, c.corpus) for c in cache.clips]
    assert known == [
        (f"own/{name}", (data / "own" / name).resolve(), emotion, speaker, sex, "speech", "own")
        for name, emotion, speaker, sex in sorted(own_rows())
    ]
    assert cache.config == CONFIG
    assert cache.frames.dtype == np.float16
    assert cache.offsets.shape == (24, 3, 2)
    # End to end, without gaps.
    assert cache.offsets[0, 0, 0] == 0
    flat = cache.offsets.reshape(-1, 2)
    assert np.array_equal(flat[1:, 0], flat[:-1, 1])
    assert flat[-1, 1] == len(cache.frames)


def test_a_cached_clip_is_what_the_app_computes(prepared: Path) -> None:
    cache = FeatureCache.open(prepared)
    for number in (0, 7, 23):
        waveform = audio.read(cache.clips[number].path, sample_rate=16_000).samples
        expected = features.log_mel(features.trim(waveform, CONFIG).samples, CONFIG)
        # Half precision holds 11 bits of values in [-1, 1].
        assert pytest.approx(expected, abs=2**-11) == cache.spectrogram(number).T


def test_clips_are_heard_at_three_speeds(prepared: Path) -> None:
    cache = FeatureCache.open(prepared)
    assert SPEEDS == (1.0, 0.9, 1.1)
    lengths = cache.offsets[:, :, 1] - cache.offsets[:, :, 0]
    for own, slow, fast in lengths:
        assert slow == pytest.approx(own / 0.9, abs=1.5)
        assert fast == pytest.approx(own / 1.1, abs=1.5)
    long_clip = [c.key for c in cache.clips].index(f"own/{LONG_CLIP}")
    assert lengths[long_clip, 0] > 5.0 * CONFIG.frame_rate


def test_slower_is_lower(tmp_path: Path) -> None:
    folder, _ = prepare_clips(tmp_path, {"tone": (sounds.tone(1.0, frequency=1_000.0), "calm", "ana")})
    cache = FeatureCache.open(folder)
    loudest = [int(np.median(cache.spectrogram(0, speed).argmax(axis=1))) for speed in range(3)]
    assert loudest[1] < loudest[0] < loudest[2]


def test_processes_and_command_give_the_same_cache(prepared: Path, data: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    done = train_process("prepare", "--data", data, "--corpora", "own", "--cache", again, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "own: 24 clips"
    assert str(again / "report.json") in done.stdout
    first, second = FeatureCache.open(prepared), FeatureCache.open(again)
    assert first.clips == second.clips
    assert first.digest == second.digest
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.offsets, second.offsets)


def test_the_report_counts_clips_and_speakers(prepared: Path) -> None:
    report = json.loads((prepared / "report.json").read_text(encoding="utf-8"))
    assert report["clips"] == {"own": 24}
    assert report["clips_per_speaker"] == {f"own/{who}": 4 for who in ("ana", "ben", "cho", "dag", "eva", "fay")}
    assert report["decisions"] == {}
    assert report["same_sound"] == []
    assert report["digest"] == FeatureCache.open(prepared).digest
    assert report["feature_config"] == CONFIG.to_dict()


def test_near_silent_clips_are_levelled_and_others_left(tmp_path: Path) -> None:
    quiet, loud = sounds.voice(1.0, level=0.01), sounds.voice(1.0, level=0.02, seed=1)
    _, report = prepare_clips(tmp_path, {"quiet": (quiet, "calm", "ana"), "loud": (loud, "calm", "ben")})
    assert report["decisions"] == {"levelled": ["own/quiet.wav: levelled from a peak of 1.00 % of full scale"]}
    levelled, decisions = prepare.load_clip(tmp_path / "own" / "quiet.wav", CONFIG)
    assert decisions == ("levelled from a peak of 1.00 % of full scale",)
    assert np.abs(levelled).max() == pytest.approx(0.1, rel=1e-5)
    assert levelled == pytest.approx(quiet * 10.0, abs=1e-6)
    left, decisions = prepare.load_clip(tmp_path / "own" / "loud.wav", CONFIG)
    assert decisions == ()
    assert np.array_equal(left, loud)


def test_stereo_is_mixed_down(tmp_path: Path) -> None:
    one, other = sounds.voice(1.0), sounds.voice(1.0, seed=1)
    _, report = prepare_clips(tmp_path, {"stereo": (np.stack([one, other], axis=1), "calm", "ana")})
    assert report["decisions"] == {"mixed down": ["own/stereo.wav: mixed down from 2 channels"]}
    mixed, _ = prepare.load_clip(tmp_path / "own" / "stereo.wav", CONFIG)
    assert mixed == pytest.approx((one + other) / 2, abs=1e-6)


def test_clips_without_sound_are_dropped(tmp_path: Path) -> None:
    clips = {
        "silent": (sounds.silence(1.0), "calm", "ana"),
        "click": (sounds.tone(0.2), "calm", "ana"),
        "voice": (sounds.voice(1.0), "calm", "ana"),
    }
    folder, report = prepare_clips(tmp_path, clips)
    assert [clip.key for clip in FeatureCache.open(folder).clips] == ["own/voice.wav"]
    assert report["decisions"] == {
        "dropped: it holds no sound": [
            "own/click.wav: dropped: it holds no sound",
            "own/silent.wav: dropped: it holds no sound",
        ]
    }
    assert report["clips"] == {"own": 3}


def test_the_same_sound_stays_with_one_speaker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = sounds.voice(1.0)
    clips = {
        "a": (sound, "calm", "ana"),
        "b": (sound, "calm", "ana"),
        "c": (sound, "calm", "ben"),
        "d": (sounds.voice(1.0, seed=1), "calm", "ben"),
    }
    folder, report = prepare_clips(tmp_path, clips)
    # A speaker's own repetition is on his or her side of every split; another speaker's copy would be on both.
    assert report["same_sound"] == [["own/a.wav", "own/b.wav"]]
    assert report["decisions"] == {
        "dropped: another speaker's sound": ["own/c.wav: dropped: another speaker's sound (own/a.wav)"]
    }
    assert [clip.key for clip in FeatureCache.open(folder).clips] == ["own/a.wav", "own/b.wav", "own/d.wav"]
    printed = capsys.readouterr().out
    assert "same sound, kept on one side of a split: own/a.wav, own/b.wav\n" in printed
    assert "dropped: another speaker's sound: 1 clips\n" in printed


def test_the_digest_changes_with_sound_and_label(tmp_path: Path) -> None:
    sound = sounds.voice(1.0)
    told = {
        "plain": (sound, "calm", "ana"),
        "emotion": (sound, "sad", "ana"),
        "speaker": (sound, "calm", "ben"),
        "sound": (sound * np.float32(0.9), "calm", "ana"),
        "same": (sound, "calm", "ana"),
    }
    digests = {}
    for name, clip in told.items():
        digests[name] = prepare_clips(tmp_path / name, {"one": clip})[1]["digest"]
    assert digests["same"] == digests["plain"]
    assert len({*digests.values()}) == 4


def test_a_cache_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        CacheError, match=r"There are no features in .*: run `python -m train prepare --data DIR` first"
    ):
        FeatureCache.open(tmp_path)


def test_a_cache_of_other_features_is_refused(tmp_path: Path) -> None:
    folder, _ = prepare_clips(tmp_path, {"one": (sounds.voice(1.0), "calm", "ana")})
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    other = dataclasses.replace(CONFIG, trim_top_db=30.0)
    index["feature_config"] = other.to_dict()
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CacheError, match=rf"made with config {other.fingerprint}, .* has {CONFIG.fingerprint}: run "):
        FeatureCache.open(folder)


def test_a_cache_that_was_broken_off_is_not_taken_for_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = {"one": (sounds.voice(1.0), "calm", "ana")}
    folder, _ = prepare_clips(tmp_path, clips)
    FeatureCache.open(folder)

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space left"):
        prepare_clips(tmp_path, clips)
    with pytest.raises(CacheError, match="There are no features"):
        FeatureCache.open(folder)


def test_a_clip_that_cannot_be_read_ends_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path, [("junk.wav", "calm", "ana", "female")])
    (tmp_path / "own" / "junk.wav").write_bytes(b"no sound at all " * 100)
    assert train("prepare", "--data", tmp_path, "--corpora", "own", "--cache", tmp_path / "c", "--workers", 1) == 1
    assert "error: junk.wav " in capsys.readouterr().err
    assert not (tmp_path / "c" / "index.json").exists()
