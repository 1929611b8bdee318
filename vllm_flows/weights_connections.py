"""Connections to the Hub and its storage: redirects without the token, an end to what drips.

Part of the program that runs in the engine image: the standard library, and certifi's
certificates where they are.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from email.message import Message
from typing import IO, Any, Self
from urllib.parse import urlsplit

_here = threading.local()
"""`watchdog`: the one of the try that this thread is at."""


class Watchdog:
    """Shuts one try's connection down when a single wait on it lasts longer than `seconds`.

    A socket's own time limit begins anew with every byte: headers, a line of them or of a chunk's
    size, and `100 Continue` could come in drips for ever. To be entered, by the thread that waits.
    """

    def __init__(self, seconds: float) -> None:
        self.has_bitten = False
        self._seconds = seconds
        self._until = math.inf
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch the connections that this thread opens."""
        _here.watchdog = self
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; a connection that is still open stays so for its owner."""
        _here.watchdog = None
        self._ended.set()
        self._thread.join()
        self._take(None)

    @contextlib.contextmanager
    def bounded(self) -> Iterator[None]:
        """Let the body wait for as long as it may, and no longer."""
        self._until = time.monotonic() + self._seconds
        try:
            yield
        finally:
            self._until = math.inf

    def follow(self, connected: socket.socket) -> None:
        """Watch a new connection; TLS will take this socket apart, so it is a double that is kept.

        One at a time: a redirect is followed when the answer that ordered it is closed.
        """
        self._take(connected.dup())

    def _take(self, double: socket.socket | None) -> None:
        with self._lock:
            old, self._socket = self._socket, double
        if old:
            old.close()

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds / 4):
            if time.monotonic() < self._until:
                continue
            self.has_bitten = True
            with self._lock, contextlib.suppress(OSError):  # it may be closed already
                if self._socket:
                    self._socket.shutdown(socket.SHUT_RDWR)


def _connected(*arguments: Any) -> socket.socket:  # noqa: ANN401 -- http.client's own
    made = socket.create_connection(*arguments)
    watchdog: Watchdog | None = getattr(_here, "watchdog", None)
    if watchdog:
        watchdog.follow(made)
    return made


class _Watched(urllib.request.AbstractHTTPHandler):
    """Opens connections that the thread's watchdog knows before a byte is read from them."""

    def do_open(self, http_class: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- urllib's own
        """Return the answer to a request."""

        def connection(*host: Any, **settings: Any) -> Any:  # noqa: ANN401 -- likewise
            made = http_class(*host, **settings)
            made._create_connection = _connected  # noqa: SLF001 -- else TLS hides it until it stands
            return made

        return super().do_open(connection, *arguments, **options)


class _Plain(_Watched, urllib.request.HTTPHandler):
    pass


class _Secure(_Watched, urllib.request.HTTPSHandler):
    pass


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to another host without the token: storage has signed addresses of its own."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message
    ) -> Any:  # noqa: ANN401 -- urllib's own
        """Follow a redirect without its body: urllib would read that into memory to the end."""
        fp.close()
        return super().http_error_302(req, fp, code, msg, headers)  # type: ignore[arg-type]  # a Message all the same

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:  # noqa: ANN401 -- urllib's own
        """Return the request that follows a redirect, without the token on another host."""
        before, address = arguments[0], arguments[-1]
        request = super().redirect_request(*arguments)
        if request and urlsplit(address)[:2] != urlsplit(before.full_url)[:2]:
            request.remove_header("Authorization")
        return request


def opener() -> urllib.request.OpenerDirector:
    """Return what opens addresses, by the environment's proxies and certificates.

    SSL_CERT_FILE alone counts when it is set; else the system's and certifi's certificates do.
    """
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE"):
        with contextlib.suppress(ImportError):
            context.load_verify_locations(importlib.import_module("certifi").where())
    return urllib.request.build_opener(_Plain, _Secure(context=context), Redirects)


def elsewhere(address: str, own: str) -> str:
    """Return the host of an address, empty when it is that of `own`."""
    there = urlsplit(address)
    return "" if there.netloc == urlsplit(own).netloc else there.hostname or ""
