"""The sockets of the pretended Hub of `hub_server`."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.hub_api import Answer, Request

if TYPE_CHECKING:
    from tests.hub_api import HubApi
    from tests.hub_faults import Fault, Faults


class HubHttp(ThreadingHTTPServer):
    """Listens at a port until it's closed; writes down each request in `seen`, and lets `faults` happen to it."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, api: HubApi, faults: Faults, seen: list[Request]) -> None:
        self.api, self.faults, self.seen = api, faults, seen
        super().__init__(("127.0.0.1", port), _Handler)


class _Hangup(Exception):
    """The connection is closed without a further byte."""


class _Handler(BaseHTTPRequestHandler):
    server: HubHttp
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        # One request for each connection, so that none outlives `refusing`.
        self.close_connection = True
        path, _, query = self.path.partition("?")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        request = Request(self.command, path, query, token, self.headers.get("Range"))
        try:
            cut = self.server.faults.take(request, "cut-request")
            due = int(self.headers.get("Content-Length", 0))
            request = request._replace(body=self.rfile.read(due // 2 if cut else due))
            self.server.seen.append(request)
            if cut:
                raise _Hangup
            self._reply(request)
        except _Hangup:
            # With a reset: a mere close could wait for the client to notice.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        except ConnectionError:
            pass  # the client has gone

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _reply(self, request: Request) -> None:
        faults = self.server.faults
        early = faults.take(request, "status", "hang")
        if early and early.play == "hang":
            early.over.wait()
            raise _Hangup
        answer = early.refused() if early else self.server.api.answer(request)
        if not early and faults.take(request, "lose-answer"):
            raise _Hangup
        if answer.is_file:
            spoilt = faults.take(request, "truncate", "flip", "swell")
            answer = _part(spoilt.spoilt(answer) if spoilt else answer, request.range)
        sending = None if early else faults.take(request, "cut", "slow")
        self._send(answer, sending)

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        body = b"" if self.command == "HEAD" else answer.body
        if fault and fault.play == "cut" and not body:
            raise _Hangup
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if fault is None:
            self.wfile.write(body)
        elif fault.play == "cut":
            self.wfile.write(body[: len(body) // 2])  # and closed in order, so that this half arrives
        else:
            for at in range(0, len(body), fault.block):
                self.wfile.write(body[at : at + fault.block])
                fault.over.wait(fault.pause_s)


def _part(answer: Answer, asked: str | None) -> Answer:
    """The bytes that "bytes=FIRST-" or "bytes=FIRST-LAST" asks for."""
    headers = {"Accept-Ranges": "bytes", **answer.headers}
    if asked is None:
        return replace(answer, headers=headers)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start, size = int(first), len(answer.body)
    if start >= size:
        return Answer(416, {"Content-Range": f"bytes */{size}"})
    body = answer.body[start : int(last) + 1 if last else size]
    return Answer(206, {**headers, "Content-Range": f"bytes {start}-{start + len(body) - 1}/{size}"}, body)
