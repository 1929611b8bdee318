"""Fetching one file from the Hub: it goes on where it was cut off, and knows when to give up.

Part of the program that runs in the engine image: the standard library and that image's
huggingface_hub, which names addresses and headers and can fetch by Xet.
"""

from __future__ import annotations

import contextlib
import email.utils
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException, InvalidURL
from pathlib import Path
from typing import Any

from vllm_flows.weights_blobs import Partial
from vllm_flows.weights_connections import Watchdog, elsewhere, opener
from vllm_flows.weights_order import Order, UnfixableError
from vllm_flows.weights_patience import Pace, Patience, TransientError

_CHUNK = 1 << 20
_SEGMENT = 16 << 30
"""Bytes of one request. The Hub's CDN answers none for more than 50 GB (huggingface_hub#2991)."""
_PARTIAL_CONTENT = 206
_XET_CAPS = {
    # The preset overrides the caps below, whose defaults make 8 GB (xet-core, reconstruction.rs).
    "HF_XET_HIGH_PERFORMANCE": "0",
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_SIZE": "256mb",
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_PERFILE_SIZE": "64mb",
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_LIMIT": "512mb",
    "HF_XET_RECONSTRUCTION_MIN_PREFETCH_BUFFER": "64mb",
    "HF_XET_NUM_CONCURRENT_RANGE_GETS": "4",  # what older versions have instead
    "HF_XET_CHUNK_CACHE_SIZE_BYTES": "0",
}

Headers = Mapping[str, str] | Message


@dataclass
class Hub:
    """The Hub as this order may ask it.

    `slots` has as many places as files may come at once; once `closed` no further file begins.
    """

    order: Order
    sleep: Callable[[float], None] = time.sleep
    opener: urllib.request.OpenerDirector = field(default_factory=opener)
    clock: Callable[[], float] = time.monotonic
    slots: threading.Semaphore = field(init=False)
    closed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.slots = threading.Semaphore(self.order.at_once)

    def complete(self, partial: Partial) -> None:
        """Fetch what is missing of a file.

        Raises UnfixableError for what the Hub refuses, TemporaryError when patience is at its
        end, and OSError for what the volume refuses.
        """
        patience = Patience(self.order.wait, self.sleep, best=partial.position)
        if partial.file.size == 0:
            partial.path.touch()
        while partial.position < partial.file.size:
            try:
                if self.order.xet and partial.file.sha256 and not partial.position:
                    self._by_library(partial)
                else:
                    self._by_range(partial)
            except TransientError as error:
                patience.wait(error, partial)

    def _by_range(self, partial: Partial) -> None:
        start = partial.position
        until = min(partial.file.size, start + _SEGMENT)
        request = self._request(partial, start, until)
        with (
            Watchdog(self.order.stall) as watchdog,
            self._open(request, partial, watchdog) as answer,
        ):
            if start and not _goes_on(answer, start):
                partial.restart()
            pace = Pace(self.order.stall, self.clock)
            with partial.writing() as write:
                while chunk := self._next(answer, partial, watchdog):
                    write(chunk)
                    if partial.position < until:  # the last bytes may be few
                        pace.count(len(chunk))
        if partial.position < until:
            raise TransientError("the connection ended early")

    def _request(self, partial: Partial, start: int, until: int) -> urllib.request.Request:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # at run time

        order = self.order
        address = hf_hub_url(order.repository, partial.file.name, revision=order.commit)
        request = urllib.request.Request(  # noqa: S310 -- the address is the Hub's
            address, headers=build_hf_headers(token=order.token or False)
        )
        if start or until < partial.file.size:
            request.add_header("Range", f"bytes={start}-{until - 1}")
        return request

    def _open(self, request: urllib.request.Request, partial: Partial, watchdog: Watchdog) -> Any:  # noqa: ANN401 -- urllib's own
        """Return the answer, from wherever the Hub redirects to."""
        with self._failures(watchdog):
            try:
                return self.opener.open(request, timeout=self.order.stall)
            except (urllib.error.HTTPError, ValueError, OverflowError, InvalidURL) as error:
                if not watchdog.has_bitten:  # else it is what remained of an answer
                    raise self._refused(error, request, partial.file.name) from error
            return None

    def _refused(self, error: Exception, request: urllib.request.Request, name: str) -> Exception:
        """Turn what urllib makes of an answer, or of where it leads to, into an error of ours."""
        if not isinstance(error, urllib.error.HTTPError):  # OverflowError: of a port
            return UnfixableError(f"the Hub redirects {name} to what is no address")
        error.close()
        storage = elsewhere(error.url, request.full_url)
        return refusal(error.code, error.headers, self.order, name, storage)

    def _next(self, answer: Any, partial: Partial, watchdog: Watchdog) -> bytes:  # noqa: ANN401 -- urllib's own
        """Return what has come, nothing at the end or once the file is whole."""
        if partial.position >= partial.file.size:
            return b""
        with self._failures(watchdog):
            chunk: bytes = answer.read1(_CHUNK)
        return chunk

    @contextlib.contextmanager
    def _failures(self, watchdog: Watchdog) -> Iterator[None]:
        """Turn what a connection can raise into errors of this program; bound the wait for it."""
        silent = TransientError(f"nothing of it came for {self.order.stall:g} s")
        try:
            with watchdog.bounded():
                yield
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            if watchdog.has_bitten or isinstance(reason, TimeoutError):
                raise silent from error
            raise TransientError(f"{type(reason).__name__}: {reason}") from error
        if watchdog.has_bitten:  # what was cut off may look like an end
            raise silent

    def _by_library(self, partial: Partial) -> None:
        """Let huggingface_hub fetch the file, in no more memory than the Job has; then hash it.

        How long it waits for a Hub that is silent or drips is up to the library.
        """
        for name, value in _XET_CAPS.items():
            os.environ[name] = value  # read when Xet starts
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

        order = self.order
        # Whose HTTP it speaks, httpx or httpx2, depends on its version.
        http = (
            getattr(sys.modules.get(name), "HTTPError", OSError) for name in ("httpx", "httpx2")
        )
        try:
            found = hf_hub_download(
                order.repository,
                partial.file.name,
                revision=order.commit,
                cache_dir=order.cache,
                token=order.token or False,
            )
        except (HfHubHTTPError, EntryNotFoundError, RuntimeError, OSError, *http) as error:
            raise classified(error, order, partial.file.name) from error
        partial.adopt(Path(found).resolve())


def _goes_on(answer: Any, start: int) -> bool:  # noqa: ANN401 -- urllib's own
    """Say whether an answer begins where it was asked to; a server may ignore Range (200)."""
    if answer.status != _PARTIAL_CONTENT:
        return False
    if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise TransientError("the Hub sent another range than it was asked for")
    return True


def refusal(status: int, headers: Headers, order: Order, name: str, storage: str = "") -> Exception:
    """Turn an HTTP status into the error to raise, with a text for people.

    The Hub answers 401 for a repository that it does not show (huggingface_hub, `_http.py`).
    `storage` is the host that answered in the Hub's place: it knows no token, but its signed
    addresses expire, and the next try is given a fresh one.
    """
    if storage and status >= 400:  # noqa: PLR2004 -- HTTP's number
        words = f"{storage}, to which the Hub redirects, answered HTTP {status}"
        return TransientError(words, retry_after(headers, time.time()))
    code, said = headers.get("X-Error-Code", ""), headers.get("X-Error-Message", "")
    if status in {408, 425, 429} or status >= 500:  # noqa: PLR2004 -- HTTP's number
        return TransientError(f"the Hub answered HTTP {status}", retry_after(headers, time.time()))
    hidden = status == 401 and code != "GatedRepo" and "Invalid credentials" not in said  # noqa: PLR2004 -- likewise
    if code == "RepoNotFound" or hidden:
        who = f"the Hub has no {order.repository}, or does not show it to this token"
    elif status in {401, 403}:
        who = f"the Hub refuses {order.repository} to this token"
    elif status == 404:  # noqa: PLR2004 -- likewise
        who = f"the Hub has no {name} in {order.repository} at {order.commit}"
    else:
        who = f"the Hub does not send {name} of {order.repository}"
    return UnfixableError(f"{who} (HTTP {status})")


def retry_after(headers: Headers, now: float) -> float | None:
    """Return the seconds that an answer asks to wait, None when it does not say.

    Retry-After is seconds or a date (RFC 9110); the Hub also sends `RateLimit: "api";r=0;t=55`.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    with contextlib.suppress(ValueError, OverflowError):
        return email.utils.parsedate_to_datetime(text).timestamp() - now
    reset = re.search(r"\br=0\b.*\bt=([0-9]+)", headers.get("RateLimit", ""))
    return float(reset[1]) if reset else None


def classified(error: BaseException, order: Order, name: str) -> Exception:
    """Turn huggingface_hub's error into one of ours.

    The Hub's answer may be the cause of a LocalEntryNotFoundError, which huggingface_hub raises
    for a 403 as for a Hub that is down (`_raise_on_head_call_error` in its file_download.py).
    """
    from huggingface_hub import hf_hub_url

    root = error
    while True:
        answer = getattr(root, "response", None)
        if getattr(answer, "status_code", None):
            own = hf_hub_url(order.repository, name, revision=order.commit)
            storage = elsewhere(str(getattr(answer, "url", own)), own)
            return refusal(answer.status_code, answer.headers, order, name, storage)  # type: ignore[union-attr]  # asked above
        if root.__cause__ is None:
            break
        root = root.__cause__
    if isinstance(root, OSError) and root.errno and not isinstance(root, ConnectionError):
        return root
    return TransientError(f"{type(root).__name__}: {str(root).strip().partition(chr(10))[0]}")
