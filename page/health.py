"""Two addresses for who watches the page: whether its process lives, and whether it should be sent visitors.

They answer what Kubernetes' liveness and readiness probes and most load balancers ask for: a status, 200 or 503.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from page.guard import path_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

LIVE, READY = "/health/live", "/health/ready"


class Health:
    """What the page knows of itself; safe from many threads.

    Args:
        available: whether the network can be asked just now; called at each question, so it must not take long.

    Attributes:
        warm: is set once first calls are paid for.
        stopping: is set once the page was told to end.
    """

    def __init__(self, available: Callable[[], bool] = lambda: True) -> None:
        self._available = available
        self.warm = threading.Event()
        self.stopping = threading.Event()

    def status(self) -> str:
        """`ready`; or why no visitor should be sent: `stopping`, `warming up`, `no model`."""
        if self.stopping.is_set():
            return "stopping"
        if not self.warm.is_set():
            return "warming up"
        return "ready" if self._available() else "no model"


class Probes:
    """ASGI middleware that answers at `LIVE` and `READY`, and lets all else through.

    It stands before the guard, so that no password, rate or origin is asked for: what it tells is no secret.

    Args:
        app: the one behind it.
        health: what it tells of.
    """

    def __init__(self, app: ASGIApp, health: Health) -> None:
        self._app, self._health = app, health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a probe, or hand the request on."""
        path = path_of(scope) if scope["type"] == "http" else ""
        if path == LIVE:
            await JSONResponse({"status": "live"})(scope, receive, send)
        elif path == READY:
            # In a thread: it may ask a server.
            status = await run_in_threadpool(self._health.status)
            await JSONResponse({"status": status}, 200 if status == "ready" else 503)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
