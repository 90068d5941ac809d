"""Files -> a repository on the Hub: what differs in one commit, and nothing where nothing does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, set_client_factory
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._http import default_client_factory
from huggingface_hub.utils.sha import git_hash

from train.hub_errors import FAILURES, PublishError, Repo, RepoType, check_repo_id, explain, explained, require_token

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S = 60.0
"""Seconds of silence after which a request is given up; the client's own default is to wait for ever."""
OF_THE_HUB = frozenset({".gitattributes"})
"""What the Hub itself puts into a repository and keeps up to date."""
_FRESH = OF_THE_HUB | {"README.md"}
"""All that a repository may hold that was made and never filled."""


@dataclass(frozen=True)
class Upload:
    """One version of a repository.

    Attributes:
        repo_id: USER/NAME.
        repo_type: what it holds.
        files: contents by path; all that the repository shall hold.
        message: of the commit.
        marker: a path that tells that a repository is one of this kind, so that no other one is overwritten.
        tag: to be set on the commit; None sets none.
        private: whether a repository that has to be made is visible to its owner alone.
    """

    repo_id: str
    repo_type: RepoType
    files: Mapping[str, bytes]
    message: str
    marker: str
    tag: str | None = None
    private: bool = False

    def lines(self) -> list[str]:
        """What would be sent, as text: every file with its size, and all together."""
        total = sum(map(len, self.files.values()))
        return [
            *(f"{len(content):>12,} bytes  {path}" for path, content in sorted(self.files.items())),
            f"{total:>12,} bytes  {len(self.files)} files for the {self.repo_type} {self.repo_id}"
            + (f", tag {self.tag}" if self.tag else ""),
        ]


@dataclass(frozen=True)
class Remote:
    """What a repository holds now.

    Attributes:
        head: hash of the newest commit of its main branch; None where it has none yet.
        tags: hashes of the commits by tag.
        files: by path.
    """

    head: str | None
    tags: Mapping[str, str]
    files: Mapping[str, RepoFile] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """From what a repository holds to what it shall hold: paths to send and paths to delete, both sorted."""

    send: tuple[str, ...]
    delete: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.send or self.delete)


@dataclass(frozen=True)
class Delivered:
    """What was done.

    Attributes:
        commit: the full hash of the commit that holds the files.
        changes: what was sent and deleted; empty where the repository held just this already.
        url: the repository's page.
    """

    commit: str
    changes: Changes
    url: str

    def lines(self) -> list[str]:
        """What was done, as text."""
        if not self.changes:
            return [f"{self.url} holds all of it already: no commit was made", f"commit {self.commit}"]
        return [
            *(f"sent {path}" for path in self.changes.send),
            *(f"deleted {path}" for path in self.changes.delete),
            f"{self.url}: {len(self.changes.send)} files sent, {len(self.changes.delete)} deleted",
            f"commit {self.commit}",
        ]


def connect() -> HfApi:
    """The Hub's client, with time-outs; it honours HF_ENDPOINT and HF_TOKEN."""

    def client() -> httpx2.Client:
        made = default_client_factory()
        made.timeout = httpx2.Timeout(TIMEOUT_S)
        return made

    set_client_factory(client)
    return HfApi()


def deliver(api: HfApi, upload: Upload) -> Delivered:
    """Bring a repository to hold `upload.files` and no others: at most one commit, and one tag on it.

    The repository is made where there is none. Everything that can be found out without writing is, before anything is.

    Raises:
        PublishError: it can't be done; the message says how the repository is left.
    """
    check_repo_id(upload.repo_id)
    repo = Repo(upload.repo_id, upload.repo_type, api.endpoint)
    _check_token(api, repo)
    with explained(repo):
        remote = look(api, repo)
    left = repo.unchanged
    if remote is None:
        remote = _create(api, repo, private=upload.private)
        left = f"{upload.repo_id} was made and is empty."
    else:
        _check_kind(repo, remote, upload.marker)
        _check_private(api, repo, private=upload.private)
        _check_tag(repo, remote, compare(upload.files, remote), upload.tag)
    changes = compare(upload.files, remote)
    commit = remote.head
    if commit is None or changes:
        commit = _commit(api, repo, upload, remote, changes, left)
    if upload.tag is not None and upload.tag not in remote.tags:
        with explained(repo, f"{upload.repo_id} holds the files as commit {commit}, without the tag {upload.tag}."):
            api.create_tag(upload.repo_id, repo_type=upload.repo_type, tag=upload.tag, revision=commit)
    return Delivered(commit, changes, repo.url)


def look(api: HfApi, repo: Repo) -> Remote | None:
    """What a repository holds, by its listing alone; None where there is no such repository for this token.

    Raises:
        httpx2.HTTPError, OSError, ValueError: see `train.hub_errors`.
    """
    if (remote := _heads(api, repo)) is None or remote.head is None:
        return remote
    # At the commit, not at the branch: what is compared is what the next commit names as its parent.
    listed = api.list_repo_tree(repo.repo_id, repo_type=repo.repo_type, revision=remote.head, recursive=True)
    return replace(remote, files={entry.path: entry for entry in listed if isinstance(entry, RepoFile)})


def _heads(api: HfApi, repo: Repo) -> Remote | None:
    """`look` without the files."""
    try:
        refs = api.list_repo_refs(repo.repo_id, repo_type=repo.repo_type)
    except GatedRepoError:
        raise
    except HfHubHTTPError as error:
        if error.response.status_code == 404 or error.response.headers.get("X-Error-Code") == "RepoNotFound":
            return None
        raise
    head = next((branch.target_commit for branch in refs.branches if branch.name == "main"), None)
    return Remote(head, {tag.name: tag.target_commit for tag in refs.tags})


def compare(files: Mapping[str, bytes], remote: Remote) -> Changes:
    """What a commit has to change so that the repository holds `files`; what is the Hub's own stays."""
    send = (path for path, content in files.items() if not _same(content, remote.files.get(path)))
    return Changes(tuple(sorted(send)), tuple(sorted(set(remote.files) - set(files) - OF_THE_HUB)))


def _same(content: bytes, there: RepoFile | None) -> bool:
    if there is None or there.size != len(content):
        return False
    if there.lfs is not None:
        return bool(there.lfs.sha256 == hashlib.sha256(content).hexdigest())
    return bool(there.blob_id == git_hash(content))


def _check_token(api: HfApi, repo: Repo) -> None:
    require_token()
    with explained(repo):
        account = api.whoami()
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise PublishError(
            f"The token of {account.get('name')} may only read. {repo.unchanged} Make one that may write at "
            "https://huggingface.co/settings/tokens, then run `hf auth login` or set HF_TOKEN to it."
        )


def _check_kind(repo: Repo, remote: Remote, marker: str) -> None:
    if marker not in remote.files and (others := sorted(set(remote.files) - _FRESH)):
        raise PublishError(
            f"{repo.repo_id} holds something else: {', '.join(others[:3])}{' ...' if len(others) > 3 else ''}, and no "
            f"{marker}. {repo.unchanged} Choose another --repo-id, or empty that one first."
        )


def _check_private(api: HfApi, repo: Repo, *, private: bool) -> None:
    if not private:
        return
    with explained(repo):
        hidden = api.repo_info(repo.repo_id, repo_type=repo.repo_type).private
    if not hidden:
        raise PublishError(
            f"{repo.repo_id} is public already, and --private is for one that has to be made. {repo.unchanged} Make it "
            f"private at {repo.url}/settings, or leave --private out."
        )


def _check_tag(repo: Repo, remote: Remote, changes: Changes, tag: str | None) -> None:
    if tag is None or tag not in remote.tags:
        return
    # The same command once more: all of it is done.
    if not changes and remote.tags[tag] == remote.head:
        return
    raise PublishError(
        f"{repo.repo_id} has a tag {tag} already, on commit {remote.tags[tag][:7]}. {repo.unchanged} Choose another "
        f"--tag, or take that one away: hf repos tag delete {repo.repo_id} {tag}"
        + (" --type space" if repo.repo_type == "space" else "")
    )


def _create(api: HfApi, repo: Repo, *, private: bool) -> Remote:
    with explained(repo, "Nothing was sent.", creating=True):
        api.create_repo(
            repo.repo_id,
            repo_type=repo.repo_type,
            private=private,
            space_sdk="gradio" if repo.repo_type == "space" else None,
        )
    with explained(repo, f"{repo.repo_id} was made and is empty."):
        return look(api, repo) or Remote(None, {})


def _commit(api: HfApi, repo: Repo, upload: Upload, remote: Remote, changes: Changes, left: str) -> str:
    """Make the one commit and return its hash; `left` says how the repository is while it isn't made."""
    try:
        made = api.create_commit(
            repo.repo_id,
            [
                *(CommitOperationAdd(path, upload.files[path]) for path in changes.send),
                *(CommitOperationDelete(path, is_folder=False) for path in changes.delete),
            ],
            commit_message=upload.message,
            repo_type=repo.repo_type,
            # What somebody else commits meanwhile is not overwritten: the Hub refuses.
            parent_commit=remote.head,
        )
    except FAILURES as error:
        raise explain(error, repo, _state(api, repo, remote.head, error) or left) from error
    return made.oid


def _state(api: HfApi, repo: Repo, before: str | None, error: BaseException) -> str:
    """A sentence where a failed commit may have been made all the same, its answer being lost; else an empty one."""
    if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
        return ""
    try:
        now = _heads(api, repo)
    except FAILURES:
        return f"Whether {repo.repo_id} has the commit can't be seen from here."
    if now is not None and now.head != before:
        return f"{repo.repo_id} has a new commit all the same, {now.head}: its answer was lost."
    return ""
