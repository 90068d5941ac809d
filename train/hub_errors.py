"""What can go wrong with the Hub, each in a sentence of its own: what was wrong, how the repository is left, what next.

`huggingface_hub` raises, of its own: `HfHubHTTPError` for every status from 400 on (`RepositoryNotFoundError` for a
repository that isn't there or may not be seen, `BadRequestError` for 400), `HFValidationError` for a malformed id,
`OfflineModeIsEnabled` where HF_HUB_OFFLINE is set, `LocalTokenNotFoundError` without a token, and ValueError for an
answer that it can't read. What happens below HTTP it passes on as its HTTP library, httpx2, raises it: `ConnectError`,
`TimeoutException`, and `ReadError`, `WriteError`, `RemoteProtocolError` where a connection ends early. A file's failed
upload is a RuntimeError around one of these; the client of its storage raises RuntimeError and Python's own OSErrors.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import httpx2
from huggingface_hub import get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils._validators import validate_repo_id

from ser_core.errors import SerError

if TYPE_CHECKING:
    from collections.abc import Iterator

RepoType = Literal["model", "space"]

FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, OSError, RuntimeError, ValueError)
"""All that `huggingface_hub` raises where the network, the Hub or its answer is at fault."""

TOKENS = "https://huggingface.co/settings/tokens"
_NEW_TOKEN = f"Make one that may write at {TOKENS}, then run `hf auth login` or set HF_TOKEN to it."
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.)(?<!\.lock)")


class PublishError(SerError):
    """Something that could not be published: the message says why, and how the repository is left."""


@dataclass(frozen=True)
class Repo:
    """A repository on the Hub.

    Attributes:
        repo_id: USER/NAME.
        repo_type: what it holds.
        endpoint: address of the Hub that it is on.
    """

    repo_id: str
    repo_type: RepoType
    endpoint: str

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self.endpoint}/{'spaces/' if self.repo_type == 'space' else ''}{self.repo_id}"

    @property
    def unchanged(self) -> str:
        """The sentence that says so."""
        return f"{self.repo_id} is unchanged."


def check_repo_id(repo_id: str) -> None:
    """Raise PublishError where `repo_id` isn't USER/NAME as the Hub takes it."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise _malformed(repo_id) from error
    if repo_id.count("/") != 1:
        raise _malformed(repo_id)


def _malformed(repo_id: str) -> PublishError:
    return PublishError(
        f"{repo_id!r} is no name of a repository. Write USER/NAME: letters, digits, '-', '_' and '.', at most 96 "
        "characters. Nothing was sent."
    )


def check_tag(tag: str) -> None:
    """Raise PublishError where `tag` can't be a tag's name."""
    if not _TAG.fullmatch(tag) or ".." in tag:
        raise PublishError(
            f"{tag!r} can't be a tag. Write letters, digits, '.', '-' and '_', as in v1.2.0. Nothing was sent."
        )


def require_token() -> None:
    """Raise PublishError where neither HF_TOKEN nor `hf auth login` has left a token."""
    if get_token() is None:
        raise PublishError(f"No Hugging Face token was found. Nothing was sent. {_NEW_TOKEN}")


@contextmanager
def explained(repo: Repo, left: str = "", *, creating: bool = False) -> Iterator[None]:
    """Raise what `huggingface_hub` raises within as PublishError.

    Args:
        repo: which repository is at work.
        left: a sentence on how it is left; that it is unchanged if empty.
        creating: whether it is being made.
    """
    try:
        yield
    except FAILURES as error:
        raise explain(error, repo, left or repo.unchanged, creating=creating) from error


def explain(error: BaseException, repo: Repo, left: str, *, creating: bool = False) -> PublishError:
    """What a failure means to the person who publishes; the arguments are those of `explained`."""
    while type(error) is RuntimeError and isinstance(error.__cause__, FAILURES):
        error = error.__cause__
    if isinstance(error, HfHubHTTPError):
        return PublishError(_refused(error, repo, left, creating=creating))
    reason = str(error) or type(error).__name__
    match error:
        case LocalTokenNotFoundError():
            told = f"No Hugging Face token was found. {left} {_NEW_TOKEN}"
        case HFValidationError():
            return _malformed(repo.repo_id)
        case OfflineModeIsEnabled():
            told = f"HF_HUB_OFFLINE is set, so the Hub is not asked. {left} Unset it and run the same command again."
        case httpx2.TimeoutException() | TimeoutError():
            told = f"{repo.endpoint} did not answer in time. {left} {_again('Try again later')}"
        case httpx2.ConnectError() | httpx2.ProxyError():
            told = (
                f"{repo.endpoint} can't be reached: {reason}. {left} Check the network connection, and HF_ENDPOINT and "
                "HTTPS_PROXY where they are set, and run the same command again."
            )
        case httpx2.InvalidURL() | httpx2.UnsupportedProtocol():
            told = f"{repo.endpoint!r} is no address of a Hub: {reason}. {left} Correct or unset HF_ENDPOINT."
        case PermissionError():
            told = f"The Hub's storage refuses the upload: {reason}. {left} {_NEW_TOKEN}"
        case httpx2.TransportError() | ConnectionError() | RuntimeError():
            told = (
                f"The connection to {repo.endpoint} was lost: {reason}. {left} {_again('Check the network connection')}"
            )
        case _:
            told = f"The Hub's answer can't be used: {reason}. {left} {_again('Try again later')}"
    return PublishError(told)


def _again(first: str) -> str:
    return f"{first} and run the same command again; what has arrived is not sent twice."


def _refused(error: HfHubHTTPError, repo: Repo, left: str, *, creating: bool) -> str:
    """The sentences for an HTTP status from 400 on."""
    status, name = error.response.status_code, repo.repo_id
    server = f" ({said})" if (said := " ".join((error.server_message or "").split()).rstrip(".")) else ""
    if creating and repo.repo_type == "space" and status in {402, 403}:
        return (
            f"The Hub doesn't make the Space {name}{server}. Nothing was sent. Hosting a Gradio Space needs a paid "
            "plan (https://huggingface.co/pro) and a token that may write there. A free account may have two Spaces on "
            "ZeroGPU alone, which run only apps with a GPU function, and this has none: take a plan, or run the app "
            "elsewhere."
        )
    user = name.partition("/")[0]
    told = {
        401: f"The Hub doesn't accept the Hugging Face token{server}: it is mistyped, expired or revoked. {left} "
        f"{_NEW_TOKEN}",
        402: f"The Hub asks for payment before it takes this{server}. {left} See "
        "https://huggingface.co/settings/billing.",
        403: f"The token may not write to {name}{server}. {left} Take a token with the right to write for {user} "
        f"({TOKENS}), or your own name in --repo-id.",
        404: f"The Hub knows no {name}, or this token may not see it{server}. {left} Check --repo-id and the token.",
        409: f"The Hub finds this at odds with what {name} holds{server}. {left} {_again('Look at it')}",
        412: f"Somebody else changed {name} meanwhile{server}. {left} Look at it, and run the same command again.",
        413: f"This is more than the Hub takes{server}. {left} Publish smaller files.",
        429: f"The Hub has had too many requests for now{server}. {left} {_wait(error)} and run the same command "
        "again.",
    }
    if status in told:
        return told[status]
    what = f"{status} {error.response.reason_phrase}".strip()
    if status >= 500:
        return (
            f"The Hub has trouble of its own: {what}{server}. {left} {_again('Try again later')} "
            "https://status.huggingface.co says how it is."
        )
    return f"The Hub refused this: {what}{server}. {left} Correct what it names and run the same command again."


def _wait(error: HfHubHTTPError) -> str:
    """How long, as the Hub's headers say: Retry-After in seconds, or `t=` of RateLimit."""
    headers = error.response.headers
    seconds = headers.get("Retry-After", "")
    if not seconds.isdecimal() and (reset := re.search(r"\bt\s*=\s*(\d+)", headers.get("RateLimit", ""))):
        seconds = reset[1]
    return f"Wait {seconds} seconds" if seconds.isdecimal() else "Wait a few minutes"
