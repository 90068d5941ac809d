"""A Hugging Face Hub on the loopback interface, for tests: it keeps real commits and fails in every way we know of.

It speaks what the unmodified huggingface_hub 2.4.0 (with hf-xet 1.8.0) asks for; `hub_api` lists it. Point a process
at it with the variables of `HubServer.environment`, or, since the client reads them when it's imported, pass
`endpoint=hub.url`, `token=` and `cache_dir=` to each call.

    with HubServer() as hub:
        commit = hub.put("tester/model", {"manifest.json": b"{}"})
        hub.faults.play("cut", path="*/manifest.json", method="GET", times=1)
"""

from __future__ import annotations

import contextlib
import socket
import threading
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Self

from tests.hub_api import HubApi
from tests.hub_faults import Faults
from tests.hub_http import HubHttp
from tests.hub_store import MAIN, Repo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.hub_api import Request, Rights
    from tests.hub_store import Commit, RepoType

USER = "tester"
WRITE_TOKEN = "hf_write"
READ_TOKEN = "hf_read"


class HubServer:
    """A context manager that listens from entry to exit, and lets go of all that hangs at exit.

    Attributes:
        url: for HF_ENDPOINT.
        tokens: token -> "read" or "write"; all of them see all private repositories.
        requests: what was asked so far, in order of arrival.
        faults: what is to go wrong; see `hub_faults`.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults = Faults()
        self.tokens: dict[str, Rights] = {WRITE_TOKEN: "write", READ_TOKEN: "read"}
        self._place = socket.socket()
        self._place.bind(("127.0.0.1", 0))
        self._port: int = self._place.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.api = HubApi(self.url, f"http://localhost:{self._port}", USER, self.tokens)

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.clear()
        self._stop()
        self._place.close()

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """Variables for a process that is to know this Hub alone, with its cache and all else in `home`."""
        variables = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        return {**variables, **({"HF_TOKEN": token} if token else {})}

    # What it keeps.

    def create(
        self, repo_id: str, *, repo_type: RepoType = "model", private: bool = False, gated: bool = False
    ) -> None:
        """A repository with the files that the Hub itself puts there: .gitattributes, and a Space's card."""
        with self.api.lock:
            sdk = "gradio" if repo_type == "space" else None
            self.api.repos[repo_type, repo_id] = Repo(repo_id, repo_type, private, gated, sdk)

    def put(
        self,
        repo_id: str,
        files: Mapping[str, bytes | None],
        *,
        repo_type: RepoType = "model",
        branch: str = MAIN,
        message: str = "put",
    ) -> str:
        """Commit files past the client, which may be called anything (`../../x`); gives back the commit's hash.

        Args:
            repo_id: made if it isn't there.
            files: path -> content, or None to delete it; others stay.
            repo_type: "model" or "space".
            branch: made from `main` if it isn't there.
            message: of the commit.
        """
        with self.api.lock:
            if (repo_type, repo_id) not in self.api.repos:
                self.create(repo_id, repo_type=repo_type)
            repo = self._repo(repo_id, repo_type)
            repo.branches.setdefault(branch, repo.branches[MAIN])
            return repo.commit(files, message, branch=branch).oid

    def tag(self, repo_id: str, tag: str, revision: str = MAIN, *, repo_type: RepoType = "model") -> None:
        """Name a commit, moving the tag if it's there."""
        with self.api.lock:
            repo = self._repo(repo_id, repo_type)
            repo.tags[tag] = repo.resolve(revision).oid

    def files(self, repo_id: str, revision: str = MAIN, *, repo_type: RepoType = "model") -> dict[str, bytes]:
        """The files of a branch, tag or commit, with .gitattributes. Raises HubError where there is none."""
        return dict(self._repo(repo_id, repo_type).resolve(revision).files)

    def commits(self, repo_id: str, *, repo_type: RepoType = "model") -> list[Commit]:
        """All commits, oldest first; the first one is the Hub's own."""
        return list(self._repo(repo_id, repo_type).commits)

    def tags(self, repo_id: str, *, repo_type: RepoType = "model") -> dict[str, str]:
        """Tag -> commit's hash."""
        return dict(self._repo(repo_id, repo_type).tags)

    def variables(self, repo_id: str) -> dict[str, str]:
        """A Space's variables."""
        return {key: told["value"] for key, told in self._repo(repo_id, "space").variables.items()}

    def is_private(self, repo_id: str, *, repo_type: RepoType = "model") -> bool:
        """Whether it's hidden from those without a token."""
        return self._repo(repo_id, repo_type).private

    def has(self, repo_id: str, *, repo_type: RepoType = "model") -> bool:
        """Whether there is such a repository."""
        return (repo_type, repo_id) in self.api.repos

    def _repo(self, repo_id: str, repo_type: RepoType) -> Repo:
        return self.api.repos[repo_type, repo_id]

    # What goes wrong.

    def asked(self, pattern: str = "*") -> list[str]:
        """Requests so far, as "METHOD /path", that match a pattern as in fnmatch."""
        return [line for line in map(str, list(self.requests)) if fnmatchcase(line, pattern)]

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Within it connections are refused: nobody listens."""
        self._stop()
        try:
            yield
        finally:
            self._listen()

    # The socket. While nobody listens the port stays bound, so that no one else can be given it.

    def _listen(self) -> None:
        self._place.close()
        self._http = HubHttp(self._port, self.api, self.faults, self.requests)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", self._port))
