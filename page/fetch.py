"""Sound files that programs name by an address on the web: fetched within bounds, and never from a private network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import gradio as gr
import httpx
from gradio.utils import get_upload_folder
from gradio_client import utils as client_utils
from safehttpx import AsyncSecureTransport

from page.judging import scratch
from page.room import DISK, FULL
from ser_core.config import Limits

DEADLINE_S = 20.0
"""For all that one call names; so long at most one of the places at the model waits for somebody else's server."""
REDIRECTS = 5

_TITLE = "This address can't be used"
_ADVICE = "Check it, or download the file and send it itself."


class _Refused(Exception):
    """Why an address isn't fetched; the message completes "... " in a sentence for the visitor."""


async def brought_here(inputs: Any) -> Any:
    """The same inputs, with each file that is an address on the web fetched into a file of the page's own.

    Args:
        inputs: of one call, as Gradio gets them: JSON, in which a file is a dict with `path` and `meta`.

    Raises:
        gr.Error: an address isn't public, doesn't answer in time, all of one call hold more than `Limits.max_bytes`, or
            the disk has no room for that.
    """
    left = Limits().max_bytes

    async def bring(file: dict[str, Any]) -> dict[str, Any]:
        nonlocal left
        if not client_utils.is_http_url_like(file["path"]):
            return file
        with DISK.of(left, Path(get_upload_folder())) as there_is:
            if not there_is:
                raise gr.Error(FULL, title=_TITLE, print_exception=False)
            path = await _fetched(file["path"], left)
        left -= path.stat().st_size
        return {**file, "path": str(path), "url": None, "orig_name": path.name}

    try:
        async with asyncio.timeout(DEADLINE_S):
            return await client_utils.async_traverse(inputs, bring, client_utils.is_file_obj_with_meta)
    except _Refused as error:
        reason = str(error)
    except TimeoutError:
        reason = f"it doesn't give the file within {DEADLINE_S:.0f} seconds"
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError):
        reason = "it doesn't answer, or not as a web server does"
    raise gr.Error(f"The address of the sound can't be used: {reason}. {_ADVICE}", title=_TITLE, print_exception=False)


async def _fetched(address: str, most: int) -> Path:
    """Fetch an address of the web, redirects included, into a new file."""
    url = httpx.URL(address)
    for _ in range(1 + REDIRECTS):
        if url.scheme not in {"http", "https"} or not url.host:
            raise _Refused("it is none of the web")
        # The connection goes to the very address that was checked, whatever its name is resolved to the next time.
        transport = AsyncSecureTransport(await public(url.host))
        async with (
            httpx.AsyncClient(transport=transport, trust_env=False, headers=_AS_IT_IS) as client,
            client.stream("GET", url) as got,
        ):
            if got.has_redirect_location:
                url = url.join(got.headers["location"])
                continue
            if got.status_code != 200:
                raise _Refused(f"its server answers with status {got.status_code}")
            if got.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise _Refused("its server compresses what it was asked to give as it is")
            name = client_utils.strip_invalid_filename_characters(PurePosixPath(unquote(url.path)).name, 100)
            return await _written(got, scratch(name or "sound"), most)
    raise _Refused(f"it is redirected more than {REDIRECTS} times")


async def _written(got: httpx.Response, path: Path, most: int) -> Path:
    """Write a body into a file, or delete that where it gets too large, or the time is over."""
    size = 0
    try:
        with path.open("wb") as file:
            async for part in got.aiter_raw(65_536):
                size += len(part)
                if size > most:
                    raise _Refused(f"the files of one call may hold {Limits().max_bytes >> 20} MB, and it gives more")
                file.write(part)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


async def public(host: str) -> str:
    """An address of a host that is anybody's to reach.

    Raises:
        _Refused: it has none, or one that isn't: this machine's, a private network's, a cloud's metadata.
        OSError, UnicodeError: it can't be resolved.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    # One of several is enough to refuse: who names a private address beside a public one means no good.
    if not addresses or not all(map(is_public, addresses)):
        raise _Refused("it isn't on the public web")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address is reached over the public network, and not through another one that it stands for."""
    ip = ipaddress.ip_address(address)
    if ip.version == 6 and (ip.ipv4_mapped or ip.sixtofour or ip.teredo or ip in _NAT64):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


# Some kilobytes of brotli unfold to gigabytes before anybody could count them.
_AS_IT_IS = {"Accept-Encoding": "identity"}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
