"""A feature cache as one file: what is in it, how far off it may be, and that training needs nothing else."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from ser_core.config import FeatureConfig
from tests.train_data import Pipeline, cache_of, clip, python, tiny_recipe, train
from train import networks, pack, recipe
from train.cache import CacheError, FeatureCache

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = FeatureConfig()
DB = CONFIG.dynamic_range_db / 2.0
"""dB in a unit of a spectrogram."""


@pytest.fixture(scope="module")
def packed(made: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "new" / "features.zip"
    assert train("pack", "--cache", made.cache, "--out", path) == 0
    return path


def test_a_packed_cache_knows_its_clips_to_the_letter(made: Pipeline, packed: Path) -> None:
    whole, carried = FeatureCache.open(made.cache), FeatureCache.open(packed)
    assert carried.clips == whole.clips
    assert np.array_equal(carried.offsets, whole.offsets)
    assert np.array_equal(carried.band_hz, whole.band_hz)
    assert (carried.config, carried.digest) == (whole.config, whole.digest)
    assert carried.frames.dtype == np.uint8


def test_a_packed_cache_is_off_by_about_two_decibels(made: Pipeline, packed: Path) -> None:
    whole, carried = FeatureCache.open(made.cache), FeatureCache.open(packed)
    for version, bound in ((0, 2.0), (1, 2.7), (2, 2.7)):
        errors = np.concatenate(
            [
                (carried.spectrogram(number, version) - whole.spectrogram(number, version)).ravel() * DB
                for number in range(len(whole.clips))
            ]
        )
        assert 0.1 < np.sqrt((errors**2).mean()) < bound
        # Neither louder nor quieter on the whole, and on its side: bands and frames aren't swapped.
        assert abs(errors.mean()) < 0.2


def test_a_packed_cache_is_small(made: Pipeline, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 10,000 clips in three versions are 60 MB at 2 kB a picture; these are of 0.6 s, RAVDESS's are three times longer.
    whole = FeatureCache.open(made.cache)
    assert packed.stat().st_size < whole.frames.nbytes / 4
    assert [path.name for path in packed.parent.iterdir()] == ["features.zip"]
    assert train("pack", "--cache", made.cache, "--out", packed) == 0
    size = packed.stat().st_size / 1e6
    assert f"{packed}: {size:.1f} MB; train from it with `fit --cache {packed}`" in capsys.readouterr().out


def test_training_needs_the_packed_file_alone(packed: Path, tmp_path: Path) -> None:
    """On a machine that holds torch and little else: no librosa, no decoder, no clips."""
    absent = ("librosa", "soundfile", "soxr", "av", "openvino", "scipy", "sklearn", "onnx", "nncf")
    start = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({absent}))\n"  # None there makes an import fail
        "from train.__main__ import main\n"
        "raise SystemExit(main(sys.argv[1:]))\n"
    )
    carried = shutil.copy(packed, tmp_path / "carried.zip")
    config = tiny_recipe(tmp_path / "mini.yaml", optim={"epochs": 1})
    done = python(
        "-c", start, "fit", "--config", config, "--cache", carried, "--runs", tmp_path, "--threads", 1, "--all"
    )
    assert done.returncode == 0, done.stderr
    assert "mini/all 0: 24 clips, 3 steps an epoch, on " in done.stdout
    weights = load_file(tmp_path / "mini" / "all" / "weights-0.safetensors")
    network = networks.build("residual", {"n_mels": CONFIG.n_mels, **recipe.load(str(config)).network.options})
    assert {name: one.shape for name, one in weights.items()} == {
        name: one.shape for name, one in network.state_dict().items()
    }
    refused = python("-c", start.partition("from train")[0] + "import librosa")
    assert "import of librosa halted" in refused.stderr


def test_a_file_that_is_no_packed_cache_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "features.zip"
    path.write_bytes(b"no archive" * 100)
    told = r"features\.zip is no packed feature cache \(.*\): make one with `python -m train pack`\."
    with pytest.raises(CacheError, match=told):
        FeatureCache.open(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday.txt", "sun")
    with pytest.raises(CacheError, match=told):
        FeatureCache.open(path)


def small(path: Path) -> Path:
    """Two short clips, packed."""
    pack.pack(cache_of([clip(0), clip(1)], [20, 30]), path)
    return path


def rewritten(source: Path, target: Path, changed: dict[str, bytes | None]) -> Path:
    """A copy of an archive in which some files hold something else, or (None) are gone."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if (content := changed.get(name, old.read(name))) is not None:
                new.writestr(name, content)
    return target


def test_a_packed_cache_that_lacks_a_picture_is_refused(tmp_path: Path) -> None:
    whole = small(tmp_path / "whole.zip")
    assert FeatureCache.open(whole).offsets.shape == (2, 3, 2)
    with pytest.raises(CacheError, match=r"is no packed feature cache \(.*1-2\.webp.*\)"):
        FeatureCache.open(rewritten(whole, tmp_path / "gap.zip", {"1-2.webp": None}))


@pytest.mark.parametrize("changed", [{"1-2.webp": b"no picture"}, {"index.json": b"no JSON"}])
def test_a_packed_cache_with_something_else_in_it_is_refused(tmp_path: Path, changed: dict[str, bytes | None]) -> None:
    whole = small(tmp_path / "whole.zip")
    with pytest.raises(CacheError, match=r"odd\.zip is no packed feature cache \("):
        FeatureCache.open(rewritten(whole, tmp_path / "odd.zip", changed))


def test_a_packed_cache_of_other_features_is_refused(tmp_path: Path) -> None:
    whole = small(tmp_path / "whole.zip")
    with zipfile.ZipFile(whole) as archive:
        index = json.loads(archive.read("index.json"))
    other = dataclasses.replace(CONFIG, trim_top_db=30.0)
    index["feature_config"] = other.to_dict()
    changed = rewritten(whole, tmp_path / "other.zip", {"index.json": json.dumps(index).encode()})
    with pytest.raises(CacheError, match=rf"made with config {other.fingerprint}, .* has {CONFIG.fingerprint}: run "):
        FeatureCache.open(changed)


def test_packing_that_is_broken_off_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small(tmp_path / "features.zip")
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="no space left"):
        small(path)
    assert path.read_bytes() == before


def test_a_clip_that_no_picture_holds_is_told(tmp_path: Path) -> None:
    path = tmp_path / "features.zip"
    with pytest.raises(CacheError, match=r"own/1 has 16,384 frames, a picture holds 16,383: leave it out\."):
        pack.pack(cache_of([clip(0), clip(1)], [20, pack.LONGEST + 1], versions=1), path)
    assert not path.exists()
    pack.pack(cache_of([clip(0)], [pack.LONGEST], versions=1), path)
    assert FeatureCache.open(path).spectrogram(0).shape[1] == pack.LONGEST
