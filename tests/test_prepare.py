"""Sound -> feature cache: what is cleaned, what is degraded, what is reported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile as sf

from ser_core import audio, features, voice, windows
from ser_core.config import FeatureConfig
from tests import sounds
from tests.train_data import LONG_CLIP, own_corpus, own_rows, train, train_process, write_table
from train import degrade, prepare
from train.cache import CacheError, FeatureCache

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = FeatureConfig()
HALF_A_STEP = 1.0 / 255 + 1e-6
"""By how much a spectrogram kept in bytes may be off."""


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
    made = folder / "cache"
    assert train("prepare", "--data", folder, "--corpora", "own", "--cache", made, "--workers", 1) == 0
    return made, json.loads((made / "report.json").read_text(encoding="utf-8"))


def test_the_cache_holds_every_clip_and_what_is_known_of_it(prepared: Path, data: Path) -> None:
    opened = FeatureCache.open(prepared)
    known = [(c.key, c.path, str(c.emotion), c.speaker, c.sex, c.channel, c.corpus) for c in opened.clips]
    assert known == [
        (f"own/{name}", (data / "own" / name).resolve(), emotion, speaker, sex, "speech", "own")
        for name, emotion, speaker, sex in sorted(own_rows())
    ]
    assert opened.config == CONFIG
    assert opened.band_hz == pytest.approx(features.band_hz(CONFIG))
    assert opened.frames.dtype == np.uint8
    assert opened.offsets.shape == (24, 1 + prepare.DEGRADED_VERSIONS, 2)
    # End to end, without gaps.
    assert opened.offsets[0, 0, 0] == 0
    flat = opened.offsets.reshape(-1, 2)
    assert np.array_equal(flat[1:, 0], flat[:-1, 1])
    assert flat[-1, 1] == len(opened.frames)


def test_a_cached_clip_is_what_the_app_computes(prepared: Path) -> None:
    opened = FeatureCache.open(prepared)
    for number in (1, 7, 23):
        waveform = audio.read(opened.clips[number].path, sample_rate=16_000).samples
        (stretch,) = windows.stretches(waveform, CONFIG)
        assert stretch.spectrogram is not None
        assert opened.network_input(number) == pytest.approx(stretch.spectrogram, abs=HALF_A_STEP)
        # The voice is all that is kept: at least the silence at either end is gone.
        assert opened.spectrogram(number).shape[1] < len(waveform) / CONFIG.hop_length


def test_a_clip_longer_than_a_window_is_cached_in_one_piece(prepared: Path) -> None:
    opened = FeatureCache.open(prepared)
    number = [c.key for c in opened.clips].index(f"own/{LONG_CLIP}")
    sound, _ = voice.trim(audio.read(opened.clips[number].path, sample_rate=16_000).samples, CONFIG)
    assert opened.spectrogram(number) == pytest.approx(features.log_mel(sound.samples, CONFIG), abs=HALF_A_STEP)
    assert opened.spectrogram(number).shape[1] > CONFIG.one_piece_s * CONFIG.frame_rate


def test_degraded_versions_are_the_clip_through_other_devices(prepared: Path) -> None:
    opened = FeatureCache.open(prepared)
    changed, as_long = 0, 0
    for number in range(24):
        clean, first, second = (opened.spectrogram(number, version) for version in range(3))
        for one in (first, second):
            changed += not np.array_equal(clean, one)
            # A noise fills the half second of silence around the voice, which lies within its margin; a room's tail may
            # add a few frames. It is never another clip.
            as_long += abs(one.shape[1] - clean.shape[1]) <= 0.5 * CONFIG.frame_rate + 4
        assert not np.array_equal(first, second) or np.array_equal(clean, first)
    assert changed >= 40
    assert as_long >= 40


def test_what_is_drawn_for_a_clip_does_not_hang_on_its_company(prepared: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    rows = sorted(own_rows())
    few = [rows[5], rows[20]]
    for name, *_ in few:
        (tmp_path / "own" / name).symlink_to(data / "own" / name)
    write_table(tmp_path, few)
    assert train("prepare", "--data", tmp_path, "--corpora", "own", "--cache", tmp_path / "c", "--workers", 1) == 0
    whole, part = FeatureCache.open(prepared), FeatureCache.open(tmp_path / "c")
    for number, same in ((5, 0), (20, 1)):
        for version in range(3):
            assert np.array_equal(whole.spectrogram(number, version), part.spectrogram(same, version))


def test_clips_meet_the_noise_of_training_and_never_that_of_testing(tmp_path: Path) -> None:
    spoken = {name: (sounds.voice(0.8, seed=number), "calm", "ana") for number, name in enumerate("abcd")}

    def with_noise(name: str, train_side: int, test_side: int) -> tuple[FeatureCache, dict[str, Any]]:
        folder = tmp_path / name / "noise" / "street"
        folder.mkdir(parents=True)
        for file, seed in (("0", train_side), ("1", test_side), ("2", train_side)):
            sf.write(folder / f"{file}.flac", sounds.noise(1.0, seed=seed), 16_000)
        made, report = prepare_clips(tmp_path / name, spoken)
        return FeatureCache.open(made), report

    (first, report), (other_test, _), (other_train, _) = (
        with_noise(name, *seeds) for name, seeds in (("a", (1, 2)), ("b", (1, 3)), ("c", (4, 2)))
    )
    assert report["noises"] == 2
    assert np.array_equal(first.frames, other_test.frames)
    differing = [
        not np.array_equal(first.spectrogram(number, version), other_train.spectrogram(number, version))
        for number in range(4)
        for version in (0, 1, 2)
    ]
    assert any(differing)
    assert not any(differing[::3])


def test_a_clip_of_which_nothing_is_left_is_kept_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degrade, "at_random", lambda samples, *_: np.zeros_like(samples))
    made, _ = prepare_clips(tmp_path, {"one": (sounds.voice(1.0), "calm", "ana")})
    opened = FeatureCache.open(made)
    for version in (1, 2):
        assert np.array_equal(opened.spectrogram(0, version), opened.spectrogram(0))


def test_processes_and_command_give_the_same_cache(prepared: Path, data: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    done = train_process("prepare", "--data", data, "--corpora", "own", "--cache", again, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "own: 24 clips"
    assert str(again / "report.json") in done.stdout
    first, second = (FeatureCache.open(folder) for folder in (prepared, again))
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
    assert report["noises"] == 0
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


def test_clips_without_sound_are_dropped_and_those_without_a_voice_are_not(tmp_path: Path) -> None:
    # A corpus says that somebody speaks in it; that the detector misses a whisper is no reason to leave it out.
    clips = {
        "whisper": (sounds.noise(1.0), "calm", "ana"),
        "silent": (sounds.silence(1.0), "calm", "ana"),
        "click": (sounds.tone(0.2), "calm", "ana"),
        "voice": (sounds.voice(1.0), "calm", "ana"),
    }
    folder, report = prepare_clips(tmp_path, clips)
    assert [clip.key for clip in FeatureCache.open(folder).clips] == ["own/voice.wav", "own/whisper.wav"]
    assert report["decisions"] == {
        "dropped: it holds no sound": [
            "own/click.wav: dropped: it holds no sound",
            "own/silent.wav: dropped: it holds no sound",
        ]
    }
    assert report["clips"] == {"own": 4}


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


def test_a_clip_that_cannot_be_read_ends_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path, [("junk.wav", "calm", "ana", "female")])
    (tmp_path / "own" / "junk.wav").write_bytes(b"no sound at all " * 100)
    assert train("prepare", "--data", tmp_path, "--corpora", "own", "--cache", tmp_path / "c", "--workers", 1) == 1
    assert "error: junk.wav " in capsys.readouterr().err
    with pytest.raises(CacheError, match="There are no features"):
        FeatureCache.open(tmp_path / "c")
