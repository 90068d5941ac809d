"""What can go wrong, as a small tree. Each message is for the person who reads it: what was wrong, what to do next.

One place (`app.py`) maps these to the page, one (`ser_core/__main__.py`) to an exit code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class SerError(Exception):
    """Anything that this library refuses. `str(error)` is a whole sentence that may be shown to a visitor."""


class AudioError(SerError):
    """A sound that can't be used; its children say why."""


class NoAudio(AudioError):
    """There is nothing to read: None, a missing file, a folder, an empty file, an array without samples."""


class UnreadableAudio(AudioError):
    """There are bytes, but no decoder makes sound of them: junk, a truncated header, a file of another kind."""


class UnsupportedAudio(AudioError):
    """Sound that lies outside what is accepted: its rate, its channels, its type, samples that are not numbers."""


class AudioTooLong(AudioError):
    """A sound longer, or a file larger, than the limits in `ser_core.config.Limits`."""


class BundleError(SerError):
    """A model that doesn't fit together or can't be found; the message names both sides of what disagrees."""


class DamagedBundle(BundleError):
    """A file of a model that isn't what its manifest says; `path` is that file's."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class BackendError(SerError):
    """A place to run the network that can't be used as it was named: its address, or what this machine lacks for it."""


class ModelUnavailable(SerError):
    """The network runs elsewhere, and can't be asked just now: nothing is wrong with the recording."""

    def __init__(
        self, message: str = "What judges recordings can't be reached just now. Try again in a minute."
    ) -> None:
        super().__init__(message)


class OutputError(SerError):
    """A place for the answers that can't be used as it is: another run's, or with something else in it."""


class EngineError(SerError):
    """What judges many files can't be had, or gave up: a package is missing, a cluster doesn't answer, workers die."""
