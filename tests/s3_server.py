"""A server on this machine that speaks as much of S3 as Arrow's client asks for, and keeps its objects in memory.

Of what https://docs.aws.amazon.com/AmazonS3/latest/API/ describes: buckets, objects whole and in ranges, in parts and
in lists. It asks nobody for a password. (moto does more, but wants an older python-dateutil than the pinned one.)
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import io
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

_XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass
class Store:
    """What the server keeps.

    Attributes:
        port: where it listens, on 127.0.0.1.
        buckets: objects by bucket and key: their bytes, and seconds since 1970.
        uploads: parts by upload and number.
        asked: method, bucket and key of each request, in order.
    """

    port: int = 0
    buckets: dict[str, dict[str, tuple[bytes, float]]] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def query(self) -> str:
        """What a URL needs behind its question mark."""
        return f"scheme=http&endpoint_override=127.0.0.1%3A{self.port}&region=us-east-1"


@contextlib.contextmanager
def serving(*buckets: str) -> Iterator[Store]:
    """A server with empty buckets, as long as the context lasts."""
    store = Store(buckets={name: {} for name in buckets})
    handler = type("Handler", (_Handler,), {"store": store})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        store.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    store: Store
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  its name in the library
        pass

    def do_HEAD(self) -> None:
        self._answer()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD  # noqa: N815

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
        body = self._body()
        self.store.asked.append((self.command, bucket, key))
        objects = self.store.buckets.get(bucket)
        if objects is None:
            self._error(404, "NoSuchBucket")
        elif not key:
            self._bucket(objects, query, body)
        elif "uploads" in query or "uploadId" in query:
            self._upload(objects, key, query, body)
        elif self.command == "PUT":
            objects[key] = (body, time.time())
            self._send(200, b"", ETag=_etag(body))
        elif self.command == "DELETE":
            objects.pop(key, None)
            self._send(204, b"")
        elif key in objects:
            self._object(*objects[key])
        else:
            self._error(404, "NoSuchKey")

    def _bucket(self, objects: dict[str, tuple[bytes, float]], query: dict[str, str], body: bytes) -> None:
        if "delete" in query:
            keys = [one.text or "" for one in ElementTree.fromstring(body).iter() if one.tag.endswith("Key")]
            for key in keys:
                objects.pop(key, None)
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            self._xml(f"<DeleteResult {_XMLNS}>{deleted}</DeleteResult>")
        elif "list-type" in query:
            self._xml(_listed(objects, query))
        else:
            self._send(200, b"")

    def _upload(self, objects: dict[str, tuple[bytes, float]], key: str, query: dict[str, str], body: bytes) -> None:
        uploads = self.store.uploads
        if "uploads" in query:
            name = uuid.uuid4().hex
            uploads[name] = {}
            told = f"<Key>{escape(key)}</Key><UploadId>{name}</UploadId>"
            self._xml(f"<InitiateMultipartUploadResult {_XMLNS}>{told}</InitiateMultipartUploadResult>")
        elif self.command == "PUT":
            uploads[query["uploadId"]][int(query["partNumber"])] = body
            self._send(200, b"", ETag=_etag(body))
        elif self.command == "POST":
            found = uploads.pop(query["uploadId"])
            whole = b"".join(found[number] for number in sorted(found))
            objects[key] = (whole, time.time())
            told = f"<Key>{escape(key)}</Key><ETag>{escape(_etag(whole))}</ETag>"
            self._xml(f"<CompleteMultipartUploadResult {_XMLNS}>{told}</CompleteMultipartUploadResult>")
        else:
            uploads.pop(query["uploadId"], None)
            self._send(204, b"")

    def _object(self, content: bytes, changed: float) -> None:
        headers = {"Last-Modified": email.utils.formatdate(changed, usegmt=True), "ETag": _etag(content)}
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            end = min(int(last) + 1 if last else len(content), len(content))
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
            self._send(206, content[int(first) : end], **headers)
        else:
            self._send(200, content, **headers)

    def _body(self) -> bytes:
        """What was sent; HTTP may cut it into chunks, and AWS's client into chunks of its own within those."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = _unchunked(self.rfile, trailer=True)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        own = "aws-chunked" in self.headers.get("Content-Encoding", "")
        return _unchunked(io.BytesIO(body), trailer=False) if own else body

    def _xml(self, text: str) -> None:
        self._send(200, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode(), **{"Content-Type": "application/xml"})

    def _error(self, status: int, code: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _unchunked(source: io.BufferedIOBase, *, trailer: bool) -> bytes:
    """The chunks of a body, each of which stands behind its length in hexadecimal and, where AWS cut, what signs it."""
    whole = b""
    while size := int(source.readline().split(b";")[0], 16):
        whole += source.read(size)
        source.readline()
    while trailer and source.readline().strip():
        pass
    return whole


def _listed(objects: dict[str, tuple[bytes, float]], query: dict[str, str]) -> str:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    most, after = int(query.get("max-keys", 1000)), query.get("continuation-token", "")
    found: dict[str, str] = {}
    for key in sorted(objects):
        head, cut, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
        name = prefix + head + cut if cut else key
        if not key.startswith(prefix) or name <= after:
            continue
        content, changed = objects[key]
        when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(changed))
        described = f"<Size>{len(content)}</Size><LastModified>{when}</LastModified><ETag>{_etag(content)}</ETag>"
        found[name] = (
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
            if cut
            else f"<Contents><Key>{escape(name)}</Key>{described}</Contents>"
        )
    names = list(found)[:most]
    more = f"<NextContinuationToken>{escape(names[-1])}</NextContinuationToken>" if len(found) > most else ""
    truncated = f"<IsTruncated>{str(len(found) > most).lower()}</IsTruncated><KeyCount>{len(names)}</KeyCount>"
    listed = "".join(found[name] for name in names)
    return f"<ListBucketResult {_XMLNS}><Prefix>{escape(prefix)}</Prefix>{truncated}{more}{listed}</ListBucketResult>"


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
