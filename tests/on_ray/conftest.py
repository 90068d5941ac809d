"""What the tests of `--engine ray` are given; see `tests.answers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import answers, bundles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[Path]:
    with answers.environment() as folder:
        yield folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make(tmp_path_factory.mktemp("model") / "small").folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return answers.voices(tmp_path / "clips")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "answers"
