"""How the page is served: from the command line, and from the environment where that is silent."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ser_core import hub, remote
from ser_core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = "SER_RATE"
"""The environment variable of --rate."""
DRAIN = "SER_DRAIN"
"""The environment variable of --drain."""


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
        drain_s: seconds to go on serving once the page is told to end, while it tells /health/ready that it does.
        backend: addresses of the model servers that run the network, with commas between them; None runs it here.
        fallback: have it run here, too, while no model server answers.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    auth: tuple[str, str] | None = None
    model: str | None = None
    rate: int | None = None
    drain_s: int = 0
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
        "--drain",
        metavar="SECONDS",
        help=f"go on serving for so long after SIGTERM, for a load balancer to see it (also: {DRAIN}); default 0",
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
    drain = given.drain or environment.get(DRAIN) or "0"
    if not (drain.isascii() and drain.isdigit() and int(drain) <= 3_600):
        parser.error(f"the time to go on serving must be a number from 0 to 3600, of seconds, not {drain!r}")
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
        drain_s=int(drain),
        **servers,
    )


def _auth(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise argparse.ArgumentTypeError(
            "give a user and a password with a colon between them, as in --auth ann:secret"
        )
    return user, password
