"""How often one visitor may start work; off unless who runs the page asks for it."""

from __future__ import annotations

import ipaddress
import math
import secrets
import time
from typing import TYPE_CHECKING

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import Scope

_PASS = b"x-page-pass"
_MCP = "/gradio_api/mcp"


class Rate:
    """Counts what visitors start, by their addresses.

    Args:
        per_minute: the most that one may start in any minute, above 0.
    """

    def __init__(self, per_minute: int) -> None:
        self._most = RateLimitItemPerMinute(per_minute)
        self._kept = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._kept)
        self._pass = secrets.token_hex()

    def refusal(self, scope: Scope) -> JSONResponse | None:
        """Count a request that starts work; gives the answer to one that is too many.

        Gradio's MCP server asks the page itself, over HTTP and with the headers that it was asked with. Those requests
        were counted already, and are known by what only this process can have put into them.
        """
        if Headers(scope=scope).get(_PASS.decode()) == self._pass:
            return None
        visitor = of(scope)
        if self._limiter.hit(self._most, visitor):
            if _MCP in scope["path"]:
                scope["headers"] = [*scope["headers"], (_PASS, self._pass.encode())]
            return None
        again = self._limiter.get_window_stats(self._most, visitor).reset_time
        seconds = max(1, math.ceil(again - time.time()))
        said = (
            f"That were more than {self._most.amount} requests in a minute, the most that this page takes from one "
            f"visitor. Try again in {seconds} second{'s' if seconds > 1 else ''}."
        )
        return JSONResponse({"detail": said, "error": said}, status_code=429, headers={"Retry-After": str(seconds)})

    def forget(self) -> None:
        """Forget who started nothing in the last minute; the storage would keep each visitor's address for ever."""
        begun = time.time() - self._most.get_expiry()
        for key, started in list(self._kept.events.items()):
            if not started or started[0].atime < begun:  # the latest comes first
                self._kept.clear(key)


def of(scope: Scope) -> str:
    """Whose request it is: an address, or in IPv6 the network of 2**64 addresses that one visitor is given."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    mapped = getattr(address, "ipv4_mapped", None)
    if address.version == 4 or mapped:
        return str(mapped or address)
    return str(ipaddress.ip_network((address, 64), strict=False))
