"""Publish -> pull at startup -> the page answers, as commands in processes of their own, over real HTTP."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from gradio_client import Client, handle_file

import ser_core
from ser_core import bundle, examples
from tests import bundles, sounds
from tests.browser.driving import ROOT, SPOKEN, serving
from tests.hub_server import READ_TOKEN, WRITE_TOKEN, HubServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.hub_faults import Play

MODEL, SPACE = "tester/model", "tester/space"


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        yield running


def train(
    server: HubServer, home: Path, *arguments: str, token: str | None = WRITE_TOKEN
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-m", "train", *arguments],
        cwd=ROOT,
        env={**environment, **server.environment(home, token)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def published(server: HubServer, home: Path, *arguments: str) -> str:
    """Publish the bundle that ships; what SER_MODEL_REPO is to be."""
    done = train(server, home, "publish", "--repo-id", MODEL, *arguments)
    assert done.returncode == 0, done.stderr
    found = re.search(rf"^SER_MODEL_REPO=({MODEL}@[0-9a-f]{{40}})$", done.stdout, re.M)
    assert found, done.stdout
    return found[1]


def asked(server: HubServer, home: Path, model: str) -> tuple[dict[str, Any], str]:
    """The app, started on a model from this Hub: its Prediction of a voice, and the page's config as text."""
    environment = {**server.environment(home), "SER_MODEL_REPO": model, "HF_TOKEN": ""}
    with serving(environment=environment, log=home.with_suffix(".log")) as url:
        client = Client(url, verbose=False)
        _, _, prediction = client.predict(handle_file(str(SPOKEN)), api_name="/predict")
        return prediction, str(client.config)


@bundles.needs_shipped
def test_what_was_published_is_what_the_page_answers_with(server: HubServer, tmp_path: Path) -> None:
    pinned = published(server, tmp_path / "publisher", "--tag", "v1")
    commit = pinned.partition("@")[2]
    assert server.tags(MODEL) == {"v1": commit}
    assert len(server.commits(MODEL)) == 2  # the Hub's own, and one
    shipped = bundle.read(bundle.BUNDLED)
    stored = server.files(MODEL)
    assert all(stored[name] == (shipped.folder / name).read_bytes() for name in (bundle.MANIFEST, *shipped.files))

    prediction, page = asked(server, tmp_path / "visitor", pinned)
    printed = (tmp_path / "visitor.log").read_text()
    assert f"Downloading {pinned}: " in printed
    assert len(re.findall(rf"Model: {MODEL}, commit {commit[:7]}, from the Hub$", printed, re.M)) == 1
    assert prediction["model"]["source"] == f"{MODEL}, commit {commit[:7]}, from the Hub"
    assert prediction["model"]["revision"] == commit
    assert f"{shipped.name} v{shipped.version}, {MODEL}, commit {commit[:7]}, from the Hub" in page
    local = ser_core.load().predict(str(SPOKEN))
    assert prediction["probabilities"] == pytest.approx(local.probabilities, abs=1e-6)

    # Again and unchanged: no commit. A pinned model that is in the cache: no question.
    assert published(server, tmp_path / "publisher", "--tag", "v1") == pinned
    server.requests.clear()
    with server.refusing():
        again, _ = asked(server, tmp_path / "visitor", pinned)
    assert again["model"]["source"].endswith("from the cache")
    assert again["probabilities"] == prediction["probabilities"]


@bundles.needs_shipped
@pytest.mark.parametrize("play", ["hang", "flip"])
def test_the_page_is_up_on_the_bundled_copy_whatever_the_hub_does(
    server: HubServer, tmp_path: Path, play: Play
) -> None:
    pinned = published(server, tmp_path / "publisher")
    server.faults.play(play, path="*" if play == "hang" else "*.bin", method="GET")
    prediction, page = asked(server, tmp_path / "visitor", pinned)
    says = {"hang": "the Hub did not answer in time", "flip": "it was changed"}[play]
    assert prediction["model"]["source"].startswith(f"bundled copy instead of {pinned}, since ")
    assert says in prediction["model"]["source"]
    assert f"bundled copy instead of {pinned}, since " in html.unescape(page)
    assert str(tmp_path) not in page
    server.faults.clear()
    healthy, _ = asked(server, tmp_path / "visitor", pinned)
    assert healthy["model"]["source"].endswith("from the Hub")


@bundles.needs_shipped
def test_a_space_is_made_from_the_checkout_and_changes_only_with_it(server: HubServer, tmp_path: Path) -> None:
    pinned = published(server, tmp_path)
    command = ("publish-space", "--repo-id", SPACE, "--model", pinned)
    for says in ("is set", "was set already"):
        done = train(server, tmp_path, *command)
        assert done.returncode == 0, done.stderr
        assert f"SER_MODEL_REPO={pinned} {says}" in done.stdout
    assert server.variables(SPACE) == {"SER_MODEL_REPO": pinned}
    assert len(server.commits(SPACE, repo_type="space")) == 2
    files = server.files(SPACE, repo_type="space")
    assert {"app.py", "requirements.txt", "README.md", "LICENSE", "ser_core/hub.py", "assets/model/bundle.json"} <= set(
        files
    )
    assert not [name for name in files if name.startswith(("train/", "tests/", ".venv"))]
    # What the Space holds is enough: the page runs from it.
    for name, content in files.items():
        (tmp_path / "space" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "space" / name).write_bytes(content)
    with serving(environment={"SER_MODEL_REPO": ""}, root=tmp_path / "space") as url:
        _, _, prediction = Client(url, verbose=False).predict(handle_file(str(SPOKEN)), api_name="/predict")
    assert prediction["model"]["source"] == "bundled copy"


REFUSED: dict[str, tuple[str | None, tuple[Play, dict[str, Any]] | None, str]] = {
    "no token": (None, None, "No Hugging Face token was found. Nothing was sent."),
    "a token that is none": ("hf_wrong", None, "The Hub doesn't accept the Hugging Face token"),
    "a token that may only read": (READ_TOKEN, None, "may only read"),
    "a commit cut off half-way": (
        WRITE_TOKEN,
        ("cut-request", {"path": "*/commit/*"}),
        "was lost: ",
    ),
    "too many requests": (WRITE_TOKEN, ("status", {"path": "*/commit/*", "status": 429}), "too many requests"),
    "a fault of the Hub": (WRITE_TOKEN, ("status", {"path": "*/commit/*", "status": 500}), f"{MODEL} is unchanged."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_published_leaves_the_hub_as_it_was(server: HubServer, tmp_path: Path, name: str) -> None:
    token, fault, says = REFUSED[name]
    bundles.make(tmp_path / "first", version="1.0.0")
    bundles.make(tmp_path / "second", version="2.0.0")
    command = ("publish", "--repo-id", MODEL, "--bundle")
    done = train(server, tmp_path, *command, str(tmp_path / "first"))
    assert done.returncode == 0, done.stderr
    before, commits = server.files(MODEL), len(server.commits(MODEL))
    if fault:
        server.faults.play(fault[0], method="POST", **fault[1])
    done = train(server, tmp_path, *command, str(tmp_path / "second"), "--tag", "v2", token=token)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert (server.files(MODEL), len(server.commits(MODEL)), server.tags(MODEL)) == (before, commits, {})


def test_a_tag_that_is_there_is_not_moved(server: HubServer, tmp_path: Path) -> None:
    for version in ("1.0.0", "2.0.0"):
        bundles.make(tmp_path / version, version=version)
    command = ("publish", "--repo-id", MODEL, "--tag", "v1", "--bundle")
    assert train(server, tmp_path, *command, str(tmp_path / "1.0.0")).returncode == 0
    tags, files = server.tags(MODEL), server.files(MODEL)
    done = train(server, tmp_path, *command, str(tmp_path / "2.0.0"))
    assert done.returncode == 1
    assert f"{MODEL} has a tag v1 already, on commit {tags['v1'][:7]}. {MODEL} is unchanged." in done.stderr
    assert (server.tags(MODEL), server.files(MODEL)) == (tags, files)


def test_example_clips_travel_with_the_model_to_the_page(tmp_path: Path, server: HubServer) -> None:
    made = tmp_path / "model"
    bundles.make(made)
    clip = sounds.write(tmp_path, sounds.voice(1.0), 16_000, stem="acted")
    examples.write(made, "Ann <Actor>", [(clip, "happy")])
    bundles.seal(made)
    server.put(MODEL, {path.name: path.read_bytes() for path in made.iterdir()})
    _, page = asked(server, tmp_path / "visitor", MODEL)
    assert "acted.wav" in page
    assert "Or an actor whom it heard in training: Ann <Actor>" in page
