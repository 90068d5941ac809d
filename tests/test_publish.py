"""Publishing: what is sent, what is left alone, and what is said when it can't be done. No network is needed."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, SpaceCard
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._http import hf_raise_for_status
from huggingface_hub.utils.sha import git_hash

from ser_core import bundle, examples
from ser_core.emotions import LABELS
from ser_core.errors import BundleError
from ser_core.hub import HubModel
from tests import bundles
from train import card, hub_errors, hub_upload, publish, publish_space
from train.__main__ import main
from train.corpora import Ravdess
from train.hub_errors import PublishError, Repo
from train.hub_upload import Upload
from train.recipe import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from huggingface_hub import HfApi

ENDPOINT = "https://hub.test"
MODEL = Repo("me/ser", "model", ENDPOINT)
SPACE = Repo("me/page", "space", ENDPOINT)
HASH = "0123456789abcdef0123456789abcdef01234567"
FILES = {"bundle.json": b"{}", "README.md": b"# Card", "model.onnx": b"\0" * 100}
UPLOAD = Upload("me/ser", "model", FILES, "small 1.0", "bundle.json")

pytestmark = pytest.mark.usefixtures("token")


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_errors, "get_token", lambda: "hf_test")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_errors, "get_token", lambda: None)
    monkeypatch.setattr(hub_upload, "connect", lambda: pytest.fail("the Hub was asked"))


@dataclass
class Hub:
    """Stands where the Hub's client does: one repository in memory, in which ONNX files and pictures are stored as LFS.

    Attributes:
        files: None where there is no repository.
        fails: what a method raises by its name, before it does anything.
        lost: what `create_commit` raises after the commit was made.
        written: the methods that changed something, in order.
    """

    files: dict[str, bytes] | None = None
    tags: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    role: str = "write"
    public: bool = True
    fails: dict[str, BaseException] = field(default_factory=dict)
    lost: BaseException | None = None
    written: list[str] = field(default_factory=list)
    commits: int = 0
    endpoint: str = ENDPOINT

    @property
    def head(self) -> str:
        return f"{self.commits:040x}"

    def _begin(self, method: str, *, writes: bool = False) -> None:
        if method in self.fails:
            raise self.fails[method]
        if writes:
            self.written.append(method)

    def whoami(self) -> dict[str, Any]:
        self._begin("whoami")
        return {"name": "me", "auth": {"accessToken": {"role": self.role}}}

    def list_repo_refs(self, repo_id: str, *, repo_type: str) -> Any:
        self._begin("list_repo_refs")
        if self.files is None:
            raise answered(404, headers={"X-Error-Code": "RepoNotFound"})
        tags = [SimpleNamespace(name=name, target_commit=commit) for name, commit in self.tags.items()]
        return SimpleNamespace(branches=[SimpleNamespace(name="main", target_commit=self.head)], tags=tags)

    def list_repo_tree(self, repo_id: str, *, repo_type: str, revision: str, recursive: bool) -> list[RepoFile]:
        self._begin("list_repo_tree")
        assert self.files is not None
        assert (revision, recursive) == (self.head, True)
        return [stored(path, content) for path, content in self.files.items()]

    def hf_hub_download(self, repo_id: str, filename: str, *, revision: str, local_dir: str) -> str:
        self._begin("hf_hub_download")
        assert (repo_id, filename) == ("me/ser", bundle.MANIFEST)
        return shutil.copy(bundle.BUNDLED / bundle.MANIFEST, local_dir)

    def repo_info(self, repo_id: str, *, repo_type: str) -> Any:
        self._begin("repo_info")
        return SimpleNamespace(private=not self.public)

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, space_sdk: str | None) -> None:
        self._begin("create_repo", writes=True)
        assert space_sdk == ("gradio" if repo_type == "space" else None)
        self.files, self.public, self.commits = {".gitattributes": b"* lfs"}, not private, 1

    def create_commit(
        self, repo_id: str, operations: Sequence[Any], *, commit_message: str, repo_type: str, parent_commit: str
    ) -> Any:
        self._begin("create_commit", writes=True)
        assert self.files is not None
        assert parent_commit == self.head
        for operation in operations:
            if isinstance(operation, CommitOperationDelete):
                del self.files[operation.path_in_repo]
            else:
                assert isinstance(operation, CommitOperationAdd)
                with operation.as_file() as content:
                    self.files[operation.path_in_repo] = content.read()
        self.commits += 1
        if self.lost is not None:
            raise self.lost
        return SimpleNamespace(oid=self.head)

    def create_tag(self, repo_id: str, *, repo_type: str, tag: str, revision: str) -> None:
        self._begin("create_tag", writes=True)
        self.tags[tag] = revision

    def get_space_variables(self, repo_id: str) -> dict[str, Any]:
        self._begin("get_space_variables")
        return {name: SimpleNamespace(value=value) for name, value in self.variables.items()}

    def add_space_variable(self, repo_id: str, key: str, value: str, *, description: str) -> None:
        self._begin("add_space_variable", writes=True)
        self.variables[key] = value

    def deliver(self, upload: Upload = UPLOAD) -> hub_upload.Delivered:
        return hub_upload.deliver(cast("HfApi", self), upload)

    def refuses(self, upload: Upload = UPLOAD) -> str:
        """The message with which `upload` is refused."""
        with pytest.raises(PublishError) as raised:
            self.deliver(upload)
        return str(raised.value)


def stored(path: str, content: bytes) -> RepoFile:
    """A file as the listing of a repository tells of it."""
    if not path.endswith((".onnx", ".png")):
        return RepoFile(path=path, size=len(content), oid=git_hash(content))  # type: ignore[no-untyped-call]
    lfs = {"size": len(content), "oid": hashlib.sha256(content).hexdigest(), "pointerSize": 130}
    pointer = git_hash(b"the pointer")
    return RepoFile(path=path, size=len(content), oid=pointer, lfs=lfs)  # type: ignore[no-untyped-call]


def answered(status: int, *, said: str = "", headers: dict[str, str] | None = None) -> HfHubHTTPError:
    """What the client makes of an answer."""
    request = httpx2.Request("POST", f"{ENDPOINT}/api/models/me/ser/commit/main")
    response = httpx2.Response(status, headers=headers, json={"error": said} if said else {}, request=request)
    with pytest.raises(HfHubHTTPError) as raised:
        hf_raise_for_status(response)
    return raised.value


# Only what differs, in one commit.


def test_the_first_time_a_repository_is_made_and_gets_one_commit_and_one_tag() -> None:
    hub = Hub()
    delivered = hub.deliver(replace(UPLOAD, tag="v1.0.0"))
    assert hub.written == ["create_repo", "create_commit", "create_tag"]
    assert hub.files == {".gitattributes": b"* lfs", **FILES}
    assert delivered.commit == hub.head == hub.tags["v1.0.0"]
    assert delivered.changes.send == ("README.md", "bundle.json", "model.onnx")


def test_the_second_time_nothing_is_written() -> None:
    hub = Hub()
    first = hub.deliver(replace(UPLOAD, tag="v1.0.0"))
    hub.written.clear()
    second = hub.deliver(replace(UPLOAD, tag="v1.0.0"))
    assert hub.written == []
    assert second.commit == first.commit
    assert second.lines()[0] == "https://hub.test/me/ser holds all of it already: no commit was made"


def test_an_unchanged_repository_can_get_a_tag_later() -> None:
    hub = Hub()
    commit = hub.deliver().commit
    hub.written.clear()
    hub.deliver(replace(UPLOAD, tag="v1.0.0"))
    assert hub.written == ["create_tag"]
    assert hub.tags == {"v1.0.0": commit}


def test_only_what_differs_is_sent_and_what_is_gone_is_deleted() -> None:
    hub = Hub({".gitattributes": b"* lfs", **FILES, "plots/old.png": b"old", "model-fp16.bin": b"16"}, commits=4)
    delivered = hub.deliver(replace(UPLOAD, files={**FILES, "model.onnx": b"\1" * 100}))
    assert delivered.changes == hub_upload.Changes(("model.onnx",), ("model-fp16.bin", "plots/old.png"))
    assert hub.written == ["create_commit"]
    assert hub.files == {".gitattributes": b"* lfs", **FILES, "model.onnx": b"\1" * 100}


def test_a_private_repository_is_made_so() -> None:
    hub = Hub()
    hub.deliver(replace(UPLOAD, private=True))
    assert not hub.public
    hub.deliver(replace(UPLOAD, private=True))


@pytest.mark.parametrize("path", ["bundle.json", "model.onnx"])
@pytest.mark.parametrize("content", [b"{ }", b"{]", b"\1" * 100, b""])
def test_a_file_is_compared_by_its_content_alone(path: str, content: bytes) -> None:
    remote = hub_upload.Remote(HASH, {}, {path: stored(path, content)})
    assert not hub_upload.compare({path: content}, remote)
    assert hub_upload.compare({path: content + b"x"}, remote).send == (path,)
    assert hub_upload.compare({path: bytes(len(content) + 1)}, remote).send == (path,)
    assert hub_upload.compare({"other": content}, remote) == hub_upload.Changes(("other",), (path,))


# What is found out before anything is written.


def refused_tag() -> tuple[Hub, Upload, str]:
    return (
        Hub({**FILES, "README.md": b"old"}, {"v1": HASH}),
        replace(UPLOAD, tag="v1"),
        "has a tag v1 already, on commit",
    )


def refused_tag_elsewhere() -> tuple[Hub, Upload, str]:
    return Hub(dict(FILES), {"v1": HASH}), replace(UPLOAD, tag="v1"), "hf repos tag delete me/ser v1"


def refused_other_kind() -> tuple[Hub, Upload, str]:
    return Hub({"thesis.tex": b"years of work"}), UPLOAD, "holds something else: thesis.tex, and no bundle.json."


def refused_public() -> tuple[Hub, Upload, str]:
    return Hub(dict(FILES)), replace(UPLOAD, private=True), "is public already"


def refused_token() -> tuple[Hub, Upload, str]:
    return Hub(dict(FILES), role="read"), UPLOAD, "The token of me may only read."


@pytest.mark.parametrize(
    "case", [refused_tag, refused_tag_elsewhere, refused_other_kind, refused_public, refused_token]
)
def test_what_is_refused_leaves_the_repository_as_it_was(case: Callable[[], tuple[Hub, Upload, str]]) -> None:
    hub, upload, expected = case()
    before = dict(hub.files or {})
    message = hub.refuses(upload)
    assert expected in message
    assert "me/ser is unchanged." in message
    assert hub.written == []
    assert hub.files == before


@pytest.mark.parametrize("repo_id", ["ser", "me/ser/v2", "me/s er", "/ser", "me/", "me/-ser", "me/a--b", "me/ser.git"])
def test_a_malformed_name_is_refused_before_the_hub_is_asked(repo_id: str) -> None:
    hub = Hub(fails={"whoami": AssertionError("the Hub was asked")})
    assert f"{repo_id!r} is no name of a repository. Write USER/NAME" in hub.refuses(replace(UPLOAD, repo_id=repo_id))


@pytest.mark.parametrize("tag", ["", "v 1", "-v1", "v1..2", "v1.lock", "v1~", "v1/2", "v1."])
def test_a_malformed_tag_is_refused(tag: str) -> None:
    with pytest.raises(PublishError, match="can't be a tag"):
        hub_errors.check_tag(tag)
    hub_errors.check_tag("v1.2.0")


def test_without_a_token_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_errors, "get_token", lambda: None)
    message = Hub(fails={"whoami": AssertionError("the Hub was asked")}).refuses()
    assert message.startswith("No Hugging Face token was found. Nothing was sent.")
    assert "hf auth login" in message


# What the Hub or the network refuses.

REFUSALS: list[tuple[BaseException, str]] = [
    (answered(401), "The Hub doesn't accept the Hugging Face token"),
    (answered(401, headers={"X-Error-Code": "RepoNotFound"}), "The Hub doesn't accept the Hugging Face token"),
    (answered(402, said="Storage is full."), "The Hub asks for payment before it takes this (Storage is full)."),
    (answered(403, said="No rights."), "The token may not write to me/ser (No rights)."),
    (answered(404), "The Hub knows no me/ser, or this token may not see it."),
    (answered(409), "The Hub finds this at odds with what me/ser holds."),
    (answered(412), "Somebody else changed me/ser meanwhile."),
    (answered(413), "This is more than the Hub takes."),
    (answered(429, headers={"Retry-After": "17"}), "Wait 17 seconds and run the same command again."),
    (answered(429, headers={"RateLimit": '"api";r=0;t=55'}), "Wait 55 seconds"),
    (answered(429), "The Hub has had too many requests for now. me/ser is unchanged. Wait a few minutes"),
    (answered(400, said="Bad card."), "The Hub refused this: 400 Bad Request (Bad card)."),
    (answered(503), "The Hub has trouble of its own: 503 Service Unavailable."),
    (httpx2.ConnectError("[Errno 111] Connection refused"), "can't be reached: [Errno 111] Connection refused."),
    (httpx2.ProxyError("403 Forbidden"), "can't be reached: 403 Forbidden."),
    (httpx2.ConnectTimeout("timed out"), "https://hub.test did not answer in time."),
    (httpx2.ReadTimeout(""), "https://hub.test did not answer in time."),
    (httpx2.ReadError(""), "The connection to https://hub.test was lost: ReadError."),
    (httpx2.WriteError("Broken pipe"), "The connection to https://hub.test was lost: Broken pipe."),
    (httpx2.RemoteProtocolError("Server disconnected"), "was lost: Server disconnected."),
    (httpx2.UnsupportedProtocol("no protocol"), "is no address of a Hub: no protocol."),
    (httpx2.InvalidURL("Invalid port"), "Correct or unset HF_ENDPOINT."),
    (ConnectionResetError("reset by peer"), "was lost: reset by peer."),
    (PermissionError("no write token"), "The Hub's storage refuses the upload: no write token."),
    (RuntimeError("chunk 3 was not taken"), "was lost: chunk 3 was not taken."),
    (OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set, so the Hub is not asked."),
    (LocalTokenNotFoundError("none"), "No Hugging Face token was found."),
    (ValueError("Expecting value"), "The Hub's answer can't be used: Expecting value."),
]


@pytest.mark.parametrize(("error", "expected"), REFUSALS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("method", ["whoami", "list_repo_tree", "create_commit"])
def test_each_failure_is_told_in_its_own_sentence(method: str, error: BaseException, expected: str) -> None:
    hub = Hub({**FILES, "README.md": b"old"}, fails={method: error})
    message = hub.refuses()
    assert expected in message
    assert "me/ser is unchanged." in message
    assert hub.written == []


def test_a_malformed_name_that_only_the_client_finds_is_told_too() -> None:
    assert "no name of a repository" in str(hub_errors.explain(HFValidationError("bad"), MODEL, ""))


def test_an_upload_that_failed_is_told_by_its_cause() -> None:
    error = RuntimeError("Error while uploading 'model.onnx' to the Hub.")
    error.__cause__ = httpx2.ConnectError("refused")
    assert "can't be reached: refused." in Hub({**FILES, "README.md": b""}, fails={"create_commit": error}).refuses()


def test_what_is_no_fault_of_the_hub_is_not_dressed_up_as_one() -> None:
    with pytest.raises(KeyError):
        Hub(fails={"whoami": KeyError("a bug")}).deliver()


def test_a_commit_whose_answer_was_lost_is_told_of_and_not_made_again() -> None:
    hub = Hub({**FILES, "README.md": b"old"}, lost=httpx2.ReadError(""))
    assert f"me/ser has a new commit all the same, {1:040x}: its answer was lost." in hub.refuses()
    hub.lost = None
    hub.written.clear()
    assert hub.deliver().commit == f"{1:040x}"
    assert hub.written == []


def test_a_commit_of_which_nothing_more_is_heard_is_told_as_that() -> None:
    hub = Hub({**FILES, "README.md": b"old"})

    def disappear(*_: object, **__: object) -> None:
        hub.fails["list_repo_refs"] = httpx2.ConnectError("refused")
        raise httpx2.ReadError("")

    hub.create_commit = disappear  # type: ignore[method-assign]
    assert "Whether me/ser has the commit can't be seen from here." in hub.refuses()


def test_a_repository_that_was_made_and_stayed_empty_is_told_of() -> None:
    assert "me/ser was made and is empty." in Hub(fails={"create_commit": answered(403)}).refuses()
    assert "Nothing was sent." in Hub(fails={"create_repo": answered(403)}).refuses()


def test_a_tag_that_fails_is_told_with_the_commit_and_set_the_next_time() -> None:
    hub, upload = Hub(fails={"create_tag": httpx2.ReadError("")}), replace(UPLOAD, tag="v1")
    assert f"me/ser holds the files as commit {2:040x}, without the tag v1." in hub.refuses(upload)
    hub.fails.clear()
    hub.deliver(upload)
    assert hub.tags == {"v1": f"{2:040x}"}


# The model.


def test_the_files_are_the_bundle_and_its_card(tmp_path: Path) -> None:
    shipped = bundles.make(tmp_path)
    files = publish.gather(shipped, "me/ser")
    assert set(files) == {"README.md", bundle.MANIFEST, *shipped.files}
    assert files["README.md"].decode() == card.make(shipped, repo_id="me/ser")
    for name, record in shipped.files.items():
        assert hashlib.sha256(files[name]).hexdigest() == record.sha256


@pytest.mark.parametrize("name", ["README.md", "run.py", "notes"])
def test_a_file_that_could_not_be_downloaded_again_is_refused(name: str, tmp_path: Path) -> None:
    bundles.make(tmp_path)
    (tmp_path / name).write_text("?", encoding="utf-8")
    with pytest.raises(PublishError, match=f"(holds|lists) '?{name}'?.* Nothing was sent"):
        publish.gather(bundles.make(tmp_path), "me/ser")


@pytest.fixture
def ravdess(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "ravdess"
    folder.mkdir(parents=True)
    for name in Ravdess.expected():
        (folder / f"{name}.wav").write_bytes(name.encode())
    return folder.parent


def test_the_examples_are_one_spoken_clip_for_each_emotion_by_eight_actors(ravdess: Path) -> None:
    chosen = publish.choose(Ravdess().clips(ravdess / "ravdess"))
    assert [clip.emotion.value for clip in chosen] == list(LABELS)
    assert {clip.channel for clip in chosen} == {"speech"}
    assert len({clip.speaker for clip in chosen}) == 8
    assert [clip.sex for clip in chosen].count("female") == 4


def test_the_examples_go_along_with_whose_they_are_under_the_bundles_seal(ravdess: Path, tmp_path: Path) -> None:
    plain = bundles.make(tmp_path / "bundle")
    clips = publish.choose(Ravdess().clips(ravdess / "ravdess"))
    (tmp_path / "put").mkdir()
    shipped = publish.with_examples(plain, clips, tmp_path / "put")
    assert {**vars(shipped), "folder": 0, "files": 0, "revision": 0} == {
        **vars(plain),
        "folder": 0,
        "files": 0,
        "revision": 0,
    }
    found = examples.of(bundle.read(tmp_path / "put"))
    assert found is not None
    assert list(found.clips.values()) == list(LABELS)
    assert found.credit == "RAVDESS, Livingstone and Russo 2018, CC BY-NC-SA 4.0"
    files = publish.gather(shipped, "me/ser")
    told, page = files["examples.md"].decode(), files["README.md"].decode()
    for path in found.clips:
        assert files[path.name] == path.stem.encode()
        assert f"| {path.name} |" in told
        assert f"`{path.name}`" in page
    assert "CC BY-NC-SA 4.0" in told
    assert "Livingstone SR, Russo FA (2018)" in told
    assert "trained on these very clips" in page
    # What lies in the checkout stays as it was.
    assert bundle.read(tmp_path / "bundle").files == plain.files


def test_a_dry_run_needs_no_token_and_sends_nothing(
    no_network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = bundles.make(tmp_path)
    assert main(["publish", "--repo-id", "me/ser", "--bundle", str(tmp_path), "--tag", "v1", "--dry-run"]) == 0
    told = capsys.readouterr().out
    for name, record in shipped.files.items():
        assert f"{record.size:>12,} bytes  {name}\n" in told
    assert f"{len(shipped.files) + 2} files for the model me/ser, tag v1" in told
    assert told.endswith("Nothing was sent (--dry-run).\n")


def test_a_damaged_bundle_never_leaves(no_network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundles.make(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"something else")
    assert main(["publish", "--repo-id", "me/ser", "--bundle", str(tmp_path)]) == 1
    assert "error: " in capsys.readouterr().err


def test_the_line_for_the_app_names_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = Hub()
    monkeypatch.setattr(hub_upload, "connect", lambda: hub)
    bundles.make(tmp_path)
    for _ in range(2):
        assert main(["publish", "--repo-id", "me/ser", "--bundle", str(tmp_path)]) == 0
        assert capsys.readouterr().out.splitlines()[-2:] == [f"commit {hub.head}", f"SER_MODEL_REPO=me/ser@{hub.head}"]
    assert hub.written == ["create_repo", "create_commit"]


# The Space.

SPACES_MODEL = HubModel("me/ser", HASH)
PRELOADED = ["bundle.json", "model.onnx", "examples.json"]


@pytest.mark.parametrize("model", ["me/ser", "me/ser@main", "me/ser@0123abc", f"ser@{HASH}", f"me/ser@{HASH.upper()}"])
def test_a_space_runs_one_commit_of_a_model_alone(model: str) -> None:
    with pytest.raises(PublishError, match="all 40 hex digits of a commit"):
        publish_space.pinned(model)
    assert str(publish_space.pinned(f"me/ser@{HASH}")) == f"me/ser@{HASH}"


@bundles.needs_shipped
def test_the_space_holds_what_the_page_reads_and_no_more(tmp_path: Path) -> None:
    files = publish_space.gather(ROOT, SPACES_MODEL, PRELOADED)
    assert {path.partition("/")[0] for path in files} == {
        *("README.md", "CONTRIBUTING.md", "LICENSE", "docs", "app.py", "requirements.txt", "page", "ser_core", "assets")
    }
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", files["README.md"].decode())
    assert "docs/results.md" in linked
    assert set(linked) <= set(files)
    assert not [path for path in files if "__pycache__" in path or "/." in path or path.startswith(".")]
    for path, content in files.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    program = (
        "import app, ser_core; from page import layout, look; layout.build(ser_core.load()); look.style(); look.head()"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {program}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@bundles.needs_shipped
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("assets/notice.md", "which the Space needs"),
        ("app.py", "has no app.py"),
        ("assets/model/metrics.json", "missing"),
    ],
)
def test_a_checkout_that_lacks_something_is_refused(path: str, expected: str, tmp_path: Path) -> None:
    for name in publish_space.gather(ROOT, SPACES_MODEL, PRELOADED):
        if name != path:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    with pytest.raises((PublishError, BundleError), match=expected):
        publish_space.gather(tmp_path, SPACES_MODEL, PRELOADED)


@pytest.mark.parametrize("page", ["# No front matter", "---\nsdk: docker\n---\n", "---\nsdk: [\n---\n"])
def test_a_page_that_the_hub_could_not_run_is_refused(page: str) -> None:
    with pytest.raises(PublishError, match="front matter"):
        publish_space._with_model(page, SPACES_MODEL, PRELOADED)


def test_the_spaces_page_names_its_model_and_has_it_in_its_image() -> None:
    page = publish_space._with_model(
        "---\nsdk: gradio\napp_file: app.py\ntitle: T\n---\n\n# Page\n", SPACES_MODEL, PRELOADED
    )
    told: Any = SpaceCard(page).data
    assert (told.title, told.models) == ("T", ["me/ser"])
    (preloaded,) = told.preload_from_hub
    repo_id, files, commit = preloaded.split()
    assert (repo_id, commit) == ("me/ser", HASH)
    assert files.split(",") == PRELOADED
    assert page.endswith("---\n\n# Page\n")


@pytest.mark.parametrize("status", [402, 403])
def test_where_a_space_can_not_be_made_the_plan_is_named(status: int) -> None:
    upload = Upload("me/page", "space", {"app.py": b""}, "page", "ser_core/__init__.py")
    message = Hub(fails={"create_repo": answered(status, said="Requires a PRO subscription.")}).refuses(upload)
    assert message.startswith("The Hub doesn't make the Space me/page (Requires a PRO subscription). Nothing was sent.")
    assert "https://huggingface.co/pro" in message
    assert "ZeroGPU" in message


@bundles.needs_shipped
def test_a_space_is_made_once_and_told_its_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = Hub()
    monkeypatch.setattr(hub_upload, "connect", lambda: hub)
    command = ["publish-space", "--repo-id", "me/page", "--model", f"me/ser@{HASH}"]
    assert main(command) == 0
    assert hub.written == ["create_repo", "create_commit", "add_space_variable"]
    assert hub.variables == {"SER_MODEL_REPO": f"me/ser@{HASH}"}
    assert main(command) == 0
    assert len(hub.written) == 3
    assert f"SER_MODEL_REPO=me/ser@{HASH} was set already" in capsys.readouterr().out
    assert main([*command[:-1], f"me/ser@{HASH[::-1]}"]) == 0
    # Its page names the model, too.
    assert hub.written[3:] == ["create_commit", "add_space_variable"]


def test_a_variable_that_could_not_be_set_is_told_with_the_commit() -> None:
    hub = Hub({}, fails={"add_space_variable": answered(403)})
    with pytest.raises(PublishError) as raised:
        publish_space.set_model(cast("HfApi", hub), SPACE, publish_space.pinned(f"me/ser@{HASH}"), HASH)
    assert f"me/page holds the files as commit {HASH}, but SER_MODEL_REPO is not set to me/ser" in str(raised.value)


@bundles.needs_shipped
def test_a_dry_run_of_the_space_needs_no_token(no_network: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish-space", "--repo-id", "me/page", "--model", f"me/ser@{HASH}", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert f"SER_MODEL_REPO=me/ser@{HASH}\nNothing was sent (--dry-run).\n" in told
    assert " app.py\n" in told
