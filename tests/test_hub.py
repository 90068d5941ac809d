"""Where the model comes from: the Hub, its cache, the copy that ships; and what each fault leads to. No network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ser_core
from ser_core import bundle, hub, pull
from ser_core.bundle import BUNDLED, MANIFEST, MODEL_FILES
from ser_core.emotions import LABELS
from ser_core.errors import BundleError
from ser_core.hub import HubModel, Located, Search
from tests import bundles
from tests.hub_server import READ_TOKEN, HubServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hub_faults import Play

MODEL = "tester/model"
BIN = MODEL_FILES["fp16"][1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as running:
        for name, value in running.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def published(server: HubServer, folder: Path, version: str = "1.2.3") -> str:
    """A small model on the Hub, with weights of its own, and what else lies in such a repository; the commit's hash."""
    made = folder / version
    bundles.make(made)
    (made / BIN).write_bytes((made / BIN).read_bytes() + version.encode())
    bundles.seal(made, version=version)
    files = {path.name: path.read_bytes() for path in made.iterdir()}
    return server.put(
        MODEL, {**files, "README.md": b"# A card", "examples/angry.wav": b"RIFF", "setup.py": b"import os"}
    )


def instead(wanted: str, fault: str) -> Located:
    return hub.bundled(f"instead of {wanted}, since {fault}")


def search(cache: Path, wanted: str = MODEL, timeout_s: float = 60.0) -> Located:
    return Search(wanted, timeout_s=timeout_s, cache=cache).result()


# What can be asked for.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann/voice", HubModel("ann/voice", "main")),
        (" ann/voice@v1.2.0\n", HubModel("ann/voice", "v1.2.0")),
        ("ann/voice.v2_x-y@" + "a" * 40, HubModel("ann/voice.v2_x-y", "a" * 40)),
    ],
)
def test_a_model_on_the_hub_is_named_by_its_repository_and_revision(text: str, expected: HubModel) -> None:
    model = HubModel.parse(text)
    assert model == expected
    assert model.pinned == (len(expected.revision) == 40)
    assert HubModel.parse(str(model)) == model


@pytest.mark.parametrize(
    "text", ["voice", "ann/", "/voice", "ann/voice@", "ann/voice/x", "ann voice/x", "a/b@x\ny", "../x"]
)
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(
        BundleError, match=r"is neither a folder that is there nor a model on the Hugging Face Hub: give"
    ):
        HubModel.parse(text)


def test_nothing_asked_for_is_the_copy_that_ships() -> None:
    for nothing in (None, ""):
        assert Search(nothing).result() == Located(BUNDLED, "bundled copy", None)


def test_a_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert Search("my/model").result().folder.resolve() == tmp_path / "my" / "model"
    # One that is missing is for `bundle.read` to complain of, where it can be nothing else.
    assert Search(tmp_path / "no" / "model").result().folder == tmp_path / "no" / "model"
    assert Search(f"{tmp_path}/no").result().commit is None
    assert Search("my/modle").result().folder == Path("my/modle")


# The Hub as it should be.


def test_a_branch_is_pulled_at_the_commit_where_it_is(
    server: HubServer, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commit = published(server, tmp_path)
    with caplog.at_level("INFO", "ser"):
        found = search(cache)
    assert (found.source, found.commit) == (f"{MODEL}, commit {commit[:7]}, from the Hub", commit)
    assert bundle.read(found.folder).version == "1.2.3"
    assert f"{MODEL}@main is commit {commit} now; pin it: SER_MODEL_REPO={MODEL}@{commit}" in caplog.text
    assert f"Model: {found.source}" in caplog.text
    # Nothing was fetched but the bundle.
    assert {path.name for path in found.folder.iterdir()} == {MANIFEST, *bundle.read(found.folder).files}
    assert server.asked("*resolve*setup.py") == server.asked("*resolve*angry.wav") == []
    assert ser_core.load(found).info.revision == commit


def test_a_pinned_commit_in_the_cache_needs_no_network(server: HubServer, cache: Path, tmp_path: Path) -> None:
    pinned = f"{MODEL}@{published(server, tmp_path)}"
    first = search(cache, pinned)
    assert first.source.endswith("from the Hub")
    published(server, tmp_path, "2.0.0")
    server.requests.clear()
    again = search(cache, pinned)
    assert server.requests == []
    assert again.source.endswith("from the cache")
    assert again.folder == first.folder


def test_a_branch_that_has_moved_is_pulled_anew_and_one_that_has_not_is_not(
    server: HubServer, cache: Path, tmp_path: Path
) -> None:
    published(server, tmp_path)
    search(cache)
    server.requests.clear()
    assert search(cache).source.endswith("from the Hub, downloaded earlier")
    assert server.asked("*resolve*") == server.asked("*cdn*") == []
    commit = published(server, tmp_path, "2.0.0")
    found = search(cache)
    assert (found.commit, bundle.read(found.folder).version) == (commit, "2.0.0")


def test_a_tag_and_a_private_repository_with_a_token(
    server: HubServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.create(MODEL, private=True)
    commit = published(server, tmp_path)
    server.tag(MODEL, "v1.2.3")
    published(server, tmp_path, "2.0.0")
    hidden = search(cache, f"{MODEL}@v1.2.3")
    assert hidden == instead(
        f"{MODEL}@v1.2.3", f"the Hub knows no model {MODEL}, or it is private: check the name, or set HF_TOKEN"
    )
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    assert search(cache, f"{MODEL}@v1.2.3").commit == commit


# Faults of the Hub and of the way there.

FAULTS: dict[str, tuple[Play, dict[str, Any], str]] = {
    "401": ("status", {"status": 401}, "the Hub answered 401"),
    "403": ("status", {"status": 403}, "the Hub answered 403"),
    "404": ("status", {"status": 404}, "the Hub answered 404"),
    "429": ("status", {"status": 429, "retry_after": 60}, "the Hub answered 429"),
    "500": ("status", {"status": 500}, "the Hub answered 500"),
    "hangs": ("hang", {}, "the Hub did not answer in time"),
    "hangs at the weights": ("hang", {"path": f"*{BIN}", "method": "GET"}, "the Hub did not answer in time"),
    "drips": ("slow", {"path": f"*{BIN}", "method": "GET", "block": 1}, "the Hub did not answer in time"),
    "closes": ("cut", {"method": "GET"}, "the Hub can't be reached"),
    "truncates": ("truncate", {"path": f"*{BIN}", "method": "GET"}, "the Hub can't be reached"),
    "flips a bit": ("flip", {"path": f"*{BIN}", "method": "GET"}, f"{BIN} has the SHA-256 "),
}


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_leads_to_the_next_best_and_is_got_over(
    server: HubServer, cache: Path, tmp_path: Path, name: str, earlier: bool
) -> None:
    old = published(server, tmp_path, "1.0.0")
    if earlier:
        search(cache)
    commit = published(server, tmp_path, "2.0.0")
    play, options, says = FAULTS[name]
    server.faults.play(play, **options)
    found = search(cache, timeout_s=5.0 if play in {"hang", "slow"} else 60.0)
    if earlier:
        assert found.commit == old
        assert found.source.startswith(
            f"{MODEL}, commit {old[:7]}, from the cache, instead of {MODEL}@main, since {says}"
        )
    else:
        assert (found.folder, found.commit) == (BUNDLED, None)
        assert found.source.startswith(instead(f"{MODEL}@main", says).source)
    assert str(tmp_path) not in found.source
    server.faults.clear()
    healthy = search(cache)
    assert (healthy.commit, bundle.read(healthy.folder).version) == (commit, "2.0.0")


def test_a_hub_that_refuses_connections(server: HubServer, cache: Path, tmp_path: Path) -> None:
    commit = published(server, tmp_path)
    with server.refusing():
        assert search(cache) == instead(f"{MODEL}@main", "the Hub can't be reached")
        with pytest.raises(BundleError, match=rf"The model {MODEL}@main can't be had: the Hub can't be reached\."):
            hub.locate(MODEL, cache=cache)
    assert hub.locate(MODEL, cache=cache).commit == commit


def test_a_revision_that_is_not_there(server: HubServer, cache: Path, tmp_path: Path) -> None:
    published(server, tmp_path)
    assert search(cache, f"{MODEL}@v9") == instead(f"{MODEL}@v9", f"{MODEL} has no revision v9")


def test_a_copy_in_the_cache_that_was_damaged_is_pulled_anew(server: HubServer, cache: Path, tmp_path: Path) -> None:
    pinned = f"{MODEL}@{published(server, tmp_path)}"
    weights = search(cache, pinned).folder / BIN
    whole = weights.read_bytes()
    weights.resolve().write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = search(cache, pinned)
    assert found.source.endswith("from the Hub")
    assert (found.folder / BIN).read_bytes() == whole


# A model that doesn't fit.


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        stored = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        change(stored)
        (folder / MANIFEST).write_text(json.dumps(stored), encoding="utf-8")

    return changed


def _listing(name: str, size: int = 3) -> Callable[[Path], None]:
    return _manifest(lambda stored: stored["files"].update({name: {"sha256": "0" * 64, "size": size}}))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "other labels": (_manifest(lambda stored: stored["labels"].reverse()), "knows surprised, disgust, "),
    "other features": (
        _manifest(lambda stored: stored["feature_config"].update(n_mels=40)),
        "was trained on other features than this version makes: n_mels 40 against",
    ),
    "a path that leads out": (_listing("../../x"), "names '../../x', which is no plain file name"),
    "a path from the root": (_listing("/etc/passwd"), "names '/etc/passwd', which is no plain file name"),
    "code": (_listing("model.py"), "lists 'model.py'; only files of the kinds "),
    "a pickle": (_listing("weights.pt"), "lists 'weights.pt'; only files of the kinds "),
    "a pattern": (_listing("*.json"), "lists '*.json'; only files of the kinds "),
    "too large": (_listing("more.bin", bundle.MAX_BYTES), "MB large, at most 36 MB"),
    "other sizes than are there": (_listing("more.bin"), "more.bin of tester/model has 0 bytes on the Hub, "),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "holds no model for this app at commit "),
    "no JSON": (lambda folder: (folder / MANIFEST).write_text("{"), "can't be read ("),
    "a huge manifest": (
        lambda folder: (folder / MANIFEST).write_text(" " * (pull.MANIFEST_MAX_BYTES + 1)),
        "has 1,048,577 bytes, at most 1,048,576 are read",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_model_that_does_not_fit_is_refused_before_its_weights_are_fetched(
    server: HubServer, cache: Path, tmp_path: Path, name: str
) -> None:
    change, says = WRONG[name]
    bundles.make(tmp_path / "model")
    change(tmp_path / "model")
    server.put(MODEL, {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()})
    found = search(cache)
    assert found.folder == BUNDLED
    assert found.source.startswith(f"bundled copy instead of {MODEL}@main, since ")
    assert says in found.source
    assert str(tmp_path) not in found.source
    assert server.asked("*resolve*model-*") == server.asked("*cdn*") == []


def test_a_body_longer_than_was_said_is_cut_off(server: HubServer, cache: Path, tmp_path: Path) -> None:
    published(server, tmp_path)
    server.faults.play("swell", path=f"*{BIN}", method="GET", block=2 * bundle.MAX_BYTES)
    assert search(cache).folder == BUNDLED
    assert max(path.stat().st_size for path in cache.rglob("*") if path.is_file()) <= bundle.MAX_BYTES


def test_a_cache_that_can_not_be_used_stops_no_start(server: HubServer, cache: Path, tmp_path: Path) -> None:
    published(server, tmp_path)
    cache.write_text("a file", encoding="utf-8")
    assert search(cache).source.startswith(f"bundled copy instead of {MODEL}@main, since ")


def test_a_copy_that_fits_another_version_of_the_app_is_left_alone(
    server: HubServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = f"{MODEL}@{published(server, tmp_path)}"
    folder = search(cache, pinned).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(bundle, "LABELS", LABELS[::-1])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert search(cache, pinned).folder == BUNDLED
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_older_whole_copy_serves_where_a_newer_one_is_broken(server: HubServer, cache: Path, tmp_path: Path) -> None:
    old = published(server, tmp_path, "1.0.0")
    search(cache)
    published(server, tmp_path, "2.0.0")
    (search(cache).folder / BIN).resolve().unlink()
    with server.refusing():
        assert search(cache).commit == old


def test_a_start_that_gave_up_leaves_nothing_behind_and_holds_nothing_up(
    server: HubServer, cache: Path, tmp_path: Path
) -> None:
    commit = published(server, tmp_path)
    server.faults.play("slow", path=f"*{BIN}", method="GET", block=1, times=1)
    assert search(cache, timeout_s=5.0).folder == BUNDLED
    assert not list(cache.rglob("*.incomplete"))
    # The drip goes on at its end of the line; nobody waits for it.
    assert search(cache).commit == commit


def test_what_was_refused_is_followed_by_what_is_left(server: HubServer, cache: Path, tmp_path: Path) -> None:
    old = published(server, tmp_path, "1.0.0")
    search(cache)
    published(server, tmp_path, "2.0.0")
    looking = Search(MODEL, timeout_s=60.0, cache=cache)
    first = looking.result()
    second = looking.instead(first, ValueError("no number"))
    assert (second.commit, second.source) == (
        old,
        f"{MODEL}, commit {old[:7]}, from the cache, instead of {MODEL}@main, since it can't be used (ValueError)",
    )
    third = looking.instead(second, BundleError(f"{second.folder / BIN} is odd."))
    assert third == instead(f"{MODEL}@main", f"{BIN} is odd")


def test_an_ir_that_openvino_can_not_read_is_replaced_by_the_onnx_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundles.make(tmp_path)
    (tmp_path / MODEL_FILES["fp16"][0]).write_text("<net version='99'/>", encoding="utf-8")
    bundles.seal(tmp_path)
    recognizer = ser_core.load(tmp_path)
    assert recognizer.info.precision == "fp32"
    assert "The ONNX file beside it serves instead." in caplog.text
    # Whoever asked for that very precision is told.
    with pytest.raises(BundleError, match=r"can't load model-fp16\.xml"):
        ser_core.load(tmp_path, precision="fp16")
