"""Where the bundle comes from: the Hugging Face Hub at a commit, its cache, or the copy that comes with the project.

No fault of the network or the Hub stops a start: what can't be had is replaced by the next best, and `Located.source`
says so. Nothing is used that `bundle.read` didn't verify.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ser_core import bundle
from ser_core.bundle import BUNDLED, MANIFEST
from ser_core.errors import BundleError, DamagedBundle

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "SER_MODEL_REPO"
"""Of the environment: the model that the page runs, where its command line is silent."""
TIMEOUT_S = 10.0
"""Seconds that a start waits for the Hub in all, to connect, ask and download."""
PATIENT_S = 300.0
"""The same for who would rather wait than have another model."""

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")

log = logging.getLogger("ser.hub")


@dataclass(frozen=True)
class HubModel:
    """A model repository on the Hub, and which state of it.

    Attributes:
        repo_id: USER/NAME.
        revision: a full commit hash, a tag or a branch.
    """

    repo_id: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read USER/NAME or USER/NAME@REVISION. Raises BundleError for anything else."""
        repo_id, at, revision = text.strip().partition("@")
        if not _REPO.fullmatch(repo_id) or (at and not revision) or not revision.isprintable():
            raise BundleError(
                f"{text!r} is neither a folder that is there nor a model on the Hugging Face Hub: give a folder, or "
                "USER/NAME, or USER/NAME@COMMIT."
            )
        return cls(repo_id, revision or cls.revision)

    @property
    def pinned(self) -> bool:
        """Whether the revision can never mean anything else."""
        return bool(_COMMIT.fullmatch(self.revision))

    def __str__(self) -> str:
        return f"{self.repo_id}@{self.revision}"


@dataclass(frozen=True)
class Located:
    """A bundle that was found.

    Attributes:
        folder: where it lies.
        source: for people: where it comes from and, where it isn't what was asked for, why.
        commit: the Hub's hash of the commit that it was published with, and then it is verified; None for a folder.
    """

    folder: Path
    source: str
    commit: str | None = None


class Search:
    """Looks for a model beside whatever else a start has to do.

    Args:
        wanted: a folder, USER/NAME or USER/NAME@REVISION; None or an empty string for the copy that comes with the
            project.
        timeout_s: how long `result` waits for the Hub, in seconds from now.
        cache: the Hub client's cache; its own default if None.
        fallback: whether another model may stand in for one that can't be had: right for a page that has to be there,
            wrong for a list of answers that someone will rely on.

    Raises:
        BundleError: `wanted` is neither a folder nor names a model.
    """

    def __init__(
        self,
        wanted: str | os.PathLike[str] | None,
        *,
        timeout_s: float = TIMEOUT_S,
        cache: Path | None = None,
        fallback: bool = True,
    ) -> None:
        self._deadline, self._cache, self._fallback = time.monotonic() + timeout_s, cache, fallback
        self._refused: set[Path] = set()
        self._pulled: Future[Located] = Future()
        self._model: HubModel | None = None
        if not wanted:
            self._pulled.set_result(bundled())
        elif not isinstance(wanted, str) or _is_path(wanted):
            self._pulled.set_result(Located(Path(wanted).expanduser(), str(wanted)))
        else:
            self._model = HubModel.parse(wanted)
            threading.Thread(target=self._run, args=(self._model,), name="hub", daemon=True).start()

    def _run(self, model: HubModel) -> None:
        try:
            self._pulled.set_result(pull(model, self._deadline, self._cache))
        # Whatever it is: `result` has something instead.
        except Exception as error:  # noqa: BLE001
            self._pulled.set_exception(error)

    def done(self) -> bool:
        """Whether `result` would wait for nothing."""
        return self._pulled.done()

    def result(self) -> Located:
        """What was found, once it was or the time is up; one line in the log says which and why.

        Raises:
            BundleError: it can't be had, and nothing may stand in for it.
        """
        try:
            # The thread ends by the deadline, too; the second more is for the fault that it then tells.
            found = self._pulled.result(max(0.0, self._deadline + 1.0 - time.monotonic()))
        except Exception as error:  # noqa: BLE001  no fault of the Hub or the network stops a start
            return self.instead(None, error)
        log.info("Model: %s", found.source)
        return found

    def instead(self, refused: Located | None, error: Exception) -> Located:
        """The next best.

        Args:
            refused: what was found and turned out to be of no use; None where nothing was found.
            error: why.

        Raises:
            BundleError: nothing may stand in for it.
        """
        reason = str(error) if isinstance(error, BundleError) else f"it can't be used ({type(error).__name__})"
        log.debug("%s", reason, exc_info=error)
        if refused is not None:
            self._refused.add(refused.folder)
            reason = without_folder(reason, refused.folder, "the Hub")
        if not self._fallback:
            raise BundleError(f"The model {self._model} can't be had: {reason.rstrip('.')}.") from error
        why = f"instead of {self._model}, since {reason.rstrip('.')}"
        found = self._copy(why) or bundled(why)
        log.warning("Model: %s", found.source)
        return found

    def _copy(self, why: str) -> Located | None:
        """The newest whole copy of the repository in the cache that wasn't refused."""
        if (model := self._model) is None:
            return None
        for folder in _snapshots(model.repo_id, self._cache):
            if folder not in self._refused:
                # A folder that another process is at work on, say.
                with contextlib.suppress(BundleError, OSError):
                    bundle.read(folder)
                    return _located(model, folder, folder.name, f"from the cache, {why}")
        return None


def locate(
    wanted: str | os.PathLike[str] | None, *, timeout_s: float = PATIENT_S, cache: Path | None = None
) -> Located:
    """A folder, or a model from the Hub, waited for; nothing stands in for it. Arguments and errors as in `Search`."""
    return Search(wanted, timeout_s=timeout_s, cache=cache, fallback=False).result()


def bundled(why: str = "") -> Located:
    """The copy that comes with the project; `why` it is that, in half a sentence, where it wasn't asked for."""
    return Located(BUNDLED, f"bundled copy {why}" if why else "bundled copy")


def pull(model: HubModel, deadline: float, cache: Path | None) -> Located:
    """A pinned commit from the cache, with no network, or else from the Hub.

    Args:
        model: which.
        deadline: when to give up, as `time.monotonic` counts.
        cache: the Hub client's cache; its own default if None.

    Raises:
        BundleError: it can't be had, or doesn't fit.
    """
    if model.pinned and (folder := whole(model.repo_id, model.revision, cache)):
        return _located(model, folder, model.revision, "from the cache")
    # In a process of its own: one that hangs can be ended, lets go of what it holds, and goes on with nothing.
    command = [sys.executable, "-m", "ser_core.pull", model.repo_id, model.revision, *([str(cache)] if cache else [])]
    before = set(_unfinished(model.repo_id, cache))
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parent.parent)
    try:
        printed, _ = child.communicate(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        child.kill()
        child.communicate()
        for path in set(_unfinished(model.repo_id, cache)) - before:
            path.unlink(missing_ok=True)
        raise BundleError("the Hub did not answer in time") from error
    try:
        told = json.loads(printed.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise BundleError("the Hub could not be asked") from error
    if "fault" in told:
        raise BundleError(told["fault"])
    if not model.pinned:
        pinned = HubModel(model.repo_id, told["commit"])
        log.warning("%s is commit %s now; pin it: %s=%s", model, pinned.revision, VARIABLE, pinned)
    return _located(model, Path(told["folder"]), told["commit"], told["whence"])


def without_folder(text: str, folder: Path, called: str) -> str:
    """Text with a folder of this machine called otherwise, since it may stand on a public page."""
    return text.replace(f"{folder}{os.sep}", "").replace(str(folder), called)


def _is_path(wanted: str) -> bool:
    """Whether a folder is meant rather than a model on the Hub; so it is too where all but its last part is there."""
    path = Path(wanted)
    return wanted.startswith(("/", ".", "~")) or path.is_dir() or (len(path.parts) > 1 and path.parent.is_dir())


def _located(model: HubModel, folder: Path, commit: str, whence: str) -> Located:
    return Located(folder, f"{model.repo_id}, commit {commit[:7]}, {whence}", commit)


# The client's cache: models--USER--NAME with snapshots/COMMIT of links to blobs.


def _storage(repo_id: str, cache: Path | None) -> Path:
    from huggingface_hub import constants

    return Path(cache or constants.HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}"


def _snapshots(repo_id: str, cache: Path | None) -> list[Path]:
    """The folders of all commits, the newest first."""
    try:
        folders = [path for path in (_storage(repo_id, cache) / "snapshots").iterdir() if path.is_dir()]
        return sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return []


def _unfinished(repo_id: str, cache: Path | None) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (_storage(repo_id, cache) / "blobs").glob("*.incomplete")


def whole(repo_id: str, commit: str, cache: Path | None) -> Path | None:
    """The folder of a commit whose bundle is whole; what is damaged of it is thrown away, to be downloaded anew."""
    folder = _storage(repo_id, cache) / "snapshots" / commit
    if not (folder / MANIFEST).is_file():
        return None
    try:
        bundle.read(folder)
    except DamagedBundle as error:
        log.warning("A file in the cache is damaged: %s", error)
        forget_damaged(folder)
        return None
    except (BundleError, OSError):
        return None
    return folder


def forget_damaged(folder: Path) -> None:
    """Take what is damaged of a commit out of the cache: what the links in its folder point to, and the links."""
    try:
        paths = bundle.damaged(bundle.outline(folder))
    except DamagedBundle as error:
        paths = [error.path]
    for path in paths:
        with contextlib.suppress(OSError):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
