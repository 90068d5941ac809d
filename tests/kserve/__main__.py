"""`python -m tests.kserve --port P --http-port Q --models DIR`: serve a model server's folder until it is ended."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from tests.kserve.models import Faults
from tests.kserve.server import Server

ENDS = {signal.SIGINT, signal.SIGTERM}


def main() -> int:
    """Serve; says on stdout where, once it does."""
    parser = argparse.ArgumentParser(prog="python -m tests.kserve", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, metavar="DIR", help="made by train export --model-server")
    parser.add_argument("--port", type=int, default=0, help="for gRPC (default: a free one)")
    parser.add_argument("--http-port", type=int, default=0, help="for HTTP (default: a free one)")
    parser.add_argument("--slow", type=float, default=0.0, metavar="SECONDS", help="wait so long before each answer")
    parser.add_argument("--fail-every", type=int, default=0, metavar="N", help="be overloaded each N-th time")
    parser.add_argument("--nan", action="store_true", help="answer what is no number")
    parser.add_argument("--shifted", action="store_true", help="answer as another model would")
    given = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # before there are other threads, which would be ended by them
    faults = Faults(slow_s=given.slow, fail_every=given.fail_every, nan=given.nan, shifted=given.shifted)
    with Server(given.models, given.port, given.http_port, faults) as server:
        print(f"gRPC {server.port}, HTTP {server.http_port}", flush=True)
        signal.sigwait(ENDS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
