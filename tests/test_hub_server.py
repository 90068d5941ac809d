"""The pretended Hub against the unmodified client that it was written for. No network."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server import READ_TOKEN, WRITE_TOKEN, HubServer
from tests.hub_store import GITATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hub_faults import Play

MODEL = "tester/model"
SPACE = "tester/space"
ROOT = Path(__file__).resolve().parent.parent
NETWORK = bytes(range(256)) * 700
"""Kept in LFS, and more than one of Xet's chunks, which it compresses."""
NOISE = random.Random(5).randbytes(200_000)
"""Does not compress at all."""
FILES: dict[str, bytes | None] = {
    "manifest.json": b'{"a": 1}\n' * 99,
    "model.onnx": NETWORK,
    "more/notes.txt": b"notes",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    # As HF_HUB_DISABLE_TELEMETRY does, which is read at import: else the client asks the real Hub about agents.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    with HubServer() as running:
        yield running


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.url, token=WRITE_TOKEN)


def anonymous(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.url, token=False)


def download(hub: HubServer, cache: Path, file: str, **options: Any) -> bytes:
    options = {"endpoint": hub.url, "cache_dir": cache, "token": False, **options}
    return Path(huggingface_hub.hf_hub_download(MODEL, file, **options)).read_bytes()


def below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def in_process(hub: HubServer, home: Path, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code that finds `api` and `folder` (home / "folder") in a process which knows this Hub from its variables."""
    start = f"from huggingface_hub import HfApi; api = HfApi(); folder = {str(home / 'folder')!r}\n"
    environment = {**os.environ, **hub.environment(home / "hf", WRITE_TOKEN), **variables}
    command = [sys.executable, "-c", start + code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def published(home: Path) -> dict[str, bytes]:
    """Write a folder to publish into home / "folder"."""
    files = {
        "manifest.json": b"{}",
        "model.onnx": NETWORK,
        "data/noise.npz": NOISE,
        "README.md": b"---\n---\n# Model\n",
    }
    for name, content in files.items():
        path = home / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return files


def test_it_was_written_for_this_client() -> None:
    assert (version("huggingface_hub"), version("hf-xet")) == ("2.4.0", "1.8.0")


# Accounts and repositories.


@pytest.mark.parametrize(("token", "role"), [(WRITE_TOKEN, "write"), (READ_TOKEN, "read")])
def test_a_token_tells_who_one_is(hub: HubServer, token: str, role: str) -> None:
    told = HfApi(endpoint=hub.url, token=token).whoami()
    assert (told["name"], told["auth"]["accessToken"]["role"]) == ("tester", role)


def test_an_unknown_token_is_refused_everywhere(hub: HubServer) -> None:
    hub.put(MODEL, FILES)
    api = HfApi(endpoint=hub.url, token="hf_wrong")
    for call in (api.whoami, lambda: api.repo_info(MODEL)):
        with pytest.raises(HfHubHTTPError) as refused:
            call()
        assert refused.value.response.status_code == 401
        assert not isinstance(refused.value, RepositoryNotFoundError)


def test_a_model_and_a_space_of_one_name_are_made(hub: HubServer, api: HfApi) -> None:
    assert str(api.create_repo(MODEL, private=True)) == f"{hub.url}/{MODEL}"
    assert str(api.create_repo(MODEL, repo_type="space", space_sdk="docker")) == f"{hub.url}/spaces/{MODEL}"
    assert hub.is_private(MODEL)
    assert not hub.is_private(MODEL, repo_type="space")
    assert set(hub.files(MODEL)) == {".gitattributes"}
    assert b"sdk: docker\n" in hub.files(MODEL, repo_type="space")["README.md"]


def test_a_repository_is_made_once(hub: HubServer, api: HfApi) -> None:
    api.create_repo(MODEL)
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_repo(MODEL, private=True)
    assert refused.value.response.status_code == 409
    assert api.create_repo(MODEL, private=True, exist_ok=True).repo_id == MODEL
    assert not hub.is_private(MODEL)


def test_making_and_writing_takes_a_token_with_the_right_and_ones_own_name(hub: HubServer, api: HfApi) -> None:
    hub.put(MODEL, FILES)
    reader = HfApi(endpoint=hub.url, token=READ_TOKEN)
    add = [CommitOperationAdd("x.txt", b"x")]
    for call in (
        lambda: reader.create_repo("tester/other"),
        lambda: api.create_repo("another/model"),
        lambda: reader.create_commit(MODEL, add, commit_message="x"),
        lambda: reader.create_tag(MODEL, tag="v1"),
    ):
        with pytest.raises(HfHubHTTPError) as refused:
            call()
        assert refused.value.response.status_code == 403
    with pytest.raises(RepositoryNotFoundError):
        anonymous(hub).create_commit(MODEL, add, commit_message="x")
    assert len(hub.commits(MODEL)) == 2


def test_a_private_repository_is_not_there_for_those_without_a_token(hub: HubServer, tmp_path: Path) -> None:
    hub.create(MODEL, private=True)
    hub.put(MODEL, FILES)
    assert not anonymous(hub).repo_exists(MODEL)
    with pytest.raises(RepositoryNotFoundError):
        download(hub, tmp_path, "manifest.json")
    assert HfApi(endpoint=hub.url, token=READ_TOKEN).repo_exists(MODEL)
    assert not HfApi(endpoint=hub.url, token=READ_TOKEN).repo_exists("tester/none")
    assert download(hub, tmp_path, "model.onnx", token=READ_TOKEN) == NETWORK


def test_a_gated_repository_shows_itself_and_no_file(hub: HubServer, tmp_path: Path) -> None:
    hub.create(MODEL, gated=True)
    assert anonymous(hub).repo_exists(MODEL)
    for token in (False, READ_TOKEN):
        with pytest.raises(GatedRepoError):
            download(hub, tmp_path, ".gitattributes", token=token)


def test_the_commit_of_a_branch_a_tag_and_a_hash_is_told(hub: HubServer, api: HfApi) -> None:
    first = hub.put(MODEL, FILES)
    hub.tag(MODEL, "v1")
    second = hub.put(MODEL, {"manifest.json": b"{}"})
    other = hub.put(MODEL, {"manifest.json": b"[]"}, branch="try/this")
    assert len({first, second, other}) == 3
    for revision, commit in [(None, second), ("main", second), ("v1", first), (first, first), ("try/this", other)]:
        assert api.repo_info(MODEL, revision=revision).sha == commit
    with pytest.raises(RevisionNotFoundError):
        api.repo_info(MODEL, revision="v2")


@pytest.mark.parametrize("repo_type", ["model", "space"])
def test_a_repository_tells_its_files(hub: HubServer, api: HfApi, repo_type: Any) -> None:
    hub.put(MODEL, FILES, repo_type=repo_type)
    siblings = getattr(api.repo_info(MODEL, repo_type=repo_type, files_metadata=True), "siblings", None) or []
    assert {s.rfilename: s.size for s in siblings} == {
        name: len(content) for name, content in hub.files(MODEL, repo_type=repo_type).items()
    }
    assert [s.rfilename for s in siblings if s.lfs] == ["model.onnx"]
    assert api.list_repo_files(MODEL, repo_type=repo_type) == sorted(hub.files(MODEL, repo_type=repo_type))


def test_a_folder_of_the_tree_and_single_paths_are_listed(hub: HubServer, api: HfApi) -> None:
    hub.put(MODEL, FILES)
    top = [entry.path for entry in api.list_repo_tree(MODEL)]
    assert top == [".gitattributes", "manifest.json", "model.onnx", "more"]
    assert [entry.path for entry in api.list_repo_tree(MODEL, "more")] == ["more/notes.txt"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(MODEL, "less"))
    (found,) = api.get_paths_info(MODEL, ["model.onnx", "less"])
    assert isinstance(found, huggingface_hub.RepoFile)
    assert found.lfs is not None
    assert (found.size, found.lfs.size, found.xet_hash) == (len(NETWORK), len(NETWORK), None)


def test_it_is_told_whether_a_file_exists(hub: HubServer, api: HfApi) -> None:
    hub.put(MODEL, FILES)
    assert api.file_exists(MODEL, "manifest.json")
    assert api.file_exists(MODEL, "model.onnx")
    assert not api.file_exists(MODEL, "manifest.yaml")
    assert not api.file_exists(MODEL, "manifest.json", revision="v1")
    assert not api.file_exists(MODEL, "manifest.json", repo_type="space")


def test_a_tag_is_made_once_and_deleted(hub: HubServer, api: HfApi) -> None:
    first = hub.put(MODEL, FILES)
    hub.put(MODEL, {"manifest.json": b"{}"})
    api.create_tag(MODEL, tag="v1", revision=first)
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_tag(MODEL, tag="v1")
    assert refused.value.response.status_code == 409
    api.create_tag(MODEL, tag="v1", exist_ok=True)
    refs = api.list_repo_refs(MODEL)
    assert [(tag.name, tag.ref, tag.target_commit) for tag in refs.tags] == [("v1", "refs/tags/v1", first)]
    assert [branch.name for branch in refs.branches] == ["main"]
    api.delete_tag(MODEL, tag="v1")
    assert hub.tags(MODEL) == {}
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag(MODEL, tag="v1")


def test_a_space_has_variables(hub: HubServer, api: HfApi) -> None:
    hub.create(SPACE, repo_type="space")
    api.add_space_variable(SPACE, "MODEL", "tester/model", description="which")
    told = api.add_space_variable(SPACE, "REVISION", "v1")
    assert {key: variable.value for key, variable in told.items()} == {"MODEL": "tester/model", "REVISION": "v1"}
    assert api.get_space_variables(SPACE)["MODEL"].description == "which"
    api.delete_space_variable(SPACE, "MODEL")
    assert hub.variables(SPACE) == {"REVISION": "v1"}


# Commits.


def test_a_commit_adds_changes_and_deletes(hub: HubServer, api: HfApi) -> None:
    before = hub.put(MODEL, {**FILES, "more/a.txt": b"a", "old.txt": b"old"})
    made = api.create_commit(
        MODEL,
        [
            CommitOperationAdd("manifest.json", b"[]"),
            CommitOperationAdd("empty.onnx", b""),
            CommitOperationDelete("old.txt"),
            CommitOperationDelete("more/"),
        ],
        commit_message="a commit",
        commit_description="of all kinds",
        parent_commit=before,
    )
    assert hub.files(MODEL) == {
        ".gitattributes": GITATTRIBUTES, "empty.onnx": b"", "manifest.json": b"[]", "model.onnx": NETWORK,
    }  # fmt: skip
    last = hub.commits(MODEL)[-1]
    assert (last.oid, last.parent, last.message, last.description) == (made.oid, before, "a commit", "of all kinds")
    assert made.commit_url == f"{hub.url}/{MODEL}/commit/{made.oid}"
    assert hub.files(MODEL, before)["old.txt"] == b"old"


def test_a_commit_goes_to_the_branch_that_is_named(hub: HubServer, api: HfApi) -> None:
    hub.put(MODEL, FILES, branch="try/this")
    api.create_commit(MODEL, [CommitOperationAdd("x.txt", b"x")], commit_message="x", revision="try/this")
    assert "x.txt" in hub.files(MODEL, "try/this")
    assert "x.txt" not in hub.files(MODEL)
    with pytest.raises(RevisionNotFoundError):
        api.create_commit(MODEL, [CommitOperationAdd("x.txt", b"x")], commit_message="x", revision="none")


def test_a_commit_whose_parent_is_not_the_last_one_changes_nothing(hub: HubServer, api: HfApi) -> None:
    first = hub.put(MODEL, FILES)
    last = hub.put(MODEL, {"manifest.json": b"{}"})
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_commit(MODEL, [CommitOperationAdd("x.txt", b"x")], commit_message="x", parent_commit=first)
    assert refused.value.response.status_code == 412
    assert hub.commits(MODEL)[-1].oid == last
    api.create_commit(MODEL, [CommitOperationAdd("x.txt", b"x")], commit_message="x", parent_commit=last[:7])
    assert hub.files(MODEL)["x.txt"] == b"x"


def test_a_commit_that_fails_in_one_place_changes_nothing(hub: HubServer, api: HfApi) -> None:
    last = hub.put(MODEL, FILES)
    with pytest.raises(EntryNotFoundError):
        api.create_commit(
            MODEL, [CommitOperationAdd("x.txt", b"x"), CommitOperationDelete("none.txt")], commit_message="x"
        )
    assert hub.commits(MODEL)[-1].oid == last


def test_what_has_not_changed_makes_no_commit(hub: HubServer, api: HfApi) -> None:
    last = hub.put(MODEL, FILES)
    same = [CommitOperationAdd("manifest.json", b'{"a": 1}\n' * 99)]
    assert api.create_commit(MODEL, same, commit_message="same").oid == last
    assert hub.asked("*/commit/*") == []


@pytest.mark.parametrize("repo_type", ["model", "space"])
def test_a_folder_is_published_over_xet(hub: HubServer, tmp_path: Path, repo_type: Any) -> None:
    hub.create(MODEL, repo_type=repo_type)
    files = published(tmp_path)
    done = in_process(
        hub, tmp_path, f"api.upload_folder(folder_path=folder, repo_id='{MODEL}', repo_type='{repo_type}')"
    )
    assert done.returncode == 0, done.stderr
    assert hub.files(MODEL, repo_type=repo_type).items() >= files.items()
    assert len(hub.commits(MODEL, repo_type=repo_type)) == 2
    assert hub.asked("POST /xet/*/v1/xorbs/*")
    assert hub.asked("PUT *") == []


@pytest.mark.parametrize("repo_type", ["model", "space"])
def test_a_folder_is_published_over_lfs_where_xet_is_switched_off(
    hub: HubServer, tmp_path: Path, repo_type: Any
) -> None:
    hub.create(MODEL, repo_type=repo_type)
    files = published(tmp_path)
    code = f"api.upload_folder(folder_path=folder, repo_id='{MODEL}', repo_type='{repo_type}')\n"
    done = in_process(hub, tmp_path, 2 * code, HF_HUB_DISABLE_XET="1")
    assert done.returncode == 0, done.stderr
    assert hub.files(MODEL, repo_type=repo_type).items() >= files.items()
    assert len(hub.commits(MODEL, repo_type=repo_type)) == 2
    assert (len(hub.asked("PUT *")), hub.asked("*/xet*")) == (2, [])
    # An upload's address is signed, and it's not the Hub's: the token stays at home.
    assert {request.token for request in hub.requests if request.method == "PUT"} == {None}


# Downloads.


def test_a_file_is_downloaded_at_a_branch_a_tag_and_a_hash(hub: HubServer, tmp_path: Path) -> None:
    first = hub.put(MODEL, FILES)
    hub.tag(MODEL, "v1")
    hub.put(MODEL, {"manifest.json": b"{}"})
    assert download(hub, tmp_path, "manifest.json") == b"{}"
    for revision in ("v1", first):
        assert download(hub, tmp_path, "manifest.json", revision=revision) == FILES["manifest.json"]
    assert download(hub, tmp_path, "manifest.json", local_files_only=True) == b"{}"
    assert download(hub, tmp_path, "more/notes.txt") == b"notes"


def test_a_file_in_lfs_is_downloaded_elsewhere_and_without_the_token(hub: HubServer, tmp_path: Path) -> None:
    hub.put(MODEL, FILES)
    assert download(hub, tmp_path, "model.onnx", token=READ_TOKEN) == NETWORK
    asked = [(request.method, request.path.split("/")[1], request.token) for request in hub.requests]
    assert asked == [("HEAD", "tester", READ_TOKEN), ("GET", "cdn", None)]


def test_what_is_not_there_is_told_apart(hub: HubServer, tmp_path: Path) -> None:
    hub.put(MODEL, FILES)
    with pytest.raises(EntryNotFoundError):
        download(hub, tmp_path, "none.json")
    with pytest.raises(RevisionNotFoundError):
        download(hub, tmp_path, "manifest.json", revision="v1")
    with pytest.raises(RepositoryNotFoundError):
        download(hub, tmp_path, "manifest.json", repo_type="space")
    with pytest.raises(LocalEntryNotFoundError):
        download(hub, tmp_path, "manifest.json", local_files_only=True)


@pytest.mark.parametrize("repo_type", ["model", "space"])
def test_a_snapshot_is_downloaded_once(hub: HubServer, tmp_path: Path, repo_type: Any) -> None:
    commit = hub.put(MODEL, FILES, repo_type=repo_type)

    def snapshot(**options: Any) -> dict[str, bytes]:
        place = huggingface_hub.snapshot_download(
            MODEL, repo_type=repo_type, endpoint=hub.url, cache_dir=tmp_path, token=False, **options
        )
        return below(Path(place))

    files = hub.files(MODEL, repo_type=repo_type)
    assert snapshot() == files
    assert len(hub.asked("GET */resolve/*")) == len(files)
    assert snapshot(local_files_only=True) == files
    asked = len(hub.requests)
    assert snapshot(revision=commit) == files
    assert len(hub.requests) == asked
    with hub.refusing():
        assert snapshot() == files


# What goes wrong.


@pytest.mark.parametrize(("size", "kept"), [(300_000, 0), (22 * 2**20, constants.DOWNLOAD_CHUNK_SIZE)])
def test_a_cut_download_goes_on_from_the_last_whole_chunk(hub: HubServer, tmp_path: Path, size: int, kept: int) -> None:
    content = bytes(size - 3) + b"end"
    hub.put(MODEL, {"model.onnx": content})
    fault = hub.faults.play("cut", "*/model.onnx", method="GET", times=1)
    assert download(hub, tmp_path, "model.onnx") == content
    assert fault.played == 1
    assert [r.range for r in hub.requests if r.method == "GET"] == [None, f"bytes={kept}-" if kept else None]


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx"])
def test_a_truncated_file_is_noticed_by_the_client(hub: HubServer, tmp_path: Path, file: str) -> None:
    hub.put(MODEL, FILES)
    hub.faults.play("truncate", f"*/{file}", method="GET")
    with pytest.raises(OSError, match="Consistency check failed"):
        download(hub, tmp_path, file)


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx"])
def test_a_flipped_bit_is_not_noticed_by_the_client(hub: HubServer, tmp_path: Path, file: str) -> None:
    hub.put(MODEL, FILES)
    hub.faults.play("flip", f"*/{file}")
    content, got = hub.files(MODEL)[file], download(hub, tmp_path, file)
    assert len(got) == len(content)
    assert sum((a ^ b).bit_count() for a, b in zip(got, content, strict=True)) == 1
    assert download(hub, tmp_path, "more/notes.txt") == b"notes"


def test_a_slow_answer_arrives_whole(hub: HubServer, tmp_path: Path) -> None:
    hub.put(MODEL, FILES)
    fault = hub.faults.play("slow", method="GET", block=64, pause_s=0.001)
    assert download(hub, tmp_path, "manifest.json") == FILES["manifest.json"]
    assert fault.played == 1


@pytest.mark.parametrize("status", [401, 403, 404, 418])
def test_a_file_is_refused_with_a_status(hub: HubServer, tmp_path: Path, status: int) -> None:
    hub.put(MODEL, FILES)
    hub.faults.play("status", "*/model.onnx", status=status)
    with pytest.raises((HfHubHTTPError, LocalEntryNotFoundError)) as refused:
        download(hub, tmp_path, "model.onnx")
    error = refused.value if isinstance(refused.value, HfHubHTTPError) else refused.value.__cause__
    assert isinstance(error, HfHubHTTPError)
    assert error.response.status_code == status
    assert download(hub, tmp_path, "manifest.json") == FILES["manifest.json"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("RepoNotFound", RepositoryNotFoundError),
        ("RevisionNotFound", RevisionNotFoundError),
        ("EntryNotFound", EntryNotFoundError),
        ("GatedRepo", GatedRepoError),
    ],
)
def test_a_fault_picks_the_clients_exception(hub: HubServer, tmp_path: Path, code: str, error: type[Exception]) -> None:
    hub.put(MODEL, FILES)
    hub.faults.play("status", status=404, code=code)
    with pytest.raises(error):
        download(hub, tmp_path, "manifest.json")


@pytest.mark.parametrize("options", [{"status": 429, "retry_after": 0}, {"status": 500}])
def test_a_refusal_that_may_pass_is_asked_again(hub: HubServer, tmp_path: Path, options: Any) -> None:
    hub.put(MODEL, FILES)
    fault = hub.faults.play("status", method="HEAD", times=1, **options)
    assert download(hub, tmp_path, "manifest.json") == FILES["manifest.json"]
    assert fault.played == 1
    assert len(hub.asked("HEAD *")) == 2


def test_where_the_hub_hangs_or_is_down_the_cache_answers(hub: HubServer, tmp_path: Path) -> None:
    hub.put(MODEL, FILES)
    content = download(hub, tmp_path, "manifest.json")
    hub.put(MODEL, {"manifest.json": b"{}"})
    with hub.refusing():
        assert download(hub, tmp_path, "manifest.json") == content
    hang = hub.faults.play("hang")
    assert download(hub, tmp_path, "manifest.json", etag_timeout=0.2) == content
    assert hang.played == 1
    hub.faults.clear()
    assert download(hub, tmp_path, "manifest.json") == b"{}"


def test_a_connection_is_refused_while_nobody_listens(hub: HubServer, api: HfApi) -> None:
    hub.put(MODEL, FILES)
    with hub.refusing(), pytest.raises(Exception, match="Connection refused"):
        api.repo_info(MODEL)
    assert api.repo_exists(MODEL)


@pytest.mark.parametrize(("play", "commits"), [("cut-request", 1), ("cut", 2), ("lose-answer", 2)])
def test_a_commit_is_cut_before_or_after_it_is_made(hub: HubServer, api: HfApi, play: Play, commits: int) -> None:
    hub.create(MODEL)
    hub.faults.play(play, "*/commit/*", times=1)
    with pytest.raises(Exception, match=r"(?i)reset|disconnected|closed"):
        api.create_commit(MODEL, [CommitOperationAdd("x.txt", b"x")], commit_message="x")
    assert len(hub.commits(MODEL)) == commits


@pytest.mark.parametrize(
    ("step", "play"),
    [
        ("*/preupload/*", "status"),
        ("*/objects/batch", "lose-answer"),
        ("/lfs/*", "cut-request"),
        ("*/objects/verify", "cut"),
    ],
)
def test_a_step_of_an_upload_that_fails_once_is_tried_again(
    hub: HubServer, tmp_path: Path, play: Play, step: str
) -> None:
    hub.create(MODEL)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.onnx").write_bytes(NETWORK)
    fault = hub.faults.play(play, step, times=1)
    done = in_process(
        hub, tmp_path, f"api.upload_folder(folder_path=folder, repo_id='{MODEL}')", HF_HUB_DISABLE_XET="1"
    )
    assert done.returncode == 0, done.stderr
    assert fault.played == 1
    assert hub.files(MODEL)["model.onnx"] == NETWORK


def test_a_commit_whose_answer_is_lost_is_made_twice_by_upload_folder(hub: HubServer, tmp_path: Path) -> None:
    hub.create(MODEL)
    published(tmp_path)
    hub.faults.play("lose-answer", "*/commit/*", times=1)
    done = in_process(hub, tmp_path, f"api.upload_folder(folder_path=folder, repo_id='{MODEL}')")
    assert done.returncode == 0, done.stderr
    _, first, second = hub.commits(MODEL)
    assert first.files == second.files


def test_a_broken_xet_upload_makes_no_commit(hub: HubServer, tmp_path: Path) -> None:
    hub.create(MODEL)
    published(tmp_path)
    fault = hub.faults.play("status", "*/v1/xorbs/*", status=403)
    done = in_process(hub, tmp_path, f"api.upload_folder(folder_path=folder, repo_id='{MODEL}')")
    assert done.returncode == 1
    assert fault.played
    assert len(hub.commits(MODEL)) == 1


def test_a_path_that_leaves_the_folder_is_listed_as_it_is(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    hub.put(MODEL, {"../../x": b"x"})
    assert "../../x" in api.list_repo_files(MODEL)
    with pytest.raises(ValueError, match=r"cannot contain a '\.\.' path segment"):
        download(hub, tmp_path / "a" / "b", "../../x")
    assert not list(tmp_path.rglob("x"))


def test_what_hangs_is_let_go_when_the_hub_goes(tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.faults.play("hang")
        code = "print('asking', flush=True); api.whoami()"
        environment = {**os.environ, **hub.environment(tmp_path, WRITE_TOKEN)}
        command = [sys.executable, "-c", f"from huggingface_hub import HfApi; api = HfApi(); {code}"]
        client = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert client.stdout is not None
        client.stdout.readline()
        while not hub.requests:
            assert client.poll() is None
            time.sleep(0.01)
    with client:
        assert client.wait(60) == 1
