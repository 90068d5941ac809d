"""What stands before Gradio's routes: which are open, how large and how frequent requests may be, and what browsers are
told of the answers.

Gradio serves far more than this page has a use for, among it an address that fetches any other for whoever asks. So
what is open is written here, and all else is closed, also what a new version of Gradio brings.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING, Any

from gradio.route_utils import FnIndexInferError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse, PlainTextResponse

from page.room import DISK, FULL
from page.tidy import SENDING_S
from page.tier import ENDPOINT
from ser_core.config import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from page.rate import Rate

ANSWER_BYTES = 4 * 1024 * 1024
"""The most that a request may hold that isn't an upload, Gradio's bound on one to its MCP server."""
UPLOAD_BYTES = 8 * Limits().max_bytes
"""The most that the files of one upload may hold together."""
STALLED_S = 30.0
"""How long a request's next part may take; `SENDING_S` bounds all. An upload keeps room on the disk, and files open."""

log = logging.getLogger("ser.app")

_API = "/gradio_api"
_FILE = f"{_API}/file="
_OPEN = [
    # The page, and what a browser fetches to show it or to install it. Other sizes of the icon are drawn when they are
    # asked for, however large.
    "/|/config/?|/theme.css|/favicon.ico|/robots.txt|/manifest.json|/(static|assets)/.+|/pwa_icon(/192|/512)?",
    "/log(in|out)/?|/login_check/?",
    # Files, but no addresses: `file=` would fetch these, for anyone and of any size.
    f"{_FILE}(?![A-Za-z][A-Za-z0-9+.-]+:).+",
    f"{_API}/(upload|upload_progress|theme.css|startup-events|app_id/?|login_check/?)",
    f"{_API}/(info/?|openapi.json|queue/(join|data)|cancel|reset/?|heartbeat/[^/]+|stream/[^/]+(/close)?)",
    f"{_API}/((run|api)/[^/]+/?|call/(v2/)?[^/]+(/[^/]*)?)",
    f"{_API}/mcp(/.*)?",
]
OPEN = re.compile("|".join(_OPEN))
"""Paths that are answered."""
STARTS = re.compile(f"/login/?|{_API}/(queue/join|(run|api)/(?!{ENDPOINT}$).+|call/.+|mcp(/.*)?)")
"""Those of them to which a POST starts work, or tries a password. A look at the model servers is no work: open pages
take it by themselves, and many may be behind one address."""
EVENTS = re.compile(f"{_API}/(queue/data|call/(v2/)?[^/]+/[^/]*)")
"""Those at which answers are fetched, as they come."""

_CLOSED = f"There is nothing at this address. The page is at /, and {_API}/info tells what programs may call."
_TOO_LARGE = "This request exceeds the maximum allowed size of {} MB. Send less at once."
_TOO_SLOW = "This request took too long to come in. Check the connection and send it again, or a smaller file."
_UNWRITTEN = "The server could not write your file: its disk may be full. Try again in some minutes, or a smaller file."
_ELSEWHERE = "Another site can't use this page, since it asks for a password. Open the page itself."
_UNFIT = f"This request is not one that the page can take. {_API}/info tells what programs may call, and how."

# Where the page of a share link has its scripts from.
_SHARE = "https://gradio.s3-us-west-2.amazonaws.com"
# Gradio's page has scripts and styles in the document, and makes functions of text; recorders work in blobs.
_PAGE_POLICY = (
    "default-src 'self'{cdn}; script-src 'self'{cdn} 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self'{cdn} 'unsafe-inline'; img-src 'self'{cdn} data: blob:; media-src 'self' data: blob:; "
    "font-src 'self'{cdn} data:; connect-src 'self'{cdn} data: blob:; worker-src 'self' blob: data:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; {framed}"
)
# A Space is shown in a frame of the Hub.
_FRAMED = "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
# A visitor's file is no page of ours, whatever is in it.
_FILE_POLICY = f"sandbox; default-src 'none'; {_FRAMED}"
# With a part of a file Gradio sends back the headers that it was asked with, cookies too.
_KEPT = frozenset(f"content-{part}".encode() for part in ("type", "length", "range", "disposition")) | {
    b"accept-ranges",
    b"etag",
    b"last-modified",
}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=(), payment=(), usb=()",
}


class Guard:
    """ASGI middleware around Gradio's app.

    Args:
        app: Gradio's.
        uploads: gives the folder that uploads are written into.
        share: the page is behind a share link of Gradio's, too.
        private: it asks for a password.
        rate: how often a visitor may start work; None is as often as they like.
    """

    def __init__(
        self,
        app: ASGIApp,
        uploads: Callable[[], Path],
        *,
        share: bool = False,
        private: bool = False,
        rate: Rate | None = None,
    ) -> None:
        self._app, self._uploads, self._private, self._rate = app, uploads, private, rate
        self._policy = _PAGE_POLICY.format(cdn=f" {_SHARE}" if share else "", framed=_FRAMED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with a refusal."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = path_of(scope)
        answer = _Answer(send, self._headers(path), _KEPT if path.startswith(_FILE) else None)
        size = _promised(scope, path)
        refusal = self._refusal(scope, path, size)
        if refusal is not None:
            await refusal(scope, receive, answer)
            return
        bounded = _bounded(receive, path, size)
        if path != f"{_API}/upload":
            await self._through(scope, bounded, answer, path)
            return
        with DISK.of(size, self._uploads()) as there_is:
            if there_is:
                await self._through(scope, bounded, answer, path)
            else:
                await _said(507, FULL)(scope, receive, answer)

    async def _through(self, scope: Scope, receive: Receive, answer: _Answer, path: str) -> None:
        """Let a request through; what Gradio makes of it that is no answer becomes one."""
        try:
            await self._app(scope, receive, answer)
        except (FnIndexInferError, LookupError, TypeError, ValueError, AttributeError) as error:
            # Gradio takes what it is sent as it is: a function's number that there isn't, a body of another shape.
            if answer.began:
                raise
            # Whatever is in the path, it stays one line.
            log.warning("A request to %r was refused (%s)", path[:60], type(error).__name__)
            await _said(400, _UNFIT)(scope, receive, answer)
        except OSError as error:
            if answer.began or path != f"{_API}/upload":
                raise
            # What was written of it is swept away with what is old, see `page.tidy`.
            log.warning("An upload could not be written (%s)", error.strerror)
            await _said(507, _UNWRITTEN)(scope, receive, answer)
        except RuntimeError:
            # Who asks for another's answer, or one that was fetched already, is told in the stream, which then breaks.
            if not (answer.began and EVENTS.fullmatch(path)):
                raise
            await answer({"type": "http.response.body"})

    def _refusal(self, scope: Scope, path: str, size: int) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if not OPEN.fullmatch(path):
            return PlainTextResponse(_CLOSED, status_code=404)
        # Browsers say so of themselves, and hold the visitor's password; following a link is no use by another site.
        if (
            self._private
            and headers.get("sec-fetch-site") == "cross-site"
            and (headers.get("sec-fetch-mode") != "navigate" or scope["method"] not in {"GET", "HEAD"})
        ):
            return _said(403, _ELSEWHERE)
        if size > _most(path):
            return PlainTextResponse(_TOO_LARGE.format(_most(path) >> 20), status_code=413)
        if self._rate is not None and scope["method"] == "POST" and STARTS.fullmatch(path):
            return self._rate.refusal(scope)
        return None

    def _headers(self, path: str) -> dict[str, str]:
        if path.startswith(_FILE):
            return {**_HEADERS, "Content-Security-Policy": _FILE_POLICY, "Cache-Control": "private, no-store"}
        return {**_HEADERS, "Content-Security-Policy": self._policy}


class _Answer:
    """`send` that lets through the headers that are kept (None: all), adds some, and knows whether it has begun."""

    def __init__(self, send: Send, added: dict[str, str], kept: frozenset[bytes] | None) -> None:
        self._send, self._added, self._kept, self.began = send, added, kept, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.began = True
            if self._kept is not None:
                message["headers"] = [(name, value) for name, value in message["headers"] if name.lower() in self._kept]
            MutableHeaders(scope=message).update(self._added)
        await self._send(message)


def path_of(scope: Scope) -> str:
    """The path of a request below the page's own root."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _promised(scope: Scope, path: str) -> int:
    """Bytes that a request says it holds; the most that its path takes where it doesn't say, or comes in pieces,
    whatever it says then.
    """
    headers = Headers(scope=scope)
    size = headers.get("content-length")
    return _most(path) if size is None or "transfer-encoding" in headers else int(size)


def _most(path: str) -> int:
    return UPLOAD_BYTES if path == f"{_API}/upload" else ANSWER_BYTES


def _bounded(receive: Receive, path: str, most: int) -> Receive:
    """`receive` that breaks off what is larger than it may be, or stalls; Gradio cleans up after the error it gets."""
    got, whole, ends = 0, False, time.monotonic() + SENDING_S

    def refusal(status: int, said: str) -> Exception:
        return MultiPartException(said) if path == f"{_API}/upload" else HTTPException(status, said)

    async def next_part() -> Message:
        nonlocal got, whole
        if whole:  # nothing comes but the end of the connection, whenever that may be
            return await receive()
        try:
            async with asyncio.timeout(min(STALLED_S, ends - time.monotonic())):
                message = await receive()
        except TimeoutError:
            raise refusal(408, _TOO_SLOW) from None
        whole = not message.get("more_body", False)
        got += len(message.get("body", b""))
        if got > most:
            raise refusal(413, _TOO_LARGE.format(most >> 20))
        return message

    return next_part


def _said(status: int, sentence: str, headers: dict[str, Any] | None = None) -> JSONResponse:
    return JSONResponse({"detail": sentence, "error": sentence}, status_code=status, headers=headers)
