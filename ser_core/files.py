"""Many files: found in folders, and judged several at once, in order."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ser_core.audio import SUFFIXES
from ser_core.errors import NoAudio
from ser_core.records import Record, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from ser_core.recognizer import Recognizer

Item = TypeVar("Item")
Result = TypeVar("Result")

File = str | Record
"""The path of a file to judge, or the record of what can't even be looked for."""

MOST_JOBS = 256

_AHEAD = 16
"""Files that are begun for each job before the first of them is handed on: enough to stay busy beside a recording of
ten minutes, few enough that neither memory grows nor much is lost when it is stopped."""


def find(source: str) -> Iterator[str | NoAudio]:
    """The files that a SOURCE stands for.

    Yields:
        `source` itself where it is no folder; else the sound files in it and in its folders, sorted by path. A folder
        without any, or one that may not be read, gives the error instead.
    """
    if not os.path.isdir(source):  # noqa: PTH112  Path raises for what may not be looked at; reading tells that
        yield source
        return
    unread: list[OSError] = []
    found = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(source, onerror=unread.append)
        for name in names
        if is_sound(name)
    )
    yield from map(str, found)
    for error in unread:
        yield NoAudio(f"The folder {error.filename} can't be read ({error.strerror}). Check that you may open it.")
    if not found and not unread:
        yield no_sound_in(source)


def is_sound(name: str) -> bool:
    """Whether a file in a folder is taken for a recording, by its name."""
    # Names that begin with a dot are what other programs keep beside the sounds (macOS: "._voice.wav").
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def no_sound_in(folder: object) -> NoAudio:
    """What is told of a folder without recordings; `folder` is its path or URL."""
    return NoAudio(f"There is no sound file in {folder}. Looked for names that end in {', '.join(SUFFIXES)}.")


def find_all(sources: Sequence[str]) -> list[File]:
    """What each source stands for, in order; an error of `find` as the record of its source."""
    return [
        Record(source, None, str(found)) if isinstance(found, NoAudio) else found
        for source in sources
        for found in find(source)
    ]


def cores() -> int:
    """Processor cores that this process may use."""
    # Not all systems can bind a process to some of its cores.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def judge_all(files: Iterable[File], recognizer: Recognizer, jobs: int) -> Generator[Record, None, None]:
    """One record for each file, in order, whatever `jobs` is; see `in_order`."""
    return in_order(lambda file: judge_one(recognizer, file), files, jobs)


def judge_one(recognizer: Recognizer, file: File) -> Record:
    """The record of one file; see `records.judge`."""
    return file if isinstance(file, Record) else judge(recognizer, file)


def in_order(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Generator[Result, None, None]:
    """`map` in threads: what decodes, transforms and judges a sound lets others run meanwhile.

    Closing the iterator gives up what was not begun, and does not wait for what was.

    Args:
        work: safe to call from many threads at once.
        items: are taken a bounded number ahead of the results.
        jobs: items that are worked on at once, at least 1.

    Yields:
        What `work` gives for each item, in order; what it raises is raised here.
    """
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="judge")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= _AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
