"""How far a long command is, told on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ser_core.records import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from ser_core.records import Record

_WORTH_A_BAR_S = 0.5
"""Seconds that a command may take without showing how far it is."""


class Progress:
    """Counts records while they come, and tells of each that holds an error; with a bar where a terminal shows it.

    Args:
        total: files in all.
        done: those of them that are judged already.
        bar: whether a bar is wanted; there is none where standard error is no terminal.
        remarks: whether `remark` says anything.

    Attributes:
        failed: records that held an error.
    """

    def __init__(self, total: int, done: int = 0, *, bar: bool = True, remarks: bool = True) -> None:
        self.failed = 0
        self._remarks = remarks
        self._bar = None
        if bar and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, initial=done, unit=" files", file=sys.stderr, dynamic_ncols=True, delay=_WORTH_A_BAR_S
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def count(self, record: Record) -> None:
        """One more is done."""
        if record.error is not None:
            self.failed += 1
            self._say(f"{printable(record.source)}: {printable(record.error)}")
        if self._bar is not None:
            self._bar.update()

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Count records while they pass."""
        for record in records:
            self.count(record)
            yield record

    def remark(self, text: str) -> None:
        """Say what is good to know and no error."""
        if self._remarks:
            self._say(printable(text))

    def _say(self, line: str) -> None:
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)  # above the bar
