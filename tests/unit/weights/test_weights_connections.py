"""Servers that are rude beyond HTTP: each ends in a plain error, in bounded time and memory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vllm_flows.weights_blobs import Partial
from vllm_flows.weights_connections import elsewhere
from vllm_flows.weights_download import Hub, refusal
from vllm_flows.weights_order import File, Order, TemporaryError, UnfixableError
from vllm_flows.weights_patience import TransientError

CONTENT = b"0123456789"
STALL = 0.1
PATIENT = 20.0
"""For what does not stall: a busy machine must not make it seem so."""


@dataclass
class Rude:
    """Answers to requests, by the test; `left` ends with it what drips."""

    answer: Callable[[BaseHTTPRequestHandler], None] = lambda _: None
    port: int = 0
    paths: list[str] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)

    def drip(self, to: BaseHTTPRequestHandler, piece: bytes) -> None:
        """Send a piece again and again, more often than a socket's time limit."""
        while not self.left.wait(STALL / 10):
            to.wfile.write(piece)

    def redirect(
        self, to: BaseHTTPRequestHandler, address: str, length: int = 0, code: int = 302
    ) -> None:
        """Redirect, and promise a body."""
        to.send_response(code)
        to.send_header("Location", address)
        to.send_header("Content-Length", str(length))
        to.end_headers()

    def whole(self, to: BaseHTTPRequestHandler) -> None:
        """Send the file."""
        to.send_response(200)
        to.send_header("Content-Length", str(len(CONTENT)))
        to.end_headers()
        to.wfile.write(CONTENT)


@pytest.fixture
def rude(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rude]:
    made = Rude()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            made.paths.append(self.path)
            self.close_connection = True
            with contextlib.suppress(OSError):  # it is hung up on
                made.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            f"http://127.0.0.1:{made.port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )
        # Set in the Job too: else the library asks about agents before it names its headers.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
        yield made
        made.left.set()
        server.shutdown()


@pytest.fixture
def partial(tmp_path: Path) -> Partial:
    return Partial(File("model.safetensors", len(CONTENT), "a" * 64, ""), tmp_path)


def fetch(partial: Partial, stall: float = STALL) -> None:
    order = Order("o/m", "c" * 40, (partial.file,), partial.blobs, stall=stall, wait=0.0)
    Hub(order, lambda _: None).complete(partial)


@pytest.mark.parametrize(
    "address",
    ["http://[bad/x", "http://a..b/x", "http://127.0.0.1:99999999999999999999/x", "http://h:x/"],
)
def test_a_redirect_to_what_is_no_address_is_a_plain_refusal(
    rude: Rude, partial: Partial, address: str
):
    rude.answer = lambda to: rude.redirect(to, address)
    with pytest.raises(UnfixableError, match=r"redirects model\.safetensors to what is no address"):
        fetch(partial)


def test_a_redirect_in_a_circle_is_a_plain_refusal(rude: Rude, partial: Partial):
    rude.answer = lambda to: rude.redirect(to, to.path)
    with pytest.raises(UnfixableError, match=r"does not send .* \(HTTP 302\)"):
        fetch(partial)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_the_body_of_a_redirect_is_not_read(rude: Rude, partial: Partial, code: int):
    def answer(to: BaseHTTPRequestHandler) -> None:
        if to.path != "/there":
            rude.redirect(to, "/there", 1 << 40, code)
            rude.drip(to, b"x" * 1000)
        rude.whole(to)

    rude.answer = answer
    fetch(partial, PATIENT)
    assert len(rude.paths) == 2
    assert partial.path.read_bytes() == CONTENT


DRIPS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "more headers": (b"HTTP/1.1 200 OK\r\n", b""),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0", b"0"),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: /there\r\nX-Long: ", b"x"),
}


@pytest.mark.parametrize("kind", DRIPS)
def test_what_drips_before_a_byte_of_the_file_is_cut_off(rude: Rude, partial: Partial, kind: str):
    begin, piece = DRIPS[kind]

    def answer(to: BaseHTTPRequestHandler) -> None:
        to.wfile.write(begin)
        rude.drip(to, piece)

    rude.answer = answer
    words = r"model.safetensors: nothing of it came for 0.1 s, 8 times in a row"
    with pytest.raises(TemporaryError, match=words):
        fetch(partial)
    assert len([path for path in rude.paths if path.startswith("/o/m")]) == 8


def test_an_address_that_has_expired_is_asked_for_again(rude: Rude, partial: Partial):
    """Storage's 403 is no word about the token."""

    def answer(to: BaseHTTPRequestHandler) -> None:
        if to.path.startswith("/o/m") and len(rude.paths) < 4:
            rude.redirect(to, f"http://localhost:{rude.port}/signed?X-Amz-Signature=s")
        elif to.path.startswith("/signed"):
            to.send_error(403)
        else:
            rude.whole(to)

    rude.answer = answer
    fetch(partial, PATIENT)
    assert [path[:7] for path in rude.paths] == ["/o/m/re", "/signed"] * 2 + ["/o/m/re"]


def test_storage_that_goes_on_refusing_is_named_without_its_address(rude: Rude, partial: Partial):
    def answer(to: BaseHTTPRequestHandler) -> None:
        if to.path.startswith("/o/m"):
            rude.redirect(to, f"http://localhost:{rude.port}/signed?X-Amz-Signature=s")
        else:
            to.send_error(403)

    rude.answer = answer
    with pytest.raises(TemporaryError) as caught:
        fetch(partial, PATIENT)
    assert str(caught.value) == (
        "model.safetensors: localhost, to which the Hub redirects, answered HTTP 403, "
        "8 times in a row"
    )


def test_a_refusal_of_storage_is_no_refusal_of_the_hub(partial: Partial):
    order = Order("o/m", "c" * 40, (partial.file,), partial.blobs)
    assert isinstance(refusal(403, {}, order, "x", "cdn.test"), TransientError)
    assert isinstance(refusal(403, {}, order, "x"), UnfixableError)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://hub.test/x?y", ""),
        ("http://hub.test:81/x", "hub.test"),
        ("https://u:p@cdn.test/x", "cdn.test"),
    ],
)
def test_another_host_than_the_hubs_is_named(address: str, host: str):
    assert elsewhere(address, "http://hub.test/o/m") == host


def test_a_try_that_is_over_leaves_no_thread(rude: Rude, partial: Partial):
    rude.answer = rude.whole
    fetch(partial, PATIENT)
    assert not [each for each in threading.enumerate() if "_watch" in each.name]
