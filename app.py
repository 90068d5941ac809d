"""The page: builds it, wires it, launches it, and turns errors into messages. Everything else is in `ser_core`.

python app.py [--share] [--auth USER:PASSWORD] [--host HOST] [--port PORT] [--model FOLDER or USER/NAME@COMMIT]
"""

from __future__ import annotations

import argparse
import html
import importlib
import logging
import os
import re
import signal
import socket
import sys
import textwrap
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read while gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# The one matrix product of an answer is small: threads for it wait on each other wherever visitors share the cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gradio as gr

import ser_core
from ser_core import bundle, examples, hub, plots
from ser_core.config import Limits
from ser_core.emotions import COLOURS
from ser_core.errors import AudioTooLong, NoAudio, SerError, UnreadableAudio, UnsupportedAudio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from ser_core.examples import Examples
    from ser_core.prediction import Prediction
    from ser_core.recognizer import Recognizer

ASSETS = Path(__file__).parent / "assets"
EXAMPLES = ("plain", "slow and low", "fast and high", "loud and lively", "quiet and flat")

DELETE_EVERY_S, DELETE_AFTER_S = 60, 300  # the notice promises "within minutes"
AT_ONCE, WAITING = 2, 32  # answers computed at the same time, and visitors who may wait for one

TITLES: dict[type[SerError], str] = {
    NoAudio: "Nothing to judge",
    UnreadableAudio: "This can't be read",
    UnsupportedAudio: "This kind of sound isn't supported",
    AudioTooLong: "Too long",
}
# A screen reader speaks what changes inside; the element itself must stay, so it belongs to the template.
ANSWER_TEMPLATE = '<div role="status" aria-live="polite">${value}</div>'
INVITATION = '<p class="waiting">Record a sentence, upload a clip or press an example; the answer appears here.</p>'

log = logging.getLogger("ser.app")


class Answer(NamedTuple):
    """What the API gives for one file, in the order of its outputs."""

    chart: dict[str, float]
    spectrogram: Image
    prediction: dict[str, Any]


def say(prediction: Prediction) -> str:
    """The answer as HTML: one sentence, and the notes on the recording below it."""
    notes = list(prediction.notes)
    if prediction.state == "no_speech":
        advice = notes.pop(0).message if notes else "Speak for a second or more, closer to the microphone."
        sentence = f"<strong>No voice to judge.</strong> {html.escape(advice)}"
    else:
        ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
        (first, p_first), (second, p_second) = [(name, f"({p * 100:.0f}&nbsp;%)") for name, p in ranked[:2]]
        if prediction.state == "uncertain":
            sentence = f"Not sure: perhaps <strong>{first}</strong> {p_first}, or <strong>{second}</strong> {p_second}."
        else:
            sentence = f"Sounds <strong>{first}</strong> {p_first}, then {second} {p_second}."
    items = "".join(f"<li>{html.escape(note.message)}</li>" for note in notes)
    return f"<p>{sentence}</p>" + (f"<ul>{items}</ul>" if items else "")


def model_line(recognizer: Recognizer) -> str:
    """Which weights are running and, where it was measured, how often they are right; Markdown."""
    info = recognizer.info
    source = _plain(textwrap.shorten(info.source, 240, placeholder=" …"))
    line = f"{info.name} v{info.version}, {source}. {info.precision.upper()}, run by OpenVINO."
    speech = recognizer.metrics.get("actor_independent", {}).get("speech", {})
    if "accuracy" in speech:
        line += f" On actors it had never heard it was right about {speech['accuracy'] * 100:.0f} % of spoken clips."
    return f"{line} The example voices are synthetic (espeak-ng)."


def _plain(text: str) -> str:
    """Text as Markdown that reads just like it: part of it may be another's words, a refused file's name say."""
    return html.escape(re.sub(r"([\\`*_{}\[\]()#!|~])", r"\\\1", text))


def judge(recognizer: Recognizer, path: str | None) -> tuple[Answer, Prediction]:
    """Read the file once, ask the model, draw the picture.

    Raises:
        gr.Error: the one thing that may reach a visitor; what the library refused is told in its own sentence, anything
            unforeseen is logged and told in a general one.
    """
    try:
        sound, prediction = recognizer.listen(path)
        picture = _unique(plots.spectrogram(sound.samples, recognizer.config, prediction.sound, prediction.windows))
        return Answer(prediction.probabilities, picture, prediction.to_dict()), prediction
    except SerError as error:
        raise gr.Error(str(error), title=TITLES.get(type(error), "That didn't work"), print_exception=False) from error
    except Exception as error:
        log.exception("Unforeseen failure while judging a recording")
        message = "Something went wrong on the server, not with your recording. Try again in a moment."
        raise gr.Error(message, title="That didn't work", print_exception=False) from error


def _unique(picture: Image) -> Image:
    """Mark a picture with an EXIF ImageUniqueID, so that no two visitors' pictures have the same bytes.

    Gradio names a picture's file by its bytes and writes it in place: of two visitors with the same clip, one could
    fetch the file at the moment when it is written again, and get nothing.
    """
    from PIL import ExifTags, Image

    exif = Image.Exif()
    exif[ExifTags.Base.ImageUniqueID] = uuid.uuid4().hex
    picture.info["exif"] = exif.tobytes()
    return picture


def build(recognizer: Recognizer, clips: Examples | None = None) -> gr.Blocks:
    """The page and its API, judged by `recognizer`; nothing is served yet.

    `clips` are offered beside the synthetic voices. The one public endpoint is `/predict`: a sound file in; label
    chart, spectrogram and the Prediction as JSON out.
    """

    def predict(audio: str | None) -> Answer:  # the API's parameter is named as this one
        """Judge which of eight acted emotions a voice recording sounds like.

        Args:
            audio: a sound file with speech or song, at most ten minutes.
        """
        return judge(recognizer, audio)[0]

    def show(path: str | None) -> tuple[Any, ...]:
        try:
            answer, prediction = judge(recognizer, path)
        except gr.Error as error:  # told where the answer would stand, and the last answer is cleared away
            return nothing(f'<p class="refused"><strong>{error.title}.</strong> {html.escape(str(error.message))}</p>')
        alt_text = plots.describe(prediction.duration_s, prediction.sound, prediction.windows)
        return say(prediction), answer.chart, gr.Image(answer.spectrogram, alt_text=alt_text), answer.prediction

    def nothing(sentence: str) -> tuple[Any, ...]:
        return sentence, None, None, None

    page = gr.Blocks(title="Emotion in a voice", delete_cache=(DELETE_EVERY_S, DELETE_AFTER_S), analytics_enabled=False)
    with page:
        gr.Markdown(
            "# Emotion in a voice\n"
            "Say a sentence: small neural networks tell which of eight acted emotions it sounds like.",
            elem_id="heading",
        )
        gr.Markdown((ASSETS / "notice.md").read_text(encoding="utf-8"), elem_id="notice")
        with gr.Row():
            with gr.Column(min_width=320):
                recording = gr.Audio(
                    sources=["microphone", "upload"],
                    type="filepath",
                    label="Your recording",
                    editable=False,
                    buttons=[],
                    elem_id="recording",
                )
                synthetic = {ASSETS / "examples" / f"synthetic-{name.replace(' ', '-')}.wav": name for name in EXAMPLES}
                offered = [_offer(recording, synthetic, "Or try a synthetic voice", "examples")]
                if clips is not None:
                    offered.append(
                        _offer(
                            recording, clips.clips, f"Or an actor whom it heard in training: {clips.credit}", "actors"
                        )
                    )
                button = gr.Button("Judge it", variant="primary", elem_id="judge")
                sentence = gr.HTML(INVITATION, html_template=ANSWER_TEMPLATE, elem_id="answer")
                spectrogram = gr.Image(
                    label="Spectrogram",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    alt_text="No recording yet",
                    elem_id="spectrogram",
                )
                gr.Markdown("The white line rises where the networks listened most.", elem_id="listened")
            with gr.Column(min_width=320):
                chart = gr.Label(label="How probable each emotion is", show_heading=False, elem_id="chart")
                with gr.Accordion("The whole answer as JSON", open=False):
                    details = gr.JSON(show_label=False, label="Prediction")
        gr.Markdown(model_line(recognizer), elem_id="model")

        # Every way in shares the model's few places, and a file chosen while another is judged is judged next.
        shared: dict[str, Any] = {"inputs": recording, "concurrency_id": "model", "concurrency_limit": AT_ONCE}
        shown: dict[str, Any] = {
            **shared,
            "outputs": [sentence, chart, spectrogram, details],
            "api_visibility": "private",
            "trigger_mode": "always_last",
            "show_progress": "minimal",
        }
        gr.on([recording.stop_recording, recording.upload, button.click], show, **shown)
        for one in offered:
            one.load_input_event.then(show, **shown)
        recording.clear(lambda: nothing(INVITATION), None, shown["outputs"], queue=False, api_visibility="private")
        gr.on([], predict, outputs=[chart, spectrogram, details], api_name="predict", **shared)
    page.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE)
    return page


def _offer(recording: gr.Audio, clips: dict[Path, str], label: str, elem_id: str) -> Any:
    return gr.Examples(
        [[str(path)] for path in clips],
        inputs=recording,
        example_labels=list(clips.values()),
        label=label,
        elem_id=elem_id,
        api_visibility="private",
    )


def theme() -> gr.themes.Base:
    """One accent, teal; small text and buttons keep a contrast of at least 4.5, light or dark."""
    return gr.themes.Default(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
    ).set(
        body_text_color_subdued="*neutral_500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
    )


def style() -> str:
    """The style sheet, with a rule per emotion for its bar."""
    rule = '[data-testid="{}-confidence-set"] {{ --stat-background-fill: {}; }}'
    rules = [rule.format(emotion.value, colour) for emotion, colour in COLOURS.items()]
    return "\n".join([(ASSETS / "style.css").read_text(encoding="utf-8"), *rules])


def launch(page: gr.Blocks, options: Options) -> str:
    """Serve `page` in the background and return its local address; says on stdout where it can be reached.

    Raises:
        OSError: the address is taken or not this machine's.
    """
    _check_free(options.host, options.port or 0)
    _, local_url, share_url = page.launch(
        server_name=options.host,
        server_port=options.port,
        share=options.share,
        auth=options.auth,
        prevent_thread_lock=True,
        quiet=True,
        inline=False,
        show_error=False,
        strict_cors=True,
        allowed_paths=[],
        max_file_size=Limits().max_bytes,
        enable_monitoring=False,
        run_history=False,
        ssr_mode=False,
        footer_links=["api", "settings"],
        theme=theme(),
        css=style(),
    )
    print(f"The page is at {local_url}")
    if share_url:
        print(f"For a week at most, anyone with this link can use it too: {share_url}")
    elif options.share:
        print("A public link could not be had (no network, or the service is down): the page goes on locally.")
    return str(local_url)


def _check_free(host: str, port: int) -> None:
    """Raise OSError where `host` and `port` (0: any) can't be listened on; Gradio itself looks only at 127.0.0.1."""
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[:1]:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)


@dataclass(frozen=True)
class Options:
    """How the page is served.

    Attributes:
        host: name or address to listen on.
        port: None means the first free one from 7860 on.
        share: ask Gradio for a public link.
        auth: user and password that the page asks for; None lets everybody in.
        model: the folder of a bundle, USER/NAME or USER/NAME@COMMIT on the Hub; None is the copy that ships.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    auth: tuple[str, str] | None = None
    model: str | None = None


def parse(argv: Sequence[str] | None = None) -> Options:
    """Options from the command line, and from the environment where the command line is silent.

    Wrong usage ends the program with a line on stderr and exit code 2, as argparse does.
    """
    environment = os.environ
    parser = argparse.ArgumentParser(prog="app.py", description="Serve the speech-emotion page.")
    parser.add_argument("--share", action="store_true", help="also ask for a public link (also: GRADIO_SHARE=true)")
    parser.add_argument("--auth", metavar="USER:PASSWORD", type=_auth, help="let in only who knows these")
    parser.add_argument("--host", help="name or address to listen on (also: GRADIO_SERVER_NAME); default 127.0.0.1")
    parser.add_argument(
        "--port", help="port to listen on (also: GRADIO_SERVER_PORT, PORT); default: free, from 7860 on"
    )
    parser.add_argument(
        "--model",
        metavar="FOLDER|USER/NAME[@COMMIT]",
        help=f"a model other than the one that ships: a bundle's folder, or one on the Hub (also: {hub.VARIABLE})",
    )
    given = parser.parse_args(argv)
    port = given.port or environment.get("GRADIO_SERVER_PORT") or environment.get("PORT") or None
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        parser.error(f"the port must be a number from 1 to 65535, not {port!r}")
    return Options(
        host=given.host or environment.get("GRADIO_SERVER_NAME") or Options.host,
        port=None if port is None else int(port),
        share=given.share or environment.get("GRADIO_SHARE", "").lower() == "true",
        auth=given.auth,
        model=given.model or environment.get(hub.VARIABLE) or None,
    )


def _auth(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise argparse.ArgumentTypeError(
            "give a user and a password with a colon between them, as in --auth ann:secret"
        )
    return user, password


def open_page(wanted: str | None) -> tuple[gr.Blocks, Recognizer]:
    """The page on the model that was asked for, or on the next best where the Hub doesn't give one that can be used.

    Raises:
        BundleError: a folder was asked for, and holds no model that can be used; or the copy that ships is damaged.
    """
    search = hub.Search(wanted)
    # The imports that an answer needs take seconds, in which the Hub can answer; where it isn't asked, they can wait.
    for name in ("openvino", "scipy.special", "librosa.feature.spectral"):
        if search.done():
            break
        importlib.import_module(name)
    found = search.result()
    while True:
        try:
            recognizer = ser_core.load(found)
            # `load` has just held all files of the bundle to its manifest.
            return build(recognizer, examples.of(bundle.outline(found.folder))), recognizer
        except Exception as error:
            # A folder was chosen by who runs the page; what comes from the Hub may hold anything, and stops no start.
            if found.commit is None:
                raise
            found = search.instead(found, error)


def main(argv: Sequence[str] | None = None) -> int:
    """Load the model, serve the page until it is interrupted or told to end; returns the exit code."""
    options = parse(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("ser").setLevel(logging.INFO)
    try:
        page, recognizer = open_page(options.model)
    except SerError as error:
        return _fail(str(error))
    try:
        launch(page, options)
    except OSError as error:
        where = f"{options.host}, port {options.port or 'from 7860 on'}"
        return _fail(
            f"The page can't be served at {where}: {error.strerror or error}. Choose another --port or --host."
        )
    # Beside serving: the page is there at once, and whoever is quick only waits for what must be loaded anyway.
    threading.Thread(target=recognizer.warm_up, name="warm-up", daemon=True).start()
    _end_as_if_interrupted(signal.SIGTERM)
    page.block_thread()
    return 0


def _end_as_if_interrupted(number: signal.Signals) -> None:
    """Let a signal end the page as Ctrl-C does, which deletes the recordings; by itself it would leave them behind."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, signal.default_int_handler)


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
