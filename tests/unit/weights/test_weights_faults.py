"""A Hub that misbehaves: the volume ends right, or unmarked with an error that says why."""

from __future__ import annotations

import email.message
import email.utils
import errno
import os
import urllib.request
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import pytest

from sandbox.hub.faults import FaultKind
from vllm_flows.weights_blobs import Partial
from vllm_flows.weights_connections import Redirects, opener
from vllm_flows.weights_download import Hub, _goes_on, classified, refusal, retry_after
from vllm_flows.weights_job import PERMANENT, TEMPORARY, bring
from vllm_flows.weights_order import File, Order, TemporaryError, UnfixableError
from vllm_flows.weights_patience import Patience, TransientError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Volume


@pytest.mark.parametrize(
    ("kind", "after", "count", "again"),
    [
        ("truncate", 0.5, 1, 0.0),
        ("truncate", 0.99, 2, 0.0),
        ("short", 0.5, 3, 0.0),
        ("short", 0.0, 3, 0.0),
        ("corrupt", 0.5, 1, 1.0),
        ("stall", 0.5, 1, 0.0),
        ("rate-limit", 0.0, 3, 0.0),
        ("ignore-range", 0.0, 1, 0.0),
    ],
)
def test_a_fault_that_passes_leaves_a_right_volume(
    volume: Volume, kind: FaultKind, after: float, count: int, again: float
):
    order = replace(volume.order("open"), at_once=1)
    volume.spoil(kind, count, after=after, retry_after="0")
    result = volume.run(order)
    assert result.code == 0, result.said
    assert volume.is_right(order)
    assert not volume.hub.faults
    assert result.said["fetched"] == order.total + again * order.unique[0].size


@pytest.mark.parametrize(
    ("kind", "after", "words"),
    [
        ("truncate", 0.0, "the connection ended early, 8 times in a row"),
        ("short", 0.0, "the connection ended early, 8 times in a row"),
        ("corrupt", 0.5, "has not the hash that the Hub lists, also when fetched again"),
        ("stall", 0.0, "nothing of it came for 0.05 s, 8 times in a row"),
        ("rate-limit", 0.0, "the Hub answered HTTP 429, 8 times in a row"),
    ],
)
def test_a_fault_that_stays_ends_in_bounded_time_without_a_marker(
    reached: Volume, kind: FaultKind, after: float, words: str
):
    order = replace(reached.order("open"), at_once=1, wait=0.0, stall=0.05)
    reached.spoil(kind, 50, after=after, retry_after="0")
    with pytest.raises(TemporaryError, match=words) as caught:
        bring(order)
    assert str(caught.value).startswith(f"{order.unique[0].name}: ")
    assert not order.marker.exists()


def test_a_server_that_ignores_ranges_and_closes_early_is_given_up(
    reached: Volume, monkeypatch: pytest.MonkeyPatch
):
    """It sends much every time, but nothing new."""
    order = replace(reached.order("open"), at_once=1, wait=0.0)
    reached.spoil("truncate", 50, after=0.99)
    monkeypatch.setattr("sandbox.hub.transfer.parse_range", lambda *_: None)
    with pytest.raises(TemporaryError, match="ended early, 8 times in a row"):
        bring(order)
    assert not order.marker.exists()


def test_a_server_that_ignores_ranges_is_taken_from_the_beginning(volume: Volume):
    order = replace(volume.order("open"), at_once=1)
    volume.spoil("truncate", after=0.5)
    volume.spoil("ignore-range")
    result = volume.run(order)
    shard = order.unique[0]
    assert (result.code, result.said["fetched"]) == (0, order.total + shard.size // 2)
    assert volume.is_right(order)


def test_a_hub_that_fails_for_good_says_what_it_answered(volume: Volume):
    volume.hub.failures = [(503, "/resolve/")] * 50
    order = replace(volume.order("open"), at_once=1)
    result = volume.run(order)
    assert result.code == TEMPORARY
    assert result.said["error"].endswith("the Hub answered HTTP 503, 8 times in a row")
    assert not order.marker.exists()


def test_a_token_revoked_between_two_files_is_not_tried_again(volume: Volume):
    order = replace(volume.order("open"), at_once=1)
    assert volume.run(replace(order, files=order.files[:1])).code == 0
    volume.hub.failures = [(403, "")] * 50
    result = volume.run(order)
    assert (result.code, "(HTTP 403)" in result.said["error"]) == (PERMANENT, True)
    assert not order.marker.exists()


def test_a_damaged_file_withdraws_the_marker_before_anything_else(volume: Volume):
    order = volume.order("open")
    assert volume.run(order).code == 0
    (order.blobs / order.unique[0].etag).write_bytes(b"x" * order.unique[0].size)
    volume.hub.failures = [(403, "")] * 50
    assert volume.run(order).code == PERMANENT
    assert not order.marker.exists()


def test_a_full_volume_says_what_is_missing_and_what_to_do(
    reached: Volume, monkeypatch: pytest.MonkeyPatch
):
    order = replace(reached.order("open"), at_once=1)
    write = os.write

    def full(target: int, data: Any) -> int:
        if os.lseek(target, 0, os.SEEK_CUR) > 300_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(target, data[:100_000])

    monkeypatch.setattr("vllm_flows.weights_blobs.os.write", full)
    with pytest.raises(UnfixableError, match=r"volume is full and \d+ bytes are missing.*pvcSto"):
        bring(order)
    assert not order.marker.exists()


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EROFS, UnfixableError), (errno.EACCES, UnfixableError), (errno.EIO, TemporaryError)],
)
def test_what_the_volume_refuses_is_said(
    volume: Volume, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "blobs")

    monkeypatch.setattr("vllm_flows.weights_job.prune", refuse)
    with pytest.raises(kind, match=rf"the volume: {os.strerror(number)} \(blobs\)"):
        bring(volume.order("open"))


ORDER_NAME = "model.safetensors"


def message(**headers: str) -> email.message.Message:
    found = email.message.Message()
    for key, value in headers.items():
        found[key.replace("_", "-")] = value
    return found


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return Order("o/m", "c" * 40, (File(ORDER_NAME, 10, "a" * 64, ""),), tmp_path)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "words"),
    [
        (401, {}, UnfixableError, "has no o/m, or does not show it to this token"),
        (401, {"X_Error_Code": "GatedRepo"}, UnfixableError, "refuses o/m to this token"),
        (401, {"X_Error_Message": "Invalid credentials in X"}, UnfixableError, "refuses o/m to"),
        (403, {}, UnfixableError, "refuses o/m to this token"),
        (404, {"X_Error_Code": "RepoNotFound"}, UnfixableError, "has no o/m, or does not show"),
        (404, {"X_Error_Code": "EntryNotFound"}, UnfixableError, f"has no {ORDER_NAME} in o/m at"),
        (416, {}, UnfixableError, f"does not send {ORDER_NAME} of o/m"),
        (451, {}, UnfixableError, f"does not send {ORDER_NAME} of o/m"),
        (408, {}, TransientError, "HTTP 408"),
        (429, {}, TransientError, "HTTP 429"),
        (500, {}, TransientError, "HTTP 500"),
        (504, {}, TransientError, "HTTP 504"),
    ],
)
def test_each_status_has_its_error(
    order: Order, status: int, headers: dict[str, str], kind: type[Exception], words: str
):
    error = refusal(status, message(**headers), order, ORDER_NAME)
    assert isinstance(error, kind)
    assert words in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "goes_on"),
    [
        (206, {"Content-Range": "bytes 7-99/100"}, True),
        (200, {}, False),
        (200, {"Content-Range": "bytes 7-99/100"}, False),
    ],
)
def test_an_answer_goes_on_where_it_was_asked_to_or_begins_anew(
    status: int, headers: dict[str, str], *, goes_on: bool
):
    assert _goes_on(SimpleNamespace(status=status, headers=headers), 7) is goes_on


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Range": "bytes 0-99/100"}, {"Content-Range": "bytes 70-99/100"}],
)
def test_an_answer_of_another_range_is_not_put_behind_what_is_there(headers: dict[str, str]):
    with pytest.raises(TransientError, match="another range"):
        _goes_on(SimpleNamespace(status=206, headers=headers), 7)


NOW = 1_767_600_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "17"}, 17.0),
        ({"Retry_After": email.utils.formatdate(NOW + 40, usegmt=True)}, 40.0),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({"RateLimit": '"resolvers";r=0;t=55'}, 55.0),
        ({}, None),
    ],
)
def test_the_time_that_the_hub_asks_for_is_understood(
    headers: dict[str, str], seconds: float | None
):
    assert retry_after(message(**headers), NOW) == seconds


def test_waits_double_are_spread_and_bounded():
    patience = Patience(1.0, lambda _: None)
    for failures, longest in [(1, 1.0), (2, 2.0), (3, 4.0), (7, 60.0)]:
        patience.failures = failures
        assert longest / 2 <= patience.seconds(None) <= longest
    assert 10 < patience.seconds(10.0) <= 11
    assert 300 < patience.seconds(300.0) <= 301
    assert patience.seconds(-5.0) <= 1


@pytest.mark.parametrize(("after", "words"), [(1200.0, "20 minutes"), (1e300, "1440 minutes")])
def test_a_hub_that_wants_longer_peace_than_its_window_is_left_in_it(
    order: Order, after: float, words: str
):
    waits: list[float] = []
    patience, partial = Patience(1.0, waits.append), Partial(order.files[0], order.blobs)
    patience.wait(TransientError("the Hub answered HTTP 429", 300.0), partial)
    with pytest.raises(UnfixableError, match=f"HTTP 429, to be asked again in {words}: run"):
        patience.wait(TransientError("the Hub answered HTTP 429", after), partial)
    assert len(waits) == 1


def test_bytes_that_are_new_begin_the_count_anew(order: Order):
    waits: list[float] = []
    patience, partial = Patience(1.0, waits.append), Partial(order.files[0], order.blobs)
    for step in range(30):
        partial.position = step << 20
        patience.wait(TransientError("cut"), partial)
    assert len(waits) == 30
    assert max(waits) <= 2
    for _ in range(6):
        patience.wait(TransientError("cut"), partial)
    with pytest.raises(TemporaryError, match="cut, 8 times in a row"):
        patience.wait(TransientError("cut"), partial)


@dataclass
class Drip:
    """A server that sends `size` bytes at a time, and the clock on which that takes `seconds`.

    Before them it sends `first` bytes at once. It has `left` bytes to send.
    """

    size: int
    seconds: float
    first: int = 0
    left: int = 1_000_000
    now: float = 0.0
    asked: list[str | None] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    status = 206

    def open(self, request: urllib.request.Request, timeout: float) -> Drip:
        assert timeout == 60
        self.asked.append(request.get_header("Range"))
        start = (self.asked[-1] or "bytes=0-").removeprefix("bytes=")
        self.headers = {"Content-Range": f"bytes {start}"}
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read1(self, _limit: int) -> bytes:
        at_once, self.first = self.first, 0
        self.now += 0.0 if at_once else self.seconds
        count = min(at_once or self.size, self.left)
        self.left -= count
        return b"x" * count


SLOW = "fewer than 1024 bytes a second came for 60 s, 8 times in a row"


def begun(order: Order, size: int) -> Partial:
    order.blobs.mkdir(parents=True)
    return Partial(replace(order.files[0], size=size), order.blobs)


def asked_of(drip: Drip, order: Order) -> Hub:
    return Hub(order, drip.waits.append, drip, clock=lambda: drip.now)  # type: ignore[arg-type]  # as urllib's


def test_a_hub_that_drips_is_as_good_as_silent(order: Order):
    drip, partial = Drip(1, 0.5), begun(order, 1_000_000)
    with pytest.raises(TemporaryError, match=SLOW):
        asked_of(drip, order).complete(partial)
    assert (partial.position, drip.now) == (8 * 120, 8 * 60)
    assert drip.asked[:2] == [None, "bytes=120-999999"]


def test_a_fast_start_excuses_no_drip(order: Order):
    drip, partial = Drip(1, 1.0, first=500_000), begun(order, 1_000_000)
    with pytest.raises(TemporaryError, match=SLOW):
        asked_of(drip, order).complete(partial)
    assert partial.position == 500_000 + 9 * 60


@pytest.mark.parametrize(
    ("at_once", "seconds", "size"),
    [
        (1024, 1.0, 1_000_000),  # slow, but not as slow as that
        (61_440, 60.0, 3 * 61_440 + 5),  # the last bytes may be few
        (1_000_000, 59.0, 10_000_000),  # it pauses now and then
    ],
)
def test_a_hub_that_is_slow_is_waited_for(order: Order, at_once: int, seconds: float, size: int):
    drip, partial = Drip(at_once, seconds, left=size), begun(order, size)
    asked_of(drip, order).complete(partial)
    assert (partial.position, drip.asked, drip.waits) == (size, [None], [])


def test_a_hub_that_is_down_is_no_refusal(order: Order):
    down = LookupError("cannot find the requested files")
    down.__cause__ = ConnectionError("Connection refused")
    error = classified(down, order, ORDER_NAME)
    assert isinstance(error, TransientError)
    assert str(error) == "ConnectionError: Connection refused"


def test_a_full_disk_under_the_library_is_the_volumes_fault(order: Order):
    full = OSError(errno.ENOSPC, "No space left on device")
    assert classified(full, order, ORDER_NAME) is full


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("http://hub.test/elsewhere", True),
        ("http://storage.test/x", False),
        ("https://hub.test/x", False),
        ("http://hub.test:81/x", False),
    ],
)
def test_the_token_stays_with_the_host_that_it_is_for(address: str, *, kept: bool):
    request = urllib.request.Request("http://hub.test/f", headers={"Authorization": "Bearer t"})
    request.add_header("Range", "bytes=5-9")
    handler = Redirects()
    followed = handler.redirect_request(request, None, 302, "Found", message(), address)
    assert followed
    assert followed.has_header("Authorization") == kept
    assert followed.get_header("Range") == "bytes=5-9"


def test_certificates_and_proxies_are_the_environments(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    kinds = {type(handler).__name__: handler for handler in opener().handlers}
    assert kinds["ProxyHandler"].proxies["https"] == "http://proxy.test:3128"  # type: ignore[attr-defined]  # urllib's own
    assert "Redirects" in kinds
