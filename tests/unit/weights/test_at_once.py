"""How many files come at once, and that a slow disk holds up none of them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from vllm_flows.weights_blobs import Partial, Record
from vllm_flows.weights_download import Hub
from vllm_flows.weights_job import complete, fetch, give_back_memory
from vllm_flows.weights_order import Order, UnfixableError
from vllm_flows.weights_volume import prepare

if TYPE_CHECKING:
    from conftest import Volume


Watch = Callable[[Callable[[Hub], None]], None]


@pytest.fixture
def order(volume: Volume) -> Order:
    order = volume.order("open")
    order = replace(order, at_once=1, files=order.files[:3])
    prepare(order)
    return order


@pytest.fixture
def watch(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Take files from the Hub's folder, and call what watches at the beginning of each."""
    sources = {file.path: file.location for file in volume.commit("open").files.values()}

    def start(look: Callable[[Hub], None]) -> None:
        def bring(hub: Hub, partial: Partial) -> None:
            look(hub)
            shutil.copy(sources[partial.file.name], partial.path)
            partial.read(partial.path)

        monkeypatch.setattr(Hub, "complete", bring)

    return start


def test_the_next_file_comes_while_the_disk_takes_up_the_last_one(
    order: Order,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
):
    begun = threading.Semaphore(0)
    second: list[bool] = []
    first = iter([True])
    watch(lambda _: begun.release())
    keep = Partial.keep

    def keep_slowly(partial: Partial, *arguments: object) -> bool:
        if next(first, False):  # its own beginning counts, too
            second.append(begun.acquire() and begun.acquire(timeout=20))
        return keep(partial, *arguments)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(Partial, "keep", keep_slowly)
    complete(order, Record(order.folder))
    assert second == [True]


def test_no_more_files_come_at_once_than_the_order_says(order: Order, watch: Watch):
    free: list[bool] = []
    watch(lambda hub: free.append(hub.slots.acquire(blocking=False)))
    complete(order, Record(order.folder))
    assert free == [False] * len(order.unique)


def test_no_further_file_begins_when_one_has_failed(order: Order, watch: Watch):
    begun: list[Hub] = []

    def fail(hub: Hub) -> None:
        begun.append(hub)
        raise UnfixableError("refused")

    watch(fail)
    with pytest.raises(UnfixableError):
        complete(order, Record(order.folder))
    assert begun[0].closed.is_set()
    later = Hub(order)
    later.closed.set()
    fetch(later, Partial(order.unique[1], order.blobs), Record(order.folder))
    assert all(each is not later for each in begun)


def test_a_c_library_that_gives_no_memory_back_is_no_obstacle(monkeypatch: pytest.MonkeyPatch):
    asked: list[None] = []
    monkeypatch.setattr("ctypes.CDLL", lambda name: asked.append(name) or object())
    give_back_memory()
    assert asked == [None]
