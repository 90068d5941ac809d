"""`python -m ser_core.pull USER/NAME REVISION [CACHE]`: a bundle from the Hub into its client's cache, verified.

`ser_core.hub` runs it as a process of its own, which it can end: the client's own time limits leave gaps, and a
download that trickles has none. Prints one line of JSON: {"folder", "commit", "whence"}, or {"fault": half a sentence}.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ser_core import bundle, examples, hub
from ser_core.bundle import MANIFEST, MAX_BYTES
from ser_core.errors import BundleError, DamagedBundle

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MANIFEST_MAX_BYTES = 1024 * 1024
SUFFIXES = frozenset({".xml", ".bin", ".onnx", ".json", ".safetensors", ".md", *examples.SUFFIXES})
"""Kinds of files that are downloaded: weights, figures, terms and example clips, nothing that could be executed."""


def check_names(names: Iterable[str], whose: str) -> None:
    """Raise BundleError where a bundle lists a file that isn't downloaded."""
    for name in names:
        if PurePosixPath(name).suffix not in SUFFIXES or not re.fullmatch(r"[\w.-]+", name, re.ASCII):
            raise BundleError(
                f"The model {whose} lists {name!r}; only files of the kinds {', '.join(sorted(SUFFIXES))} are "
                "downloaded, with plain names"
            )


def fetch(repo_id: str, revision: str, cache: Path | None) -> dict[str, str]:
    """Resolve the revision, look at the manifest, and only then fetch what it lists.

    Args:
        repo_id: USER/NAME.
        revision: a full commit hash, a tag or a branch.
        cache: the client's cache; its own default if None.

    Returns:
        `folder`, `commit` and `whence` it came.

    Raises:
        BundleError: what lies there doesn't fit this version, is too large, or isn't what its manifest says.
    """
    from huggingface_hub import HfApi, snapshot_download

    api = HfApi()
    commit = revision
    if not hub.HubModel(repo_id, revision).pinned:
        commit = str(api.model_info(repo_id, revision=revision, timeout=hub.TIMEOUT_S).sha)
        if folder := hub.whole(repo_id, commit, cache):
            return {"folder": str(folder), "commit": commit, "whence": "from the Hub, downloaded earlier"}

    def sizes(names: list[str]) -> dict[str, int]:
        found = api.get_paths_info(repo_id, names, revision=commit)
        return {one.path: getattr(one, "size", 0) for one in found}

    def take(names: list[str]) -> Path:
        return Path(snapshot_download(repo_id, revision=commit, allow_patterns=names, cache_dir=cache))

    if (size := sizes([MANIFEST]).get(MANIFEST)) is None:
        raise BundleError(f"{repo_id} holds no model for this app at commit {commit[:7]}: it has no {MANIFEST}")
    if size > MANIFEST_MAX_BYTES:
        raise BundleError(f"{MANIFEST} of {repo_id} has {size:,} bytes, at most {MANIFEST_MAX_BYTES:,} are read")
    folder = take([MANIFEST])
    try:
        files = bundle.outline(folder).files
        check_names(files, repo_id)
        there = sizes(list(files))
        for name, record in files.items():
            if there.get(name) != record.size:
                raise BundleError(
                    f"{name} of {repo_id} has {there.get(name, 0):,} bytes on the Hub, {MANIFEST} says {record.size:,}"
                )
        total = sum(record.size for record in files.values())
        print(f"Downloading {repo_id}@{commit}: {len(files)} files, {total / 2**20:.1f} MB", file=sys.stderr)
        bundle.read(take([MANIFEST, *files]))
    except BundleError as error:
        if isinstance(error, DamagedBundle):
            hub.forget_damaged(folder)
        raise BundleError(hub.without_folder(str(error), folder, f"{repo_id}@{commit[:7]}")) from error
    return {"folder": str(folder), "commit": commit, "whence": "from the Hub"}


def explain(error: Exception, repo_id: str, revision: str) -> str:
    """Why a pull failed, as half a sentence."""
    from huggingface_hub import errors

    told: dict[type[Exception], str] = {
        BundleError: str(error).rstrip("."),
        # Before its parent, which says that there is none.
        errors.GatedRepoError: f"{repo_id} is gated: set HF_TOKEN to a token that was let in",
        errors.RepositoryNotFoundError: (
            f"the Hub knows no model {repo_id}, or it is private: check the name, or set HF_TOKEN"
        ),
        errors.RevisionNotFoundError: f"{repo_id} has no revision {revision}",
        errors.HFValidationError: f"{repo_id} is no name of a model",
    }
    for kind, sentence in told.items():
        if isinstance(error, kind):
            return sentence
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        return f"the Hub answered {error.response.status_code}"
    if isinstance(error, OSError) and error.errno in {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EACCES,
        errno.EROFS,
        errno.ENOTDIR,
    }:
        return f"the cache can't be written ({error.strerror})"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return "the Hub sent more than it said"
    return "the Hub can't be reached"


def _bound() -> None:
    """Let no file grow beyond what a bundle may hold, whatever the Hub sends; and this process not live for ever."""
    with contextlib.suppress(ImportError, AttributeError, ValueError):
        import resource
        import signal

        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_BYTES, MAX_BYTES))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond it fails instead
        signal.alarm(round(hub.PATIENT_S) + 60)


def main(arguments: Sequence[str]) -> int:
    """Fetch, and print what came of it."""
    repo_id, revision, *cache = arguments
    _bound()
    result: dict[str, Any]
    try:
        result = fetch(repo_id, revision, Path(cache[0]) if cache else None)
    # Whatever it is: the app tells it and goes on.
    except Exception as error:  # noqa: BLE001
        result = {"fault": explain(error, repo_id, revision)}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
