"""The door: asks for a model, builds the page on it, serves it. What a visitor meets is in `page`.

python app.py [--share] [--auth USER:PASSWORD] [--host HOST] [--port PORT] [--rate PER_MINUTE] [--drain SECONDS]
              [--model FOLDER or USER/NAME@COMMIT] [--backend grpc://HOST:PORT/MODEL] [--backend-fallback local]
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

# Read while gradio is imported, which takes seconds: only once it is clear that there is a page to build.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# The one matrix product of an answer is small: threads for it wait on each other wherever visitors share the cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import ser_core
from page import tidy
from page.ending import Ending
from page.ending import run as run_as_own
from page.options import Options, parse
from ser_core import bundle, examples, hub
from ser_core.config import Limits
from ser_core.errors import BackendError, SerError

log = logging.getLogger("ser.app")

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.middleware import Middleware

    from page.blocks import Page
    from page.health import Health
    from page.rate import Rate
    from ser_core.prediction import Precision
    from ser_core.recognizer import Recognizer


def launch(page: Page, options: Options, health: Health | None = None) -> str:
    """Serve `page` in the background and return its local address; says on stdout where it can be reached.

    Args:
        page: as `page.layout` builds it.
        options: how it is served.
        health: what is told to who watches it; a page that is always ready if None.

    Raises:
        OSError: the address is taken or not this machine's.
    """
    from page import remembered
    from page.look import ASSETS, head, style, theme
    from page.rate import Rate

    _check_free(options.host, options.port or 0)
    page.rate = Rate(options.rate) if options.rate else None
    page._queue.event_ids_to_events = remembered.Events()
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
        state_session_capacity=remembered.MOST_SESSIONS,
        ssr_mode=False,
        mcp_server=options.auth is None,  # Gradio's MCP server asks nobody for a password
        pwa=True,
        favicon_path=ASSETS / "icon.png",
        footer_links=["api", "settings"],
        app_kwargs={"middleware": [_probes(health), _guard(options, page.rate)]},
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


def _probes(health: Health | None) -> Middleware:
    from starlette.middleware import Middleware

    from page.health import Health, Probes

    if health is None:
        health = Health()
        health.warm.set()
    return Middleware(Probes, health=health)


def _guard(options: Options, rate: Rate | None) -> Middleware:
    from gradio.utils import get_upload_folder
    from starlette.middleware import Middleware

    from page.guard import Guard

    return Middleware(
        Guard,
        uploads=lambda: Path(get_upload_folder()),
        share=options.share,
        private=options.auth is not None,
        rate=rate,
    )


def _check_free(host: str, port: int) -> None:
    """Raise OSError where `host` and `port` (0: any) can't be listened on; Gradio itself looks only at 127.0.0.1."""
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[:1]:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)


def open_page(wanted: str | None, **servers: Any) -> tuple[Page, Recognizer]:
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
    found = search.result() if search.done() else None
    if found is not None and found.commit is None:
        bundle.outline(found.folder)
    from page import layout

    # The imports that an answer needs take seconds, in which the Hub can answer; where it isn't asked, they can wait.
    for name in ("openvino", "scipy.special", "librosa.feature.spectral"):
        if search.done():
            break
        importlib.import_module(name)
    if found is None:
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


def main(argv: Sequence[str] | None = None, ending: Ending | None = None) -> int:
    """Load the model, serve the page until it is interrupted or told to end; returns the exit code.

    Args:
        argv: the command line.
        ending: of this process; None where it goes on.

    Raises:
        SystemExit: it was told to end before the page was there, or the command line is wrong.
    """
    ending = ending or Ending()
    options = parse(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("ser").setLevel(logging.INFO)
    _allow_files()
    folder = tidy.Folder.make()
    try:
        return _serve(options, folder.path, ending)
    except Exception:
        log.exception("The page failed in a way that nobody foresaw")
        return 1
    finally:
        ending.fall_silent()
        folder.delete()


def run() -> NoReturn:
    """`main` as this process's own; see `page.ending`."""
    run_as_own(lambda ending: main(ending=ending))


def _serve(options: Options, folder: Path, ending: Ending) -> int:
    ending.give_up_if_told()
    try:
        servers = {"backend": options.backend, "fallback": options.fallback} if options.backend else {}
        page, recognizer = open_page(options.model, **servers)
    except SerError as error:
        return _fail(str(error))
    # What the page itself has put there, before any visitor can come: the examples, and its lock.
    stays = tidy.files_in(folder)
    page.kept = {os.path.realpath(path) for path in stays}
    from page import remembered
    from page.health import Health

    health = Health(recognizer.is_available)
    if not options.share:  # for which one may have to wait
        ending.hold_on()
    try:
        launch(page, options, health)
    except OSError as error:
        where = f"{options.host}, port {options.port or 'from 7860 on'}"
        return _fail(
            f"The page can't be served at {where}: {error.strerror or error}. Choose another --port or --host."
        )
    # Beside serving: the page is there at once, and whoever is quick only waits for what must be loaded anyway.
    threading.Thread(target=_warm_up, args=(recognizer, health), name="warm-up", daemon=True).start()
    before = functools.partial(remembered.clear, page, folder)
    tidy.sweep_regularly(folder, stays, lambda: page.is_running, page.forget, before)
    ending.wait()
    health.stopping.set()
    if options.drain_s:
        ending.wait(options.drain_s)
    page.close(verbose=False)
    return 0


def _allow_files() -> None:
    """As many open files as the system allows: Gradio holds one for each file of an upload that is still coming."""
    try:
        import resource
    except ImportError:  # Windows, which has no such bound
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 65_536 if most == resource.RLIM_INFINITY else most
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, most))


def _warm_up(recognizer: Recognizer, health: Health) -> None:
    try:
        recognizer.warm_up()
    except Exception:  # visitors meet the same, in words; the page must not be taken for starting for ever
        log.exception("The first calls failed")
    health.warm.set()


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    run()
