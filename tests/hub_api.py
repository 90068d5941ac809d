"""What the pretended Hub of `hub_server` answers: from a request to a status, headers and a body. No sockets here."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast
from urllib.parse import parse_qs, unquote

from tests.hub_store import MAIN, HubError, Repo, RepoType, kept_in_lfs
from tests.hub_xet import XetError, XetStorage

if TYPE_CHECKING:
    from collections.abc import Callable

Rights = Literal["read", "write"]


class Request(NamedTuple):
    """What a client asked. `path` is as it came, without the query; `token` and `range` are None where none came."""

    method: str
    path: str
    query: str = ""
    token: str | None = None
    range: str | None = None
    body: bytes = b""

    @property
    def plain_path(self) -> str:
        """The path without its quoting."""
        return unquote(self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.plain_path}"


@dataclass(frozen=True)
class Answer:
    """What the client is told. `is_file`: a part of the body may be asked for."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_file: bool = False


def tell(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """An answer in JSON."""
    return Answer(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(data).encode())


def refusal(status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None) -> Answer:
    """A refusal in the Hub's manner."""
    named = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
    return tell({"error": message}, status, named)


_REPO = r"/api/(?P<kind>model|space)s/(?P<repo>[^/]+/[^/]+)"
_FILES = r"/(?P<prefix>spaces/)?(?P<repo>[^/]+/[^/]+)"
_ROUTES = [
    ("GET", r"/api/agent-harnesses", "agents"),
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/validate-yaml", "validate_card"),
    ("POST", r"/api/repos/create", "create"),
    ("GET", rf"{_REPO}(/revision/(?P<revision>[^/]+))?", "info"),
    ("GET", rf"{_REPO}/refs", "refs"),
    ("GET", rf"{_REPO}/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?", "tree"),
    ("POST", rf"{_REPO}/paths-info/(?P<revision>[^/]+)", "paths_info"),
    ("POST", rf"{_REPO}/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", rf"{_REPO}/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", rf"{_REPO}/tag/(?P<revision>[^/]+)", "add_tag"),
    ("DELETE", rf"{_REPO}/tag/(?P<tag>[^/]+)", "delete_tag"),
    ("GET|POST|DELETE", rf"{_REPO}/variables", "variables"),
    ("GET|HEAD", rf"{_FILES}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", "resolve"),
    ("GET|HEAD", r"/cdn/(?P<sha256>\w+)/.+", "download_lfs"),
    ("POST", rf"{_FILES}\.git/info/lfs/objects/batch", "batch_lfs"),
    ("POST", rf"{_FILES}\.git/info/lfs/objects/verify", "verify_lfs"),
    ("PUT", r"/lfs/(?P<sha256>\w+)", "upload_lfs"),
    ("GET", rf"{_REPO}/xet-write-token/(?P<revision>[^/]+)", "xet_token"),
    # hf-xet asks for newer ways first, xorb-grants and v2/shards, and where they're unknown takes these.
    ("POST", r"/xet/\w+/v1/xorbs/default/(?P<xorb>\w+)", "add_xorb"),
    ("POST", r"/xet/\w+/v1/shards", "add_shard"),
    ("POST", r"/v1/telemetry", "telemetry"),
]


class HubApi:
    """Everything that the client may ask, on repositories held in memory.

    Attributes:
        url: of the Hub.
        cdn: of the same server under another name, so that the client takes it for a storage outside the Hub.
        user: whom all tokens belong to.
        tokens: those that are valid, and what they may do.
        repos: by type and id.
        objects: content of LFS files by SHA-256, whether they came over LFS or Xet.
    """

    def __init__(self, url: str, cdn: str, user: str, tokens: dict[str, Rights]) -> None:
        self.url, self.cdn, self.user, self.tokens = url, cdn, user, tokens
        self.repos: dict[tuple[RepoType, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.lock = threading.RLock()
        self._secret = uuid.uuid4().hex
        self._xet = XetStorage()
        self._routes = [(methods.split("|"), re.compile(path), name) for methods, path, name in _ROUTES]

    def answer(self, request: Request) -> Answer:
        """Answer one request; requests are answered one after another, so that a commit is seen whole or not at all."""
        for methods, pattern, name in self._routes:
            if request.method in methods and (match := pattern.fullmatch(request.path)):
                ask: Callable[..., Answer] = getattr(self, f"_{name}")
                given = {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
                try:
                    with self.lock:
                        return ask(request, **given)
                except HubError as error:
                    return refusal(error.status, str(error), error.code, error.headers)
                except XetError as error:
                    return refusal(400, str(error))
        return refusal(404, f"the pretended Hub knows no {request}")

    # Who asks, and what for.

    def _rights(self, request: Request) -> Rights | None:
        if request.token is None:
            return None
        if request.token not in self.tokens:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.tokens[request.token]

    def _writer(self, request: Request) -> None:
        rights = self._rights(request)
        if rights is None:
            # The real Hub sends no code here; from an https address, and only from one, the client infers this one.
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        if rights != "write":
            raise HubError(403, "Forbidden: you must use a write token")

    def _repo(self, request: Request, kind: str, repo: str) -> Repo:
        found = self.repos.get((cast("RepoType", kind), repo))
        rights = self._rights(request)
        if found is None or (found.private and rights is None):
            # Whether a private repository exists is not told to who may not see it.
            if rights is None:
                raise HubError(401, "Invalid username or password.", "RepoNotFound")
            raise HubError(404, "Repository not found", "RepoNotFound")
        if request.method not in {"GET", "HEAD"} and "/paths-info/" not in request.path:
            self._writer(request)
        return found

    def _address(self, repo: Repo) -> str:
        return f"{self.url}/{'spaces/' if repo.repo_type == 'space' else ''}{repo.repo_id}"

    # Accounts and repositories.

    def _agents(self, request: Request) -> Answer:
        return tell({"standardEnvVars": [], "harnesses": {}})

    def _whoami(self, request: Request) -> Answer:
        rights = self._rights(request)
        if rights is None:
            raise HubError(401, "Invalid username or password.")
        token = {"displayName": "tests", "role": rights}
        told = {"type": "user", "id": "0", "name": self.user, "fullname": self.user, "orgs": []}
        return tell({**told, "auth": {"type": "access_token", "accessToken": token}})

    def _validate_card(self, request: Request) -> Answer:
        if json.loads(request.body)["content"].startswith("---\n"):
            return tell({"warnings": [], "errors": []})
        return tell({"warnings": [{"message": "empty or missing yaml metadata in repo card"}], "errors": []})

    def _create(self, request: Request) -> Answer:
        asked = json.loads(request.body)
        self._writer(request)
        owner: str = asked["organization"] or self.user
        kind: RepoType = asked.get("type") or "model"
        if owner != self.user:
            raise HubError(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
        repo_id = f"{owner}/{asked['name']}"
        if there := self.repos.get((kind, repo_id)):
            told = {"error": f"You already created this {kind} repo: {repo_id}", "url": self._address(there)}
            return tell(told, 409)
        made = Repo(repo_id, kind, private=asked.get("visibility") == "private", sdk=asked.get("sdk"))
        made.variables = {v["key"]: {"value": v["value"]} for v in asked.get("variables", [])}
        self.repos[kind, repo_id] = made
        return tell({"url": self._address(made), "name": repo_id, "id": "0"})

    def _info(self, request: Request, kind: str, repo: str, revision: str = MAIN) -> Answer:
        return tell(self._repo(request, kind, repo).info(revision, detailed="blobs=" in request.query))

    def _refs(self, request: Request, kind: str, repo: str) -> Answer:
        return tell(self._repo(request, kind, repo).refs())

    def _add_tag(self, request: Request, kind: str, repo: str, revision: str) -> Answer:
        found, tag = self._repo(request, kind, repo), json.loads(request.body)["tag"]
        if tag in found.tags:
            raise HubError(409, "Tag reference exists already")
        found.tags[tag] = found.resolve(revision).oid
        return tell({})

    def _delete_tag(self, request: Request, kind: str, repo: str, tag: str) -> Answer:
        if self._repo(request, kind, repo).tags.pop(tag, None) is None:
            raise HubError(404, f"Invalid rev id: {tag}", "RevisionNotFound")
        return tell({})

    def _variables(self, request: Request, kind: str, repo: str) -> Answer:
        found = self._repo(request, kind, repo)
        if found.repo_type != "space":
            raise HubError(404, "Only Spaces have variables")
        if request.method != "GET":
            asked = json.loads(request.body)
            found.variables.pop(asked["key"], None)
            if request.method == "POST":
                found.variables[asked.pop("key")] = asked
        return tell(found.variables)

    # Files, downwards.

    def _tree(self, request: Request, kind: str, repo: str, revision: str, folder: str = "") -> Answer:
        commit = self._repo(request, kind, repo).resolve(revision)
        return tell(commit.tree(folder, recursive="recursive=true" in request.query.lower()))

    def _paths_info(self, request: Request, kind: str, repo: str, revision: str) -> Answer:
        commit = self._repo(request, kind, repo).resolve(revision)
        asked = parse_qs(request.body.decode()).get("paths", [])
        return tell([entry for entry in commit.tree() if entry["path"] in asked])

    def _resolve(self, request: Request, repo: str, revision: str, file: str, prefix: str = "") -> Answer:
        found = self._repo(request, "space" if prefix else "model", repo)
        if found.gated:
            status = 401 if request.token is None else 403
            raise HubError(status, f"Access to model {repo} is restricted.", "GatedRepo")
        commit = found.resolve(revision)
        blob = commit.blob(file)
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.etag}"'}
        if blob.sha256 is None:
            return Answer(200, headers, blob.content, is_file=True)
        self.objects[blob.sha256] = blob.content
        headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.content))}
        place = f"{self.cdn}/cdn/{blob.sha256}{request.path}?signature={self._secret}"
        return Answer(302, {**headers, "Location": place})

    def _download_lfs(self, request: Request, sha256: str) -> Answer:
        self._require_signature(request)
        return Answer(200, {"ETag": f'"{sha256}"'}, self.objects[sha256], is_file=True)

    # Files, upwards. The Hub says by each path whether it's to lie in LFS; how it gets there the client decides:
    # over Xet, or over LFS where HF_HUB_DISABLE_XET is set or what it uploads is an open file. No answer changes that.

    def _preupload(self, request: Request, kind: str, repo: str, revision: str) -> Answer:
        commit = self._repo(request, kind, repo).resolve(revision)
        told = []
        for file in json.loads(request.body)["files"]:
            path, start = file["path"], base64.b64decode(file["sample"])
            mode = "lfs" if kept_in_lfs(path, start, file["size"]) else "regular"
            entry = {"path": path, "uploadMode": mode, "shouldIgnore": False}
            if path in commit.files:  # by this the client leaves out what has not changed
                entry["oid"] = commit.blob(path).etag
            told.append(entry)
        return tell({"files": told, "commitOid": commit.oid})

    def _commit(self, request: Request, kind: str, repo: str, revision: str) -> Answer:
        found, header = self._repo(request, kind, repo), dict[str, Any]()
        changes: dict[str, bytes | None] = {}
        there = found.resolve(revision).files
        for line in request.body.splitlines():
            item = json.loads(line)
            value: dict[str, Any] = item["value"]
            match item["key"]:
                case "header":
                    header = value
                case "file":
                    changes[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    if value["oid"] not in self.objects:
                        raise HubError(400, "an LFS pointer pointed to a file that does not exist")
                    changes[value["path"]] = self.objects[value["oid"]]
                case "deletedFile":
                    if value["path"] not in there:
                        raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
                    changes[value["path"]] = None
                case "deletedFolder":
                    folder = value["path"].rstrip("/") + "/"
                    changes |= dict.fromkeys(path for path in there if path.startswith(folder))
                case key:
                    raise HubError(400, f"an unknown operation: {key}")
        made = found.commit(
            changes,
            header["summary"],
            branch=revision,
            description=header["description"],
            parent=header.get("parentCommit"),
        )
        return tell({"success": True, "commitOid": made.oid, "commitUrl": f"{self._address(found)}/commit/{made.oid}"})

    def _batch_lfs(self, request: Request, repo: str, prefix: str = "") -> Answer:
        address = self._address(self._repo(request, "space" if prefix else "model", repo))
        told = []
        for asked in json.loads(request.body)["objects"]:
            if asked["oid"] not in self.objects:  # without actions, the client takes it for uploaded
                upload = {"href": f"{self.cdn}/lfs/{asked['oid']}?signature={self._secret}"}
                asked["actions"] = {"upload": upload, "verify": {"href": f"{address}.git/info/lfs/objects/verify"}}
            told.append(asked)
        return tell({"transfer": "basic", "objects": told})

    def _upload_lfs(self, request: Request, sha256: str) -> Answer:
        self._require_signature(request)
        if hashlib.sha256(request.body).hexdigest() != sha256:
            raise HubError(400, "the content has another SHA-256")
        self.objects[sha256] = request.body
        return Answer()

    def _verify_lfs(self, request: Request, repo: str, prefix: str = "") -> Answer:
        asked = json.loads(request.body)
        if len(self.objects.get(asked["oid"], b"")) != asked["size"]:
            raise HubError(404, "the object was not uploaded, or has another size")
        return tell({})

    def _xet_token(self, request: Request, kind: str, repo: str, revision: str) -> Answer:
        self._repo(request, kind, repo)
        self._writer(request)
        # With the secret in its path, since the client remembers by the storage's address what it has uploaded there,
        # and another test's server may have had the same port.
        place, until = f"{self.url}/xet/{self._secret}", int(time.time()) + 3600
        headers = {"X-Xet-Cas-Url": place, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(until)}
        return tell({"casUrl": place, "accessToken": "xet", "exp": until}, headers=headers)

    def _add_xorb(self, request: Request, xorb: str) -> Answer:
        return tell({"was_inserted": self._xet.add_xorb(xorb, request.body)})

    def _add_shard(self, request: Request) -> Answer:
        self.objects |= self._xet.add_shard(request.body)
        return tell({"result": 1})

    def _telemetry(self, request: Request) -> Answer:
        return tell({})

    def _require_signature(self, request: Request) -> None:
        if request.query != f"signature={self._secret}":
            raise HubError(403, "the address is not signed")
