"""What the pretended Hub of `hub_server` keeps: repositories, their commits, branches, tags and Space variables."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

RepoType = Literal["model", "space"]

MAIN = "main"
LFS_SUFFIXES = frozenset({".bin", ".npy", ".npz", ".onnx", ".pt", ".safetensors", ".tflite", ".zip"})
"""Those of the Hub's own .gitattributes that a speech model may have."""
LARGEST_REGULAR = 10 * 2**20
"""Bytes; the Hub takes no larger file outside LFS."""
GITATTRIBUTES = b"".join(b"*%s filter=lfs diff=lfs merge=lfs -text\n" % s.encode() for s in sorted(LFS_SUFFIXES))
"""The file that the Hub's first commit in every repository holds."""

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class HubError(Exception):
    """A refusal in the Hub's manner: `code` is its X-Error-Code, from which the client picks its exception.

    Attributes:
        status: of the HTTP answer.
        code: RepoNotFound, RevisionNotFound, EntryNotFound, GatedRepo, or None.
        headers: that the answer carries besides.
    """

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


def date(number: int) -> str:
    """The moment of commit `number`, as the Hub writes it. Not the clock's, so that the same commits hash the same."""
    return (_EPOCH + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def git_oid(content: bytes) -> str:
    """The name that Git gives to this content, 40 hexadecimal digits."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def kept_in_lfs(path: str, start: bytes, size: int) -> bool:
    """Whether the Hub keeps a file out of Git: by its suffix, its size in bytes, or as its `start` is binary."""
    return size > 0 and (PurePosixPath(path).suffix in LFS_SUFFIXES or size > LARGEST_REGULAR or b"\0" in start[:512])


class Blob:
    """A file of a commit with the names the Hub gives it.

    Attributes:
        sha256: of the content if it's kept in LFS, else None.
        oid: Git's name of what lies in Git: the content, or the pointer to it.
        etag: by which the client's cache calls the content.
    """

    def __init__(self, path: str, content: bytes) -> None:
        self.path, self.content = path, content
        self.sha256: str | None = None
        stored = content
        if kept_in_lfs(path, content, len(content)):
            self.sha256 = hashlib.sha256(content).hexdigest()
            lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}", f"size {len(content)}")
            stored = "".join(f"{line}\n" for line in lines).encode()
        self._pointer_size = len(stored)
        self.oid = git_oid(stored)
        self.etag = self.sha256 or self.oid

    def lfs(self, key: str) -> dict[str, Any]:
        """What the Hub tells of a file in LFS, whose hash it calls `oid` in one place and `sha256` in another."""
        return {key: self.sha256, "size": len(self.content), "pointerSize": self._pointer_size}

    def entry(self) -> dict[str, Any]:
        """The file as the Hub lists it in a tree. Without a Xet hash: see `hub_xet`."""
        told = {"type": "file", "path": self.path, "size": len(self.content), "oid": self.oid}
        return {**told, "lfs": self.lfs("oid")} if self.sha256 else told

    def sibling(self, *, detailed: bool) -> dict[str, Any]:
        """The file as the Hub lists it with a repository."""
        told: dict[str, Any] = {"rfilename": self.path}
        if detailed:
            told |= {"size": len(self.content), "blobId": self.oid}
            if self.sha256:
                told["lfs"] = self.lfs("sha256")
        return told


@dataclass(frozen=True)
class Commit:
    """A snapshot of all files. `oid` is a hash of everything else, 40 hexadecimal digits."""

    oid: str
    message: str
    description: str
    parent: str | None
    number: int
    files: Mapping[str, bytes]

    def blob(self, path: str) -> Blob:
        """Raises HubError (EntryNotFound) where there is no such file."""
        if path not in self.files:
            # The client remembers in its cache, per commit, that a file is not there.
            raise HubError(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": self.oid})
        return Blob(path, self.files[path])

    def tree(self, folder: str = "", *, recursive: bool = True) -> list[dict[str, Any]]:
        """Folders and files below `folder`, as the Hub lists them. Raises HubError where there is nothing."""
        prefix = f"{folder}/" if folder else ""
        below = {path: content for path, content in self.files.items() if path.startswith(prefix)}
        if folder and not below:
            raise HubError(404, f"{folder} does not exist on this revision", "EntryNotFound")
        folders = {str(p) for path in below for p in PurePosixPath(path).parents if str(p).startswith(prefix)} - {"."}
        entries: list[dict[str, Any]] = [
            {"type": "directory", "path": p, "size": 0, "oid": git_oid(p.encode())} for p in folders
        ]
        entries += [Blob(path, content).entry() for path, content in below.items()]
        direct = prefix.count("/")
        return sorted(
            (entry for entry in entries if recursive or entry["path"].count("/") == direct), key=lambda e: e["path"]
        )


@dataclass
class Repo:
    """A model or a Space with all its commits, oldest first. `gated`: files are given to nobody."""

    repo_id: str
    repo_type: RepoType
    private: bool = False
    gated: bool = False
    sdk: str | None = None
    commits: list[Commit] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    variables: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        files: dict[str, bytes | None] = {".gitattributes": GITATTRIBUTES}
        if self.repo_type == "space":
            title = self.repo_id.partition("/")[2]
            files["README.md"] = f"---\ntitle: {title}\nsdk: {self.sdk or 'gradio'}\n---\n".encode()
        self.commit(files, "initial commit")

    def resolve(self, revision: str) -> Commit:
        """The commit of a branch, a tag or a full hash. Raises HubError (RevisionNotFound)."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        oid = self.branches.get(name) or self.tags.get(name) or revision
        for commit in self.commits:
            if commit.oid == oid:
                return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def commit(
        self,
        changes: Mapping[str, bytes | None],
        message: str,
        *,
        branch: str = MAIN,
        description: str = "",
        parent: str | None = None,
    ) -> Commit:
        """Write or delete (None) files on a branch, all of them or none.

        Args:
            changes: path -> new content; paths are taken as they come, `../../x` too.
            message: of the commit.
            branch: that moves on.
            description: of the commit.
            parent: full or shortened hash that the branch must still be at.

        Raises:
            HubError: 412 where the branch has moved on from `parent`; RevisionNotFound where there is no such branch.
        """
        if self.commits and branch not in self.branches:
            raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        head = self.resolve(self.branches[branch]) if self.commits else None
        if head and parent and not head.oid.startswith(parent):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = {**(head.files if head else {}), **changes}
        kept = {path: content for path, content in sorted(files.items()) if content is not None}
        number = len(self.commits)
        told = [self.repo_type, self.repo_id, number, message, description, head and head.oid]
        names = [[path, hashlib.sha256(content).hexdigest()] for path, content in kept.items()]
        oid = hashlib.sha1(json.dumps([told, names]).encode(), usedforsecurity=False).hexdigest()
        made = Commit(oid, message, description, head.oid if head else None, number, kept)
        self.commits.append(made)
        self.branches[branch] = oid
        return made

    def info(self, revision: str, *, detailed: bool) -> dict[str, Any]:
        """What the Hub tells of a repository. `detailed`: with the files' sizes and hashes."""
        commit = self.resolve(revision)
        return {
            "id": self.repo_id,
            "author": self.repo_id.partition("/")[0],
            "sha": commit.oid,
            "private": self.private,
            "gated": "manual" if self.gated else False,
            "disabled": False,
            "createdAt": date(0),
            "lastModified": date(commit.number),
            "likes": 0,
            "tags": [],
            "siblings": [Blob(*file).sibling(detailed=detailed) for file in commit.files.items()],
            **({"sdk": self.sdk} if self.repo_type == "space" else {"modelId": self.repo_id, "downloads": 0}),
        }

    def refs(self) -> dict[str, list[dict[str, str]]]:
        """Branches and tags, as the Hub lists them."""

        def listed(kind: str, refs: Mapping[str, str]) -> list[dict[str, str]]:
            return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": oid} for n, oid in refs.items()]

        return {
            "branches": listed("heads", self.branches),
            "tags": listed("tags", self.tags),
            "converts": [],
            "pullRequests": [],
        }
