"""The container file: what it copies is all that the page needs, and how it starts it is how it can be stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import TYPE_CHECKING

import httpx
from gradio_client import Client, handle_file

from page.health import LIVE, READY
from tests import bundles
from tests.browser.driving import ROOT, SPOKEN, started
from tests.processes import until

if TYPE_CHECKING:
    from pathlib import Path

CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")


def copied() -> list[str]:
    """The files and folders that go in."""
    lines = re.findall(r"^COPY (.+)$", CONTAINERFILE, re.MULTILINE)
    return [name for line in lines for name in line.split()[:-1]]


def test_nothing_is_installed_but_what_the_app_needs() -> None:
    (installed,) = re.findall(r"^RUN pip install (.+)$", CONTAINERFILE, re.MULTILINE)
    assert re.findall(r"-r (\S+)", installed) == ["requirements.txt"]
    assert "FROM docker.io/library/python:3.11-slim" in CONTAINERFILE


def test_what_is_copied_is_sent_to_the_builder_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())


@bundles.needs_shipped
def test_what_is_copied_serves_the_page(tmp_path: Path) -> None:
    root = tmp_path / "app"
    root.mkdir()
    for name in copied():
        kept_out = shutil.ignore_patterns("__pycache__")
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=kept_out)
        else:
            shutil.copy(ROOT / name, root / name)
    (started_by,) = re.findall(r"^CMD (\[.+\])$", CONTAINERFILE, re.MULTILINE)
    assert json.loads(started_by)[0] == "python"  # no shell, which would keep SIGTERM for itself
    # As read-only as another user's files are, and without this project beside it.
    for path in root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    environment = {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1", "GRADIO_TEMP_DIR": str(tmp_path / "temp")}
    with started(root=root, program=json.loads(started_by)[1:], environment=environment) as server:
        until(lambda: httpx.get(f"{server.url}{READY[1:]}").status_code == 200)
        assert httpx.get(f"{server.url}{LIVE[1:]}").status_code == 200
        answer = Client(server.url, verbose=False, download_files=False).predict(
            handle_file(SPOKEN), api_name="/predict"
        )
        assert answer[2]["state"] in {"ok", "uncertain"}
    for path in (root, *root.rglob("*")):
        os.chmod(path, 0o755)  # noqa: PTH101  # for pytest to clean up
