"""From a visitor's file to all that the page shows of it; every failure becomes a sentence."""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
from gradio.utils import get_upload_folder

from page.tidy import DELETE_AFTER_S, VARIABLE, needed
from ser_core import plots, timeline
from ser_core.errors import AudioTooLong, ModelUnavailable, NoAudio, SerError, UnreadableAudio, UnsupportedAudio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

    from ser_core.prediction import Prediction
    from ser_core.recognizer import Recognizer
    from ser_core.sound import Sound
    from ser_core.timeline import Segment

TITLES: dict[type[SerError], str] = {
    NoAudio: "Nothing to judge",
    UnreadableAudio: "This can't be read",
    UnsupportedAudio: "This kind of sound isn't supported",
    AudioTooLong: "Too long",
    ModelUnavailable: "Not just now",
}
OUR_FAULT = "Something went wrong on the server, not with your recording. Try again in a moment."

log = logging.getLogger("ser.app")


class Answer(NamedTuple):
    """What the API gives for one file, in the order of its outputs; `spectrogram` is a picture's path."""

    chart: dict[str, float]
    spectrogram: str
    prediction: dict[str, Any]


def judge(recognizer: Recognizer, path: str | None) -> tuple[Answer, Prediction]:
    """Read the file once, ask the model, draw the picture.

    Raises:
        gr.Error: see `told`.
    """
    with told():
        sound, prediction = recognizer.listen(still_there(path))
        picture = drawn(recognizer, sound, prediction)
        return Answer(prediction.probabilities, stored(picture), prediction.to_dict()), prediction


def drawn(recognizer: Recognizer, sound: Sound, prediction: Prediction) -> Image:
    """The picture of an answer, with a strip of emotions where there is more than one window."""
    return plots.spectrogram(
        sound.samples, recognizer.config, prediction.sound, prediction.windows, over_time(prediction)
    )


def still_there(path: str | None) -> str | None:
    """The same path, whose file is needed now and so not deleted for some minutes more.

    Raises:
        NoAudio: it was deleted already.
    """
    if path is not None:
        needed(path)
        if not Path(path).exists():
            raise NoAudio(
                f"The server has deleted this recording, as it does with each after {DELETE_AFTER_S // 60} minutes. "
                "Choose it again."
            )
    return path


def over_time(prediction: Prediction) -> tuple[Segment, ...]:
    """The timeline, where there is more than one window to tell of; else nothing."""
    return timeline.segments(prediction) if len(prediction.windows) > 1 else ()


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Let nothing but a gr.Error reach a visitor.

    Raises:
        gr.Error: what the library refused is told in its own sentence, anything unforeseen is logged and told in a
            general one.
    """
    try:
        yield
    except SerError as error:
        raise gr.Error(str(error), title=TITLES.get(type(error), "That didn't work"), print_exception=False) from error
    except Exception as error:
        log.exception("Unforeseen failure while judging a recording")
        raise gr.Error(OUR_FAULT, title="That didn't work", print_exception=False) from error


def stored(picture: Image) -> str:
    """Write a picture where Gradio serves it from and deletes it soon; gives its path.

    In a folder of its own: Gradio itself names a picture's file by its bytes and writes it in place, so that of two
    visitors with the same clip one could fetch the file at the moment when it is written again, and get nothing. And
    with the encoder's least effort, which takes a third of the time for a fifth more bytes.
    """
    path = scratch("spectrogram.webp")
    picture.save(path, method=0)
    return str(path)


def scratch(name: str) -> Path:
    """A path of this name in a new folder of those that Gradio serves and deletes, once a component gives it out."""
    folder = Path(get_upload_folder(), uuid.uuid4().hex)
    # The page's own folder isn't made anew: once that is deleted, as the page ends, nothing is written any more.
    folder.mkdir(parents=VARIABLE not in os.environ)
    return folder / name
