"""Ray Data: hands blocks of paths to actors, which judge the files, and their rows to tasks, which write them."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from typing import TYPE_CHECKING, Any

from ser_core import parts
from ser_core.backends import THREADS
from ser_core.errors import EngineError
from ser_core.files import cores
from ser_core.worker import Judge, block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyarrow import fs

    from ser_core.corpus import Plan
    from ser_core.parts import Folder
    from ser_core.sources import Item

_BLOCK = 64
"""Files that an actor is handed at once at most: what is lost, and judged again, when it dies."""
_BLOCKS_EACH = 8
"""Blocks for each actor at least, so that none waits long for the last one."""
_PARTS = 50
"""Parts that a run writes at least, if it has so many blocks: a run that is killed loses one of them, or two."""
_ROWS = 4096
"""Rows that a part waits for at most: some megabytes, which every reader of Parquet likes better than many crumbs."""
_DEATHS = 3
"""Workers in a row that may die while they load the model, before it is taken for a fault of the model."""
_WRITERS = 2
"""Parts that are written at once, each by a process that takes seconds to start and writes thousands of rows in one."""
_STORE_BYTES = 200 * 1024 * 1024
"""Of memory for Ray's objects, where Ray is started here: only paths and rows pass through it."""


@contextlib.contextmanager
def connected(quiet: bool) -> Iterator[None]:
    """Ray: the cluster that this process has joined, that RAY_ADDRESS names, or one of this machine's cores."""
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or None
    own: dict[str, Any] = {}
    if address is None:
        own = {"num_cpus": cores(), "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    level = logging.ERROR if quiet else logging.WARNING
    try:
        # Without "local" Ray would join whatever cluster was last started on this machine.
        ray.init(address or "local", logging_level=level, log_to_driver=not quiet, **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"the cluster at RAY_ADDRESS={address}" if address else "Ray on this machine"
        raise EngineError(f"Can't reach {where} ({_last_line(error)}). Start it, or name another.") from error
    try:
        yield
    finally:
        ray.shutdown()


def judge(left: Sequence[Item], filesystems: Sequence[fs.FileSystem], folder: Folder, plan: Plan, run: str) -> None:
    """Judge files and write their rows; Ray must be `connected`.

    Args:
        left: the files, at least one.
        filesystems: that they are in.
        folder: for the rows.
        plan: how.
        run: 32 hex digits that name the parts.

    Raises:
        EngineError: workers can't load the model, something unforeseen happened to one, or `folder` can't be written.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    jobs = plan.jobs or max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)
    size = min(_BLOCK, math.ceil(len(left) / (_BLOCKS_EACH * jobs)))
    blocks = [block(left[first : first + size]) for first in range(0, len(left), size)]
    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = not plan.quiet
    context.max_consecutive_actor_init_deaths = _DEATHS
    context.execution_no_progress_timeout_s = -1  # a block of long recordings takes its time
    if plan.quiet:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    # An actor that dies is started again, and its block begun again, as often as it takes: that is Ray Data's default.
    # A bound would have to be wide, since each second until a node is known to be gone counts as an attempt.
    data = ray.data.from_arrow(blocks).map_batches(
        Judge,
        fn_constructor_args=(filesystems, plan.model, plan.precision, folder.made_by),
        batch_size=None,  # a block
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=min(jobs, len(blocks))),
        num_cpus=1,
        runtime_env={"env_vars": {THREADS: "1", "OPENBLAS_NUM_THREADS": "1"}},
    )
    rows = min(max(len(left) // _PARTS, size), _ROWS)
    writers = min(_WRITERS, math.ceil(len(left) / rows))
    try:
        # No core for those that write: the actors may have taken all, and would wait for them.
        data.write_datasink(_sink(folder, run, rows), ray_remote_args={"num_cpus": 0}, concurrency=writers)
    except ray.exceptions.RayError as error:
        raise EngineError(
            f"The cluster gave up ({_last_line(error)}). What was judged is kept; the same command goes on from there."
        ) from error


def _sink(folder: Folder, run: str, least: int) -> Any:
    """Writes a part for each `least` rows or more; Ray's own writer leaves half a file where it is killed."""
    import pyarrow as pa
    from ray.data import Datasink
    from ray.data.block import BlockAccessor

    class Answers(Datasink):  # type: ignore[misc]
        @property
        def min_rows_per_write(self) -> int:
            return least

        def write(self, blocks: Iterable[Any], ctx: Any) -> None:
            tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
            # A task that is tried again has its old number, and so replaces what it may have written.
            folder.write(parts.part_name(run, 1 + ctx.task_idx), pa.concat_tables(tables))

    return Answers()


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().rstrip(".")
