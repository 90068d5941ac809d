"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ser_core.recognizer import Recognizer
    from tests.train_data import Pipeline


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data",
        type=Path,
        default=Path(os.environ["SER_DATA"]) if os.environ.get("SER_DATA") else None,
        metavar="DIR",
        help="folder that holds ravdess/ (speech and song); SER_DATA names it too",
    )


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of the real corpus. A test is skipped where none is named, and fails where the named one is wrong."""
    folder: Path | None = request.config.getoption("--data")
    if folder is None:
        pytest.skip(
            "needs the real clips: get them with `python -m train download --to DIR`, then SER_DATA=DIR or --data DIR"
        )
    if not (folder / "ravdess").is_dir():
        pytest.fail(f"{folder} (from --data or SER_DATA) holds no folder ravdess; `python -m train download` makes one")
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Everything from sounds to a bundle, made once through the command line for all who test a part of it."""
    from tests import train_data  # imports torch, which most tests do without

    return train_data.pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(autouse=True)
def for_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are compiled as for somebody who waits, also after a test of many files."""
    from ser_core import backends

    monkeypatch.setattr(backends, "_hint", {})


@pytest.fixture(autouse=True)
def folder_of_uploads() -> Iterator[None]:
    """Gradio's folder is what it was, also after a page that was served, and ended, in this process."""
    from page import tidy

    before = os.environ.get(tidy.VARIABLE)
    yield
    if before is None:
        os.environ.pop(tidy.VARIABLE, None)
    else:
        os.environ[tidy.VARIABLE] = before


@pytest.fixture
def no_model_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model in the environment, whatever that of who runs the tests says."""
    from ser_core import hub

    monkeypatch.delenv(hub.VARIABLE, raising=False)


@pytest.fixture(scope="module")
def small() -> Recognizer:
    """A recogniser without a network."""
    from tests import bundles

    return bundles.recognizer()


@pytest.fixture(scope="module")
def shipped() -> Recognizer:
    """The one that ships."""
    import ser_core

    return ser_core.load()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a tone, as WAV."""
    import soundfile

    from tests import fakes

    path = tmp_path_factory.mktemp("clips") / "tone.wav"
    soundfile.write(path, fakes.tone(), 16_000)
    return path


@pytest.fixture(scope="session")
def fake_page() -> Iterator[Any]:
    """The page, served, with a recogniser that says "angry" to everything."""
    import app
    from page import layout, options
    from tests import fakes

    built = layout.build(fakes.FAKE)
    app.launch(built, options.Options(port=fakes.free_port()))
    yield built
    built.close()
