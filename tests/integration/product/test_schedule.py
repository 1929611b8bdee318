"""A command and a run that a schedule starts: one changes the cluster, the other names it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from conftest import Product

QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"
ENDS = {"CANCELLED", "COMPLETED", "CRASHED", "FAILED"}
_SLOW = 1_500_000
"""Bytes per second of a Hub that leaves the time to do something while weights are fetched."""
_SOON_SECONDS = 7
"""After it the schedule is due; the scheduler looks at changed deployments every five seconds."""
_EVERY_SECONDS = 20
_PATIENCE = 60.0
_LOOKED_EVERY_SECONDS = 0.01


class Helms:
    """How many helm processes that change a namespace's release were there at once, at most."""

    def __init__(self, namespace: str) -> None:
        self.most = 0
        self._namespace = namespace
        self._over = threading.Event()

    def watch(self) -> None:
        """Look at the process list again and again, until the end."""
        while not self._over.wait(_LOOKED_EVERY_SECONDS):
            self.most = max(self.most, sum(map(self._changes, psutil.process_iter())))

    def _changes(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            command = process.cmdline()
            return command[1:2] == ["upgrade"] and self._namespace in command
        return False

    def end(self) -> None:
        self._over.set()


@pytest.fixture
def helms(product: Product) -> Iterator[Helms]:
    """Watch the process list while the test runs."""
    watching = Helms(product.namespace)
    thread = threading.Thread(target=watching.watch)
    thread.start()
    yield watching
    watching.end()
    thread.join()


def scheduled_run(product: Product) -> str:
    """Let Prefect's scheduler start a run of the namespace, soon; return the run's id."""
    begin = datetime.now(UTC) + timedelta(seconds=_SOON_SECONDS)
    file = str(product.folder / "models.yaml")
    entry = {
        "schedule": {"interval": _EVERY_SECONDS, "anchor_date": begin.isoformat()},
        "parameters": {"namespace": product.namespace, "models_file": file},
    }
    try:
        set_schedules(product, [entry])
        return started(product)
    finally:
        set_schedules(product, [])


def set_schedules(product: Product, schedules: list[object]) -> None:
    """Give the flow `deploy` these schedules."""
    product.prefect(f"deployments/{product.deployment()}", "PATCH", schedules=schedules)


def started(product: Product) -> str:
    """Wait until the schedule has started a run, and return its id."""
    running = {
        "name": {"any_": [f"deploy-{product.namespace}"]},
        "state": {"type": {"any_": ["RUNNING"]}},
    }
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        found = product.prefect("flow_runs/filter", flow_runs=running)
        ours = [str(one["id"]) for one in found if one["auto_scheduled"]]
        if ours:
            return ours[0]
        time.sleep(0.1)
    raise AssertionError(product.prefect("flow_runs/filter"))


def assert_refused(product: Product, run_id: str, holder: int) -> None:
    """Insist that a run of Prefect failed for the lock's sake, and said so without a traceback."""
    assert product.flow_run_until(run_id, ENDS) == "FAILED"
    (run,) = product.prefect("flow_runs/filter", flow_runs={"id": {"any_": [run_id]}})
    assert f"namespace {product.namespace} is locked" in run["state"]["message"]
    assert f"pid {holder} deploy" in run["state"]["message"]
    assert product.flow_run_until(run_id, set(), said=f"pid {holder} deploy")
    assert "Traceback" not in product.said_in_flow_run(run_id)


def test_an_upgrade_beside_a_scheduled_run_is_refused_with_its_name(product: Product, helms: Helms):
    product.models(QWEN)
    product.hub("rate", bytes_per_second=_SLOW)
    run_id = scheduled_run(product)
    product.flow_run_until(run_id, ENDS, said="the weights pod")
    refused = product.run("upgrade", "--yes", code=5).stderr
    (holder,) = re.findall(r"held by \S+ pid (\d+) deploy", refused)
    assert any("prefect" in part for part in psutil.Process(int(holder)).cmdline())
    product.hub("rate", bytes_per_second=None)
    assert product.flow_run_until(run_id, ENDS) == "COMPLETED"
    product.assert_settled()
    assert helms.most == 1


def test_a_scheduled_run_beside_an_upgrade_fails_with_its_name(product: Product, helms: Helms):
    product.models(QWEN)
    product.hub("rate", bytes_per_second=_SLOW // 2)
    with product.watched("upgrade") as command:
        command.until("the weights pod")
        assert_refused(product, scheduled_run(product), command.process.pid)
        product.hub("rate", bytes_per_second=None)
        assert command.ended() == 0, command.said
    product.assert_settled()
    assert helms.most == 1


def test_of_an_upgrade_and_a_scheduled_run_that_begin_together_one_does_it(
    product: Product, helms: Helms
):
    product.models(QWEN)
    product.hub("rate", bytes_per_second=_SLOW)
    run_id = scheduled_run(product)
    with product.watched("upgrade") as command:
        command.until("plan: ")
        product.hub("rate", bytes_per_second=None)
        code = command.ended()
        state = product.flow_run_until(run_id, ENDS)
        assert (code, state) in {(0, "FAILED"), (5, "COMPLETED")}, command.said
        if code == 0:
            assert_refused(product, run_id, command.process.pid)
        else:
            assert "is locked: held by" in command.said
    product.assert_settled()
    assert helms.most == 1
