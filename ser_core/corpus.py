"""A corpus on many machines: what has no answer yet is judged by `cluster`, and its rows become Parquet."""

from __future__ import annotations

import os
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ser_core import cluster, parts, rows, sources
from ser_core.errors import EngineError, OutputError
from ser_core.hub import HubModel
from ser_core.progress import Progress
from ser_core.records import Record
from ser_core.sources import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ser_core.parts import Folder, Parts, Row
    from ser_core.prediction import ModelInfo, Precision
    from ser_core.sources import Corpus, Item

REQUIREMENTS = "requirements-cluster.txt"


@dataclass(frozen=True)
class Plan:
    """How a corpus is judged.

    Attributes:
        info: the model that answers.
        model: what every worker loads it by: a folder, USER/NAME@COMMIT, or None for the copy that comes with this.
        precision: of its weights; the model's own choice if None.
        jobs: actors, of one core each; one fewer than the cluster has cores if None.
        fresh: forget the answers that are there.
        quiet: say nothing but what could not be judged.
    """

    info: ModelInfo
    model: str | None = None
    precision: Precision | None = None
    jobs: int | None = None
    fresh: bool = False
    quiet: bool = False


def require() -> None:
    """Set Ray's environment, and raise EngineError where what is needed isn't installed."""
    # Before Ray is imported, which reads it then: it calls nobody, and says nothing of machines without a GPU.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not os.environ.get("RAY_ADDRESS") and "RAY_AUTH_MODE" not in os.environ:
        # Whoever reaches Ray's ports may run what they like. By itself Ray would leave a token in the home folder.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import pyarrow.parquet  # noqa: F401
        import ray.data  # noqa: F401
    except ImportError as error:
        raise EngineError(
            f"--engine ray needs Ray Data and PyArrow ({error}). Install them: pip install -r {REQUIREMENTS}"
        ) from error


def for_workers(model: str | None, info: ModelInfo) -> str | None:
    """What names the same model on every machine.

    Args:
        model: as it was asked for.
        info: what came of that.
    """
    if model is None or "://" in model:
        return model
    path = Path(model).expanduser()
    # A branch may have moved on before the last worker asks.
    return str(path.absolute()) if path.is_dir() else f"{HubModel.parse(model).repo_id}@{info.revision}"


def run(asked: Sequence[str], out: str, plan: Plan) -> int:
    """Judge all files that have no answer yet.

    Args:
        asked: paths and URLs of files and folders.
        out: folder for the answers, a path or a URL.
        plan: how.

    Returns:
        How many files could not be judged; each is told on standard error, and has its row.

    Raises:
        EngineError: something isn't installed, no cluster answers, or it gave up.
        OutputError: `out` can't be written, the answers in it are another model's, another run writes there, or rows
            are missing.
        NoAudio: a URL that can't be opened.
    """
    require()
    place = Place.of(out)
    corpus = sources.find_all(asked)
    with Progress(len(corpus.items), bar=False, remarks=not plan.quiet) as progress:
        try:
            with parts.opened(place, plan.info) as kept:
                _run(corpus, place, kept, plan, progress)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"--out {place} can't be written ({sources.reason(error)}).") from error
        except KeyboardInterrupt:
            progress.remark(f"Stopped. The same command goes on from the answers in {place}.")
            raise
    return progress.failed


def _run(corpus: Corpus, place: Place, kept: Parts, plan: Plan, progress: Progress) -> None:
    kept.begin(fresh=plan.fresh)
    left, done = _left(corpus, kept)
    if done:
        total = len(corpus.items) + len(corpus.failures)
        progress.remark(f"{place} holds the answers for {done:,} of {total:,} files; going on from there.")
    _judge(corpus, left, kept.folder, plan)
    for record in _failures(corpus, kept.rows(), place):
        progress.count(record)


def _left(corpus: Corpus, kept: Parts) -> tuple[list[Item], int]:
    """The files to judge, whose old rows are taken out, and how many need not be."""
    known = kept.rows()
    left: list[Item] = []
    stale: list[Row] = []
    for item in corpus.items:
        row = known.get(item.source)
        if row is not None and row.error is None and row.stamp is not None and row.stamp == item.seen():
            continue
        left.append(item)
        if row is not None:
            stale.append(row)
    stale += [known[record.source] for record in corpus.failures if record.source in known]
    kept.drop(stale)
    return left, len(corpus.items) - len(left)


def _failures(corpus: Corpus, known: dict[str, Row], place: Place) -> Iterator[Record]:
    """What could not be judged, in order. Raises OutputError where a file has no row."""
    lost = [item.source for item in corpus.items if item.source not in known]
    if lost:
        raise OutputError(
            f"{len(lost):,} rows are not in {place}, that of {lost[0]} among them. On a cluster it must be a folder "
            "that all machines share, or a URL. The same command writes what is missing."
        )
    yield from corpus.failures
    for item in corpus.items:
        if (error := known[item.source].error) is not None:
            yield Record(item.source, None, error)


def _judge(corpus: Corpus, left: list[Item], folder: Folder, plan: Plan) -> None:
    name = uuid.uuid4().hex
    if corpus.failures:
        folder.write(parts.part_name(name, 0), rows.table([(one, None) for one in corpus.failures], plan.info))
    if left:
        with cluster.connected(plan.quiet):
            cluster.judge(left, corpus.filesystems, folder, plan, name)
