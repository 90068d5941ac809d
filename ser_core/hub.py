"""Where the bundle comes from: the Hugging Face Hub at a commit, its cache, or the copy that comes with the project.

No fault of the network or the Hub stops a start: what can't be had is replaced by the next best, and `Located.source`
says so. Nothing is used that `bundle.read` didn't verify.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from ser_core import bundle
from ser_core.bundle import BUNDLED, MANIFEST
from ser_core.errors import BundleError, SerError

TIMEOUT_S = 10.0
"""Seconds that a start waits for the Hub in all, to connect, ask and download."""
MANIFEST_MAX_BYTES = 1024 * 1024
SUFFIXES = frozenset({".xml", ".bin", ".onnx", ".json", ".safetensors", ".md", ".wav", ".flac"})
"""Kinds of files that are downloaded: weights, figures, terms and example clips, nothing that could be executed."""

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
    """A bundle that was found and verified.

    Attributes:
        folder: where it lies.
        source: for people: where it comes from and, where it isn't what was asked for, why.
        commit: the Hub's hash of the commit that it was published with; None for a folder.
    """

    folder: Path
    source: str
    commit: str | None = None


class Search:
    """Looks for a model in a thread of its own, so that a start can go on meanwhile.

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
        self._timeout_s, self._cache, self._fallback = timeout_s, cache, fallback
        self._deadline = time.monotonic() + timeout_s
        self._pulled: Future[Located] = Future()
        self._model: HubModel | None = None
        if not wanted:
            self._pulled.set_result(bundled())
        elif not isinstance(wanted, str) or wanted.startswith(("/", ".", "~")) or Path(wanted).is_dir():
            self._pulled.set_result(Located(Path(wanted).expanduser(), str(wanted)))
        else:
            self._model = HubModel.parse(wanted)
            # A daemon: one that hangs keeps nothing from ending; one that is late leaves its download for next time.
            threading.Thread(target=self._run, args=(self._model,), name="hub", daemon=True).start()

    def _run(self, model: HubModel) -> None:
        try:
            self._pulled.set_result(_pull(model, self._cache))
        except BaseException as error:  # noqa: BLE001  whatever it was: `result` has something instead
            self._pulled.set_exception(error)

    def result(self) -> Located:
        """What was found, once it was or the time is up; one line in the log says which and why.

        Raises:
            BundleError: it can't be had, and nothing may stand in for it.
        """
        model = self._model
        if model is None:
            return self._pulled.result()
        try:
            found = self._pulled.result(max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            fault = f"the Hub did not answer within {self._timeout_s:.0f} s"
        except Exception as error:  # no fault of the Hub or the network stops a start
            log.debug("%s could not be pulled", model, exc_info=True)
            fault = explain(error, model)
        else:
            log.info("Model: %s", found.source)
            return found
        if not self._fallback:
            raise BundleError(f"The model {model} can't be had: {fault}.")
        found = _second_best(model, fault, self._cache)
        log.warning("Model: %s", found.source)
        return found


def locate(wanted: str | os.PathLike[str] | None, *, timeout_s: float = 300.0, cache: Path | None = None) -> Located:
    """A folder, or a model from the Hub, waited for; nothing stands in for it. Arguments and errors as in `Search`."""
    return Search(wanted, timeout_s=timeout_s, cache=cache, fallback=False).result()


def bundled(fault: str = "") -> Located:
    """The copy that comes with the project; `fault` is what it stands in for."""
    return Located(BUNDLED, f"bundled copy: {fault.rstrip('.')}" if fault else "bundled copy")


def _pull(model: HubModel, cache: Path | None) -> Located:
    """A pinned commit from the cache, with no network, or else from the Hub."""
    if model.pinned and (folder := _cached(model.repo_id, model.revision, cache)):
        return _located(model, folder, model.revision, "from the cache")
    commit = model.revision if model.pinned else _resolve(model)
    if not model.pinned and (folder := _cached(model.repo_id, commit, cache)):
        return _located(model, folder, commit, "from the Hub, downloaded earlier")
    return _located(model, _download(model.repo_id, commit, cache), commit, "from the Hub")


def _located(model: HubModel, folder: Path, commit: str, whence: str) -> Located:
    return Located(folder, f"{model.repo_id}, commit {commit[:7]}, {whence}", commit)


def _endpoint() -> str | None:
    """Another Hub, where HF_ENDPOINT names one; as it is now: the client reads it once, when it is imported."""
    return os.environ.get("HF_ENDPOINT")


def _resolve(model: HubModel) -> str:
    """The full hash of the commit that a branch or tag stands for now."""
    from huggingface_hub import HfApi

    commit = HfApi(_endpoint()).model_info(model.repo_id, revision=model.revision, timeout=TIMEOUT_S).sha
    if commit is None or not _COMMIT.fullmatch(commit):
        raise BundleError(f"The Hub gave no commit for {model}: {commit!r}.")
    log.warning("%s is commit %s now; pin it: SER_MODEL_REPO=%s@%s", model, commit, model.repo_id, commit)
    return commit


def _cached(repo_id: str, commit: str, cache: Path | None) -> Path | None:
    """The folder of a commit whose bundle is whole; one that isn't is thrown away, so that it is downloaded anew."""
    from huggingface_hub import try_to_load_from_cache

    manifest = try_to_load_from_cache(repo_id, MANIFEST, cache_dir=cache, revision=commit)
    if not isinstance(manifest, str):
        return None
    folder = Path(manifest).parent
    try:
        if not all((folder / name).is_file() for name in bundle.outline(folder).files):
            return None  # a download that was broken off; what there is of it is good
        bundle.read(folder)
    except BundleError as error:
        log.warning("The copy of %s@%s in the cache can't be used: %s", repo_id, commit, error)
        _discard(repo_id, commit, cache)
        return None
    return folder


def _download(repo_id: str, commit: str, cache: Path | None) -> Path:
    """The files of a bundle, and no others, once its manifest has been looked at.

    Raises:
        BundleError: what lies there doesn't fit this version, is too large, or isn't what its manifest says.
    """
    from huggingface_hub import HfApi, snapshot_download

    def sizes(names: list[str]) -> dict[str, int]:
        found = HfApi(_endpoint()).get_paths_info(repo_id, names, revision=commit)
        return {one.path: getattr(one, "size", 0) for one in found}

    def fetch(names: list[str]) -> Path:
        return Path(
            snapshot_download(repo_id, revision=commit, allow_patterns=names, cache_dir=cache, endpoint=_endpoint())
        )

    if (size := sizes([MANIFEST]).get(MANIFEST)) is None:
        raise BundleError(f"{repo_id} holds no model for this app at commit {commit[:7]}: it has no {MANIFEST}.")
    if size > MANIFEST_MAX_BYTES:
        raise BundleError(f"{MANIFEST} of {repo_id} has {size:,} bytes, at most {MANIFEST_MAX_BYTES:,} are read.")
    folder = fetch([MANIFEST])
    try:
        files = bundle.outline(folder).files
        _check_kinds(repo_id, list(files))
        there = sizes(list(files))
        for name, record in files.items():
            if there.get(name) != record.size:
                raise BundleError(
                    f"{name} of {repo_id} has {there.get(name, 0):,} bytes on the Hub, {MANIFEST} says "
                    f"{record.size:,}. Publish the model again."
                )
        total = sum(record.size for record in files.values())
        log.info("Downloading %s@%s: %d files, %.1f MB", repo_id, commit, len(files), total / 2**20)
        bundle.read(fetch([MANIFEST, *files]))
    except BundleError as error:
        # It would be found in the cache again and again.
        _discard(repo_id, commit, cache)
        # What is told may stand on a public page, which has no business with this machine's folders.
        told = str(error).replace(f"{folder}{os.sep}", "").replace(str(folder), f"{repo_id}@{commit[:7]}")
        raise BundleError(told) from error
    return folder


def _check_kinds(repo_id: str, names: list[str]) -> None:
    for name in names:
        if PurePosixPath(name).suffix not in SUFFIXES or not re.fullmatch(r"[\w.-]+", name, re.ASCII):
            raise BundleError(
                f"The model {repo_id} lists {name!r}; only files of the kinds {', '.join(sorted(SUFFIXES))} are "
                "downloaded. Publish the model again."
            )


def _discard(repo_id: str, commit: str, cache: Path | None) -> None:
    from huggingface_hub import scan_cache_dir

    try:
        scan_cache_dir(cache).delete_revisions(commit).execute()
    except OSError as error:
        log.warning("%s@%s could not be taken out of the cache: %s", repo_id, commit, error)


def _second_best(model: HubModel, fault: str, cache: Path | None) -> Located:
    """The newest whole copy of the repository in the cache, else the copy that comes with the project."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repos = [
            repo for repo in scan_cache_dir(cache).repos if (repo.repo_id, repo.repo_type) == (model.repo_id, "model")
        ]
    except (CacheNotFound, OSError):
        repos = []
    copies = [copy for repo in repos for copy in repo.revisions]
    for copy in sorted(copies, key=lambda one: one.last_modified, reverse=True):
        try:
            bundle.read(copy.snapshot_path)
        except BundleError:
            continue
        return _located(model, copy.snapshot_path, copy.commit_hash, f"from the cache: {fault}")
    return bundled(fault)


def explain(error: Exception, model: HubModel) -> str:
    """Why a pull failed, as half a sentence that may stand on the page."""
    from huggingface_hub import errors

    told: dict[type[Exception], str] = {
        SerError: str(error).rstrip("."),
        # Before its parent, which says that there is none.
        errors.GatedRepoError: f"{model.repo_id} is gated: set HF_TOKEN to a token that was let in",
        errors.RepositoryNotFoundError: (
            f"the Hub knows no model {model.repo_id}, or it is private: check the name, or set HF_TOKEN"
        ),
        errors.RevisionNotFoundError: f"{model.repo_id} has no revision {model.revision}",
    }
    for kind, sentence in told.items():
        if isinstance(error, kind):
            return sentence
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        return f"the Hub answered {error.response.status_code}"
    return "the Hub can't be reached"
