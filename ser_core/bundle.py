"""A model on disk: weights, labels, feature config, metrics, versions and checksums in one folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from ser_core.config import FeatureConfig
from ser_core.emotions import LABELS
from ser_core.errors import BundleError, DamagedBundle
from ser_core.prediction import Precision

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
METRICS = "metrics.json"
MODEL_FILES: dict[Precision, tuple[str, ...]] = {
    "fp32": ("model.onnx",),
    "fp16": ("model-fp16.xml", "model-fp16.bin"),
    "int8": ("model-int8.xml", "model-int8.bin"),
}
"""The files of each precision; OpenVINO is given the first. ONNX is the portable source of the others."""

_PLAIN = re.compile(r"[\w.+-]{1,64}", re.ASCII)

MAX_BYTES = 36 * 1024 * 1024
"""The most that all files of a bundle may hold together."""

BUNDLED = Path(__file__).resolve().parent.parent / "assets" / "model"
"""The copy that comes with the project."""


@dataclass(frozen=True)
class Calibration:
    """From logits to an answer.

    Attributes:
        temperature: what logits are divided by before the softmax (Guo et al. 2017, arXiv:1706.04599), above 0.
        uncertain_below: the confidence in [0, 1] under which an answer is `uncertain`.

    Raises:
        ValueError: one of them lies outside its range.
    """

    temperature: float
    uncertain_below: float

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < math.inf:
            raise ValueError(f"the temperature must be above 0, not {self.temperature!r}")
        if not 0.0 <= self.uncertain_below <= 1.0:
            raise ValueError(f"uncertain_below must lie in [0, 1], not {self.uncertain_below!r}")


@dataclass(frozen=True)
class FileRecord:
    """A file of the bundle: its SHA-256 in hex and its size in bytes. Raises ValueError where they can be none."""

    sha256: str
    size: int

    def __post_init__(self) -> None:
        if not isinstance(self.sha256, str) or type(self.size) is not int or self.size < 0:
            raise ValueError(f"no checksum and size: {self.sha256!r}, {self.size!r}")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        folder: where it lies.
        name, version: of the model.
        precision: the default one.
        features: how its input is made.
        calibration: how its logits are read.
        licence: of the weights, an SPDX identifier.
        training: recipe, corpora and versions that it was made with.
        files: all files beside the manifest.
        revision: SHA-256 of the manifest in hex; names this very bundle.
    """

    folder: Path
    name: str
    version: str
    precision: Precision
    features: FeatureConfig
    calibration: Calibration
    licence: str
    training: dict[str, Any]
    files: dict[str, FileRecord]
    revision: str

    def has(self, precision: Precision) -> bool:
        """Whether it holds the weights in a precision."""
        return set(MODEL_FILES[precision]) <= set(self.files)

    def size_of(self, precision: Precision) -> int:
        """Bytes of the weights in a precision that it holds, with their graph."""
        return sum(self.files[name].size for name in MODEL_FILES[precision])

    def model_path(self, precision: Precision) -> Path:
        """The file of a precision that OpenVINO is given. Raises BundleError where the bundle lacks it."""
        if precision not in get_args(Precision):
            raise BundleError(f"No precision is called {precision!r}; there are {', '.join(get_args(Precision))}.")
        names = MODEL_FILES[precision]
        if not self.has(precision):
            raise BundleError(f"The model in {self.folder} has no {precision} weights ({', '.join(names)}).")
        return self.folder / names[0]

    def metrics(self) -> dict[str, Any]:
        """What was measured of this model, see `train.metrics`. Raises BundleError where that can't be read."""
        try:
            metrics = json.loads((self.folder / METRICS).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"{METRICS} in {self.folder} can't be read ({error}). Export the model again.") from error
        if not isinstance(metrics, dict):
            raise BundleError(f"{METRICS} in {self.folder} holds no object of figures. Export the model again.")
        return metrics


def read(folder: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: there is none, it is damaged or incomplete, or it doesn't fit this version; the message names both
            sides.
    """
    bundle = outline(folder)
    _verify_files(bundle)
    return bundle


def outline(folder: Path) -> Bundle:
    """What a bundle's manifest says, held to this version, before any other file of it is looked at.

    Raises:
        BundleError: there is no manifest, it is damaged, or the model that it speaks of doesn't fit this version.
    """
    manifest = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(f"There is no folder {folder}. Name the folder of an exported model.")
    if not manifest.is_file():
        raise BundleError(f"There is no model in {folder}: it has no {MANIFEST}. Name the folder of an exported model.")
    text = manifest.read_bytes()
    try:
        stored = json.loads(text)
        if stored["schema_version"] != SCHEMA_VERSION:
            raise BundleError(
                f"The model in {folder} has manifest version {stored['schema_version']}, this version reads "
                f"{SCHEMA_VERSION}. Export the model again, or use the version it was made with."
            )
        if tuple(stored["labels"]) != LABELS:
            raise BundleError(
                f"The model in {folder} knows {', '.join(stored['labels'])}; this version knows {', '.join(LABELS)}, "
                "in this order. Use a model that was trained for these."
            )
        bundle = Bundle(
            folder=folder,
            name=stored["name"],
            version=stored["version"],
            precision=stored["precision"],
            features=FeatureConfig.from_dict(stored["feature_config"]),
            calibration=Calibration(**stored["calibration"]),
            licence=stored["licence"],
            training=stored["training"],
            files={name: FileRecord(**record) for name, record in stored["files"].items()},
            revision=hashlib.sha256(text).hexdigest(),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedBundle(
            f"{manifest} can't be read ({error!r}): it is damaged. Export or download it again.", manifest
        ) from error
    _check_fit(bundle)
    return bundle


def write(
    folder: Path,
    *,
    name: str,
    version: str,
    precision: Precision,
    calibration: Calibration,
    licence: str,
    training: dict[str, Any],
) -> Bundle:
    """Seal a folder that holds a bundle's files: write the manifest over all of them and verify it.

    Raises:
        BundleError: a file is missing or all together are too large.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != MANIFEST:
            files[path.name] = FileRecord(_sha256(path), path.stat().st_size)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "version": version,
        "precision": precision,
        "labels": list(LABELS),
        "feature_config": FeatureConfig().to_dict(),
        "calibration": dataclasses.asdict(calibration),
        "licence": licence,
        "training": training,
        "files": {name: dataclasses.asdict(record) for name, record in files.items()},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return read(folder)


def _check_fit(bundle: Bundle) -> None:
    if bundle.features != FeatureConfig():
        ours, theirs = FeatureConfig().to_dict(), bundle.features.to_dict()
        differences = ", ".join(f"{key} {theirs[key]} against {ours[key]}" for key in ours if ours[key] != theirs[key])
        raise BundleError(
            f"The model in {bundle.folder} was trained on other features than this version makes: {differences}. "
            "Use the version it was made with, or train again."
        )
    # They stand on the page.
    for text in (bundle.name, bundle.version):
        if not isinstance(text, str) or not _PLAIN.fullmatch(text):
            raise BundleError(
                f"The model in {bundle.folder} is called {text!r}; a name and a version are made of up to 64 letters, "
                "digits, '.', '_', '+' and '-'. Export it again under another one."
            )
    if bundle.precision not in get_args(Precision):
        raise BundleError(
            f"The model in {bundle.folder} asks for precision {bundle.precision!r}; this version knows "
            f"{', '.join(get_args(Precision))}. Export it again."
        )
    if absent := {METRICS, *MODEL_FILES[bundle.precision]} - set(bundle.files):
        raise BundleError(
            f"The model in {bundle.folder} lacks {', '.join(sorted(absent))}, which its precision {bundle.precision} "
            "needs. Export it again."
        )
    if (size := sum(record.size for record in bundle.files.values())) > MAX_BYTES:
        raise BundleError(
            f"The files of the model in {bundle.folder} are {size / 2**20:.1f} MB large, at most {MAX_BYTES // 2**20} "
            "MB are read. Export a smaller network."
        )
    for name in bundle.files:
        # A name with a folder in it could lead out of the bundle.
        if PurePosixPath(name).name != name or "\\" in name or name in {"", ".", ".."}:
            raise BundleError(f"{MANIFEST} in {bundle.folder} names {name!r}, which is no plain file name.")


def _verify_files(bundle: Bundle) -> None:
    for name in bundle.files:
        if not (bundle.folder / name).is_file():
            raise BundleError(f"{name} is missing from the model in {bundle.folder}. Export or download it again.")
        if fault := _fault(bundle, name):
            raise DamagedBundle(f"{fault} Export or download the model again.", bundle.folder / name)


def damaged(bundle: Bundle) -> list[Path]:
    """All files of an outlined bundle that are there and aren't what its manifest says."""
    return [bundle.folder / name for name in bundle.files if (bundle.folder / name).is_file() and _fault(bundle, name)]


def _fault(bundle: Bundle, name: str) -> str:
    """What is wrong with a file that is there, in a sentence; empty where nothing is."""
    path, record = bundle.folder / name, bundle.files[name]
    # The size first: nothing longer than the manifest admits is read.
    if (size := path.stat().st_size) != record.size:
        return f"{path} has {size:,} bytes, {MANIFEST} says {record.size:,}."
    if (digest := _sha256(path)) != record.sha256:
        return f"{path} has the SHA-256 {digest[:12]}…, {MANIFEST} says {record.sha256[:12]}…: it was changed."
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
