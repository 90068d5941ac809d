"""What the README tells a Space to run is what the project runs on."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from huggingface_hub import SpaceCard

from train.recipe import ROOT

COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
"""Those that a Space's card knows."""


@pytest.fixture
def told() -> Any:
    return SpaceCard((ROOT / "README.md").read_text(encoding="utf-8")).data


def test_a_space_runs_the_pinned_gradio_on_the_projects_python(told: Any) -> None:
    pinned = r"^([\w-]+)(?:\[[\w,]+\])?==(\S+)$"
    pins = dict(re.findall(pinned, (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M))
    assert (told.sdk, told.sdk_version) == ("gradio", pins["gradio"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f"=={told.python_version}.*"
    assert (ROOT / told.app_file).is_file()


def test_the_front_matter_is_complete(told: Any) -> None:
    # The stricter of the two licences: that of the weights, which every page runs on.
    assert told.license == "cc-by-nc-sa-4.0"
    assert len(told.short_description) <= 60  # the Hub refuses a longer one
    assert {told.colorFrom, told.colorTo} <= COLOURS
    assert told.title
    assert told.emoji
    assert {"speech-emotion-recognition", "openvino"} <= set(told.tags)
    assert "amu-cai/nEMO" in told.datasets


def test_both_licences_are_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Attribution-NonCommercial-ShareAlike" in (ROOT / "assets/model/LICENSE.md").read_text(encoding="utf-8")
