"""A model on disk: what is written is read back, and whatever is damaged or doesn't fit is refused by name."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

import ser_core
from ser_core import bundle
from ser_core.bundle import MANIFEST, METRICS, MODEL_FILES, SCHEMA_VERSION, Calibration
from ser_core.config import FeatureConfig
from ser_core.emotions import LABELS
from ser_core.errors import BundleError
from tests import bundles

if TYPE_CHECKING:
    from pathlib import Path

    from ser_core.prediction import Precision


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        bundle.read(folder)
    return str(caught.value)


def stored(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return content


# What is written is read back.


def test_round_trip(tmp_path: Path) -> None:
    calibration = Calibration(temperature=1.25, uncertain_below=0.4)
    written = bundles.make(
        tmp_path,
        name="voices",
        version="2.0.1",
        precision="int8",
        calibration=calibration,
        licence="CC-BY-NC-SA-4.0",
        training={"recipe": "base", "epochs": 40},
    )
    read = bundle.read(tmp_path)
    assert read == written
    assert (read.name, read.version, read.precision, read.licence) == ("voices", "2.0.1", "int8", "CC-BY-NC-SA-4.0")
    assert read.calibration == calibration
    assert read.training == {"recipe": "base", "epochs": 40}
    assert read.features == FeatureConfig()
    assert read.metrics() == {"schema_version": 1}
    assert set(read.files) == {METRICS, *(name for names in MODEL_FILES.values() for name in names)}


def test_the_manifest_says_what_is_in_each_file(tmp_path: Path) -> None:
    read = bundles.make(tmp_path)
    for name, record in read.files.items():
        content = (tmp_path / name).read_bytes()
        assert (record.sha256, record.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert stored(tmp_path)["labels"] == list(LABELS)
    assert stored(tmp_path)["feature_config"] == FeatureConfig().to_dict()
    assert read.revision == hashlib.sha256((tmp_path / MANIFEST).read_bytes()).hexdigest()


def test_another_file_beside_the_weights_is_sealed_with_them(tmp_path: Path) -> None:
    bundles.make(tmp_path)
    (tmp_path / "LICENSE.md").write_text("yours", encoding="utf-8")
    assert "LICENSE.md" in bundles.make(tmp_path).files


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_each_precision_has_its_file(tmp_path: Path, precision: Precision) -> None:
    assert bundles.make(tmp_path).model_path(precision) == tmp_path / MODEL_FILES[precision][0]


# Damage.


@pytest.mark.parametrize("name", ["model.onnx", "model-fp16.xml", "model-fp16.bin", "model-int8.bin", METRICS])
def test_a_flipped_bit(tmp_path: Path, name: str) -> None:
    record = bundles.make(tmp_path).files[name]
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path)
    assert name in message
    assert hashlib.sha256(content).hexdigest()[:12] in message
    assert record.sha256[:12] in message


def test_a_file_cut_short(tmp_path: Path) -> None:
    size = bundles.make(tmp_path).files["model.onnx"].size
    content = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[:-7])
    assert f"model.onnx has {size - 7:,} bytes, {MANIFEST} says {size:,}" in refusal(tmp_path)


def test_a_missing_file(tmp_path: Path) -> None:
    bundles.make(tmp_path)
    (tmp_path / "model-fp16.bin").unlink()
    assert f"model-fp16.bin is missing from the model in {tmp_path}" in refusal(tmp_path)


def test_no_bundle(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"There is no model in {tmp_path}: it has no {MANIFEST}")
    assert "There is no folder " in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "cut", "list", "null", "no-fields", "no-text", "deep"],
)
def test_a_manifest_that_is_none(tmp_path: Path, content: bytes) -> None:
    bundles.make(tmp_path)
    (tmp_path / MANIFEST).write_bytes(content)
    message = refusal(tmp_path)
    assert f"{tmp_path / MANIFEST} can't be read" in message
    assert "damaged" in message


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ...},
        {"files": ...},
        {"labels": None},
        {"labels": [1, 2]},
        {"feature_config": None},
        {"calibration": {"temperature": 1.0}},
        {"calibration": {"temperature": 0.0, "uncertain_below": 0.5}},
        {"calibration": {"temperature": -1.0, "uncertain_below": 0.5}},
        {"calibration": {"temperature": float("nan"), "uncertain_below": 0.5}},
        {"calibration": {"temperature": "1", "uncertain_below": 0.5}},
        {"calibration": {"temperature": 1.0, "uncertain_below": 1.5}},
        {"files": {"model.onnx": {"sha256": "0" * 64}}},
        {"files": {"model.onnx": {"sha256": "0" * 64, "size": "many"}}},
        {"files": {"model.onnx": {"sha256": None, "size": 1}}},
        {"files": {"model.onnx": {"sha256": "0" * 64, "size": -1}}},
    ],
    ids=str,
)
def test_a_manifest_with_a_damaged_field(tmp_path: Path, fields: dict[str, Any]) -> None:
    bundles.make(tmp_path)
    bundles.change_manifest(tmp_path, **fields)
    message = refusal(tmp_path)
    assert f"{tmp_path / MANIFEST} can't be read" in message
    assert "damaged" in message


def test_metrics_that_are_none(tmp_path: Path) -> None:
    bundles.make(tmp_path)
    for content in ("{", "[1]"):
        (tmp_path / METRICS).write_text(content, encoding="utf-8")
        sealed = bundle.write(
            tmp_path, name="n", version="1", precision="fp16", calibration=bundles.CALIBRATION, licence="x", training={}
        )
        with pytest.raises(BundleError, match=f"{METRICS} in .* Export the model again"):
            sealed.metrics()


# What doesn't fit this version; the message names both sides.


def test_a_newer_manifest(tmp_path: Path) -> None:
    bundles.make(tmp_path)
    bundles.change_manifest(tmp_path, schema_version=SCHEMA_VERSION + 1)
    assert f"manifest version {SCHEMA_VERSION + 1}, this version reads {SCHEMA_VERSION}" in refusal(tmp_path)


@pytest.mark.parametrize(
    "labels",
    [LABELS[:-1], LABELS[::-1], ("bored", *LABELS[1:]), (*LABELS, "bored")],
    ids=["fewer", "another-order", "another", "more"],
)
def test_other_labels(tmp_path: Path, labels: tuple[str, ...]) -> None:
    bundles.make(tmp_path)
    bundles.change_manifest(tmp_path, labels=list(labels))
    message = refusal(tmp_path)
    assert f"knows {', '.join(labels)}; this version knows {', '.join(LABELS)}" in message


def test_another_feature_config(tmp_path: Path) -> None:
    bundles.make(tmp_path)
    bundles.change_manifest(tmp_path, feature_config={**FeatureConfig().to_dict(), "n_mels": 128, "hop_length": 256})
    message = refusal(tmp_path)
    assert "n_mels 128 against 80" in message
    assert "hop_length 256 against 160" in message
    assert "f_min" not in message


def test_a_feature_config_of_another_version(tmp_path: Path) -> None:
    bundles.make(tmp_path)
    fields = FeatureConfig().to_dict()
    del fields["f_min"]
    bundles.change_manifest(tmp_path, feature_config={**fields, "pre_emphasis": 0.97})
    message = refusal(tmp_path)
    assert "lacks ['f_min']" in message
    assert "has ['pre_emphasis'] that is unknown here" in message


def test_an_unknown_precision(tmp_path: Path) -> None:
    bundles.make(tmp_path)
    for precision in ("bf16", ["fp16"], None):
        bundles.change_manifest(tmp_path, precision=precision)
        assert f"asks for precision {precision!r}; this version knows fp32, fp16, int8" in refusal(tmp_path)


def test_weights_of_its_own_precision_that_are_not_listed(tmp_path: Path) -> None:
    files = stored(bundles.make(tmp_path).folder)["files"]
    del files["model-fp16.bin"]
    bundles.change_manifest(tmp_path, files=files)
    assert "lacks model-fp16.bin, which its precision fp16 needs" in refusal(tmp_path)


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles.make(tmp_path)
    with (tmp_path / "padding.bin").open("wb") as file:
        file.truncate(bundle.MAX_BYTES)
    with pytest.raises(BundleError, match=r"are 36\.\d MB large, at most 36 MB"):
        bundles.make(tmp_path)
    # Refused by what the manifest says, before a byte of it is read.
    monkeypatch.setattr(bundle, "_sha256", lambda path: pytest.fail(f"read {path}"))
    assert "at most 36 MB" in refusal(tmp_path)


def test_a_file_larger_than_listed_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sorted(bundles.make(tmp_path).files)[0]
    with (tmp_path / first).open("ab") as file:
        file.truncate(2**30)  # sparse: takes no room on the disk
    monkeypatch.setattr(bundle, "_sha256", lambda path: pytest.fail(f"read {path}"))
    assert f"{first} has {2**30:,} bytes" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/b", "..", ".", "", "a\\b", "sub/../model.onnx"])
def test_a_file_name_with_a_path(tmp_path: Path, name: str) -> None:
    folder = bundles.make(tmp_path / "bundle").folder
    (tmp_path / "secret").write_text("outside", encoding="utf-8")
    record = {"sha256": hashlib.sha256(b"outside").hexdigest(), "size": 7}
    bundles.change_manifest(folder, files={**stored(folder)["files"], name: record})
    assert f"names {name!r}, which is no plain file name" in refusal(folder)


# Loading.


def test_load_says_which_model_answers(tmp_path: Path) -> None:
    sealed = bundles.make(tmp_path, precision="int8", calibration=Calibration(2.0, 0.3))
    recognizer = ser_core.load(tmp_path)
    info = recognizer.info
    assert (info.name, info.version, info.source) == ("small", "1.2.3", str(tmp_path))
    assert (info.revision, info.precision) == (sealed.revision, "int8")
    assert recognizer.calibration == Calibration(2.0, 0.3)
    assert recognizer.metrics == {"schema_version": 1}
    assert ser_core.load(str(tmp_path), precision="fp32").info.precision == "fp32"


def test_load_of_a_precision_that_there_is_not(tmp_path: Path) -> None:
    folder = bundles.make(tmp_path).folder
    files = stored(folder)["files"]
    for name in MODEL_FILES["int8"]:
        del files[name]
    bundles.change_manifest(folder, files=files)
    with pytest.raises(BundleError, match=r"has no int8 weights \(model-int8\.xml, model-int8\.bin\)"):
        ser_core.load(folder, precision="int8")
    unknown: Any = "fp8"
    with pytest.raises(BundleError, match="No precision is called 'fp8'; there are fp32, fp16, int8"):
        ser_core.load(folder, precision=unknown)


# The bundle that ships.


@bundles.needs_shipped
def test_the_shipped_bundle_is_whole() -> None:
    shipped = bundle.read(bundles.SHIPPED)
    assert set(shipped.files) >= {METRICS, *(name for names in MODEL_FILES.values() for name in names)}
    assert {path.name for path in bundles.SHIPPED.iterdir()} == {MANIFEST, *shipped.files}
    assert ser_core.load().info.source == "bundled copy"
