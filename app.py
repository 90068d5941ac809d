"""The door: asks for a model, builds the page on it, serves it. What a visitor meets is in `page`.

python app.py [--share] [--auth USER:PASSWORD] [--host HOST] [--port PORT] [--rate PER_MINUTE]
              [--model FOLDER or USER/NAME@COMMIT] [--backend grpc://HOST:PORT/MODEL] [--backend-fallback local]
"""

from __future__ import annotations

import argparse
import functools
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Read while gradio is imported, which takes seconds: only once it is clear that there is a page to build.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# The one matrix product of an answer is small: threads for it wait on each other wherever visitors share the cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import ser_core
from page import tidy
from ser_core import bundle, examples, hub, remote
from ser_core.config import Limits
from ser_core.errors import BackendError, SerError

RATE = "SER_RATE"
"""The environment variable of --rate."""

if TYPE_CHECKING:
    from collections.abc import Sequence

    import gradio as gr
    from starlette.middleware import Middleware

    from ser_core.prediction import Precision
    from ser_core.recognizer import Recognizer


def launch(page: gr.Blocks, options: Options) -> str:
    """Serve `page` in the background and return its local address; says on stdout where it can be reached.

    Raises:
        OSError: the address is taken or not this machine's.
    """
    from page.look import ASSETS, head, style, theme

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
        mcp_server=options.auth is None,  # Gradio's MCP server asks nobody for a password
        pwa=True,
        favicon_path=ASSETS / "icon.png",
        footer_links=["api", "settings"],
        app_kwargs={"middleware": [_guard(options)]},
        theme=theme(),
        css=style(),
        head=head(),
    )
    if page.mcp_server_obj is not None:
        # Gradio's MCP server gives out no schema for a list of files that its clients could read.
        page.mcp_server_obj.tool_to_endpoint.pop("batch", None)
    print(f"The page is at {local_url}")
    if share_url:
        print(f"For a week at most, anyone with this link can use it too: {share_url}")
    elif options.share:
        print("A public link could not be had (no network, or the service is down): the page goes on locally.")
    return str(local_url)


def _guard(options: Options) -> Middleware:
    from gradio.utils import get_upload_folder
    from starlette.middleware import Middleware

    from page.guard import Guard
    from page.rate import Rate

    return Middleware(
        Guard,
        uploads=lambda: Path(get_upload_folder()),
        share=options.share,
        private=options.auth is not None,
        rate=Rate(options.rate) if options.rate else None,
    )


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
        rate: how many requests that start work one visitor may send in a minute; None is as many as they like.
        backend: addresses of the model servers that run the network, with commas between them; None runs it here.
        fallback: have it run here, too, while no model server answers.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    auth: tuple[str, str] | None = None
    model: str | None = None
    rate: int | None = None
    backend: str | None = None
    fallback: bool = False


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
    parser.add_argument(
        "--rate", metavar="PER_MINUTE", help=f"how often one visitor may start work (also: {RATE}); default: no limit"
    )
    parser.add_argument(
        "--backend",
        metavar="URL[,URL]",
        help="have the network run by model servers that speak KServe v2, grpc://HOST:PORT/MODEL or http://... (also: "
        f"{remote.VARIABLE}); default: in this process",
    )
    parser.add_argument(
        "--backend-fallback",
        choices=[remote.LOCAL],
        help=f"have it run in this process while no model server answers (also: {remote.FALLBACK})",
    )
    given = parser.parse_args(argv)
    port = given.port or environment.get("GRADIO_SERVER_PORT") or environment.get("PORT") or None
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        parser.error(f"the port must be a number from 1 to 65535, not {port!r}")
    rate = given.rate or environment.get(RATE) or None
    if rate is not None and not (rate.isascii() and rate.isdigit() and 0 < int(rate) <= 10_000):
        parser.error(f"the rate must be a number from 1 to 10000, of requests in a minute, not {rate!r}")
    try:
        servers = remote.asked_for(
            given.backend or environment.get(remote.VARIABLE),
            given.backend_fallback or environment.get(remote.FALLBACK),
        )
    except BackendError as error:
        parser.error(str(error))
    return Options(
        host=given.host or environment.get("GRADIO_SERVER_NAME") or Options.host,
        port=None if port is None else int(port),
        share=given.share or environment.get("GRADIO_SHARE", "").lower() == "true",
        auth=given.auth,
        model=given.model or environment.get(hub.VARIABLE) or None,
        rate=None if rate is None else int(rate),
        **servers,
    )


def _auth(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise argparse.ArgumentTypeError(
            "give a user and a password with a colon between them, as in --auth ann:secret"
        )
    return user, password


def open_page(wanted: str | None, **servers: Any) -> tuple[gr.Blocks, Recognizer]:
    """The page on the model that was asked for, or on the next best where the Hub doesn't give one that can be used.

    Args:
        wanted: see `Options.model`.
        servers: `backend` and `fallback`, see `ser_core.load`; none where the network runs here.

    Raises:
        BundleError: a folder was asked for, and holds no model that can be used, or none that the model servers run;
            or the copy that ships is damaged.
        BackendError: what asks model servers isn't installed.
    """
    search = hub.Search(wanted)
    if search.done() and (named := search.result()).commit is None:
        bundle.outline(named.folder)
    from page import layout

    # The imports that an answer needs take seconds, in which the Hub can answer; where it isn't asked, they can wait.
    for name in ("openvino", "scipy.special", "librosa.feature.spectral"):
        if search.done():
            break
        importlib.import_module(name)
    found = search.result()
    while True:
        try:
            recognizer = ser_core.load(found, **servers)
            # `load` has just held all files of the bundle to its manifest.
            opened = bundle.outline(found.folder)
            load = functools.partial(_load, found)
            return layout.build(recognizer, clips=examples.of(opened), opened=opened, load=load), recognizer
        except BackendError:
            raise
        except Exception as error:
            # A folder was chosen by who runs the page; what comes from the Hub may hold anything, and stops no start.
            if found.commit is None:
                raise
            found = search.instead(found, error)


def _load(found: hub.Located, precision: Precision) -> Recognizer:
    return ser_core.load(found, precision=precision)


def main(argv: Sequence[str] | None = None) -> int:
    """Load the model, serve the page until it is interrupted or told to end; returns the exit code."""
    options = parse(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("ser").setLevel(logging.INFO)
    folder = tidy.Folder.make()
    try:
        return _serve(options, folder.path)
    finally:
        folder.delete()


def _serve(options: Options, folder: Path) -> int:
    try:
        servers = {"backend": options.backend, "fallback": options.fallback} if options.backend else {}
        page, recognizer = open_page(options.model, **servers)
    except SerError as error:
        return _fail(str(error))
    examples_given_out = tidy.files_in(folder)  # by the page itself, before any visitor can come
    try:
        launch(page, options)
    except OSError as error:
        where = f"{options.host}, port {options.port or 'from 7860 on'}"
        return _fail(
            f"The page can't be served at {where}: {error.strerror or error}. Choose another --port or --host."
        )
    # Beside serving: the page is there at once, and whoever is quick only waits for what must be loaded anyway.
    threading.Thread(target=recognizer.warm_up, name="warm-up", daemon=True).start()
    tidy.sweep_regularly(folder, examples_given_out, lambda: page.is_running)
    _wait_until_told()
    page.close(verbose=False)
    return 0


def _wait_until_told() -> None:
    """Wait for Ctrl-C or SIGTERM.

    Gradio's own waiting knows only Ctrl-C, and then leaves the connections of open pages to themselves; the server
    waits for these in vain, and is given up before it has deleted the recordings.
    """
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    told.wait()


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
