"""Runs killed, stopped, paused or cut off from the API: running again reaches the same end.

The kills come in rounds, each at a moment that a seed chooses. Six rounds are made by default;
all thirty with `VLLM_FLOWS_KILLS=0-30 .venv/bin/python -m pytest -s -k killed_at_any_moment
tests/integration/product/test_interruptions.py`, which prints a line for each.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from conftest import Product

    from tests.integration.product.watched import Watched

QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"
PHI = "- name: phi4\n  modelURL: microsoft/Phi-4-mini-instruct\n"
SEED = 20261125
KILLS = slice(*map(int, os.environ.get("VLLM_FLOWS_KILLS", "0-6").split("-")))
LEASE_SECONDS = 38.0
"""A hold and the grace after it, and a little more."""
_PATIENCE = 120.0
_GONE_SECONDS = 30.0
_SLOW = 700_000
"""Bytes per second of a Hub that leaves the time to do something while weights are fetched."""


# --- kill -9


@dataclass(frozen=True)
class Moment:
    """When a run is killed: once a line was said, or so many seconds into `helm upgrade`.

    `fresh`: nothing was there before; else a new commit and a new API key are brought to what runs.
    """

    step: str
    fresh: bool
    seconds: float = 0.0
    helm_too: bool = False

    def __str__(self) -> str:
        into = f" +{self.seconds:.2f} s" if self.step == "in helm" else ""
        before = "fresh" if self.fresh else "changed"
        return f"{before}, {self.step}{into}{', helm too' if self.helm_too else ''}"


STEPS = {
    "access": ("qwen3: Qwen/Qwen3-4B at", 1),
    "plan": ("plan: qwen3:", 1),
    "lock taken": ("release ", 2),
    "secret written": ("Secret vllm-api-key written", 1),
    "claim made": ("claim of 50Gi made", 1),
    "weights job": ("the weights pod", 1),
    "weights complete": ("weights complete", 1),
    "revision": ("release revision", 1),
    "ready": ("qwen3: ready", 1),
    "asked": ("qwen3: answered in", 1),
}


def moments(seed: int) -> list[Moment]:
    """Return thirty moments: each step once, and twenty in `helm upgrade`, in half with helm."""
    chance = random.Random(seed)  # noqa: S311 -- no secret
    steps = [Moment(step, fresh=step == "claim made" or n % 2 == 0) for n, step in enumerate(STEPS)]
    helms = [
        Moment("in helm", fresh=n % 4 < 2, seconds=chance.uniform(0, 1.5), helm_too=n % 2 == 0)
        for n in range(20)
    ]
    chance.shuffle(steps)
    chance.shuffle(helms)
    # Of every three one at a step, so that a few rounds see both.
    mixed = [moment for n in range(10) for moment in (helms[2 * n], steps[n], helms[2 * n + 1])]
    first = next(number for number, moment in enumerate(mixed) if moment.fresh)
    return [*mixed[first:], *mixed[:first]]


def kill(run: Watched, moment: Moment) -> None:
    """Kill the run at the moment, with all its threads; helm goes on unless it is killed too."""
    if moment.step == "in helm":
        run.until_helm()
        time.sleep(moment.seconds)
    else:
        run.until(*STEPS[moment.step])
    run.process.send_signal(signal.SIGSTOP)
    helm = run.helm()
    run.process.kill()
    for process in helm if moment.helm_too else []:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    run.process.wait()


@pytest.mark.timeout(3600)
def test_a_run_killed_at_any_moment_is_made_good_by_the_next(product: Product):
    product.models(QWEN)
    seconds = []
    for number, moment in list(enumerate(moments(SEED)))[KILLS]:
        if moment.fresh:
            product.run("uninstall", "--yes", "--delete-weights")
        else:
            product.hub("commit", repo="Qwen/Qwen3-4B", kind="weights")
        key = f"key-{number}"
        with product.watched(VLLM_API_KEY=key) as run:
            kill(run, moment)
        begin = time.monotonic()
        with product.watched(VLLM_API_KEY=key) as again:
            assert again.ended() == 0, f"{moment}: {again.said}"
        seconds.append(time.monotonic() - begin)
        took = f"{seconds[-1]:.1f} s"
        print(f"round {number}: {moment}: {took}", flush=True)  # noqa: T201 -- the numbers
        assert "qwen3: answered in" in again.said, moment
        assert "not ours" not in again.said, moment
        product.assert_settled()
    print(f"{len(seconds)} kills, running again took {max(seconds):.1f} s at most")  # noqa: T201
    assert max(seconds) < 60 or os.getloadavg()[0] > os.cpu_count()
    assert "nothing to change" in product.install(QWEN, VLLM_API_KEY=key)


def test_a_helm_that_is_killed_is_run_again_by_the_same_run(product: Product):
    product.models(QWEN)
    with product.watched() as run:
        (helm,) = run.until_helm()
        helm.kill()
        assert run.ended() == 0, run.said
    assert "ended by signal 9" in run.said
    product.assert_settled()


# --- Ctrl-C, SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("step", ["weights", "helm", "readiness"])
def test_an_interrupted_run_ends_in_good_order(product: Product, number: int, step: str):
    product.models(QWEN)
    if step == "weights":
        product.hub("rate", bytes_per_second=_SLOW)
    with product.watched() as run:
        run.until_step(step)
        begin = time.monotonic()
        run.process.send_signal(number)
        assert run.ended() == 130, run.said
        print(f"{step}: ended after {time.monotonic() - begin:.1f} s")  # noqa: T201 -- the numbers
    assert "next: the same command again" in run.said
    assert product.release_statuses() == ([] if step == "weights" else ["deployed"])
    assert product.lease_holder() == ""


@pytest.mark.parametrize("step", ["helm", "readiness"])
def test_a_second_ctrl_c_ends_a_run_at_once(product: Product, step: str):
    product.models(QWEN)
    with product.watched() as run:
        run.until_step(step)
        # Held, a run cannot come to its end between the two.
        run.process.send_signal(signal.SIGINT)
        run.until("Ctrl-C again ends at once")
        run.process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert run.ended() == 130, run.said
        print(f"{step}: ended after {time.monotonic() - begin:.2f} s")  # noqa: T201 -- the numbers
    assert "the same command again" in run.said
    assert "qwen3: answered in" in product.install(QWEN)
    product.assert_settled()


def test_a_run_that_is_cancelled_in_the_prefect_ui_ends_in_good_order(product: Product):
    model = {"name": "qwen3", "modelURL": "Qwen/Qwen3-4B"}
    run_id = product.prefect(
        f"deployments/{product.deployment()}/create_flow_run",
        parameters={"namespace": product.namespace, "models": [model]},
        state={"type": "SCHEDULED"},
    )["id"]
    ends = {"CANCELLED", "COMPLETED", "CRASHED", "FAILED"}
    assert product.flow_run_until(run_id, ends, said="helm upgrade: ") == "RUNNING"
    product.prefect(f"flow_runs/{run_id}/set_state", state={"type": "CANCELLING"})
    assert product.flow_run_until(run_id, ends) == "CANCELLED"
    assert set(product.release_statuses()) <= {"deployed"}
    assert product.lease_holder() == ""
    assert "qwen3: answered in" in product.install(QWEN)


# --- the lock


def test_a_run_that_slept_past_its_lease_applies_nothing(product: Product):
    product.models(QWEN)
    product.hub("rate", bytes_per_second=_SLOW)
    with product.watched() as sleeper:
        sleeper.until("the weights pod")
        sleeper.process.send_signal(signal.SIGSTOP)
        product.hub("rate", bytes_per_second=None)
        refused = product.install(PHI, code=5)
        assert f"pid {sleeper.process.pid} deploy" in refused
        time.sleep(LEASE_SECONDS)
        taken_over = product.install(PHI)
        assert "phi4: answered in" in taken_over
        before, pods = product.versions(), product.engine_pods()
        sleeper.process.send_signal(signal.SIGCONT)
        assert sleeper.ended() == 5, sleeper.said
    assert "no longer holds the lock" in sleeper.said
    assert product.versions() == before
    assert product.engine_pods() == pods
    assert product.lease_holder() == ""


def test_an_uninstall_during_an_install_is_refused(product: Product):
    product.models(QWEN)
    product.hub("rate", bytes_per_second=_SLOW)
    with product.watched() as run:
        run.until("the weights pod")
        refused = product.run("uninstall", "--yes", "--delete-weights", code=5).stderr
        assert f"pid {run.process.pid} deploy" in refused
        product.hub("rate", bytes_per_second=None)
        assert run.ended() == 0, run.said
    product.assert_settled()


def test_uninstalling_with_the_namespace_takes_the_lock_with_it(product: Product):
    product.kubectl("create", "namespace", product.namespace)
    said = product.run("uninstall", "--yes", "--delete-namespace").stderr
    assert f"namespace {product.namespace} deleted" in said
    assert "lock" not in said


def suspend_in_the_middle(product: Product, helm: psutil.Process) -> None:
    """Stop helm once it has written its revision, and has not brought it to its end yet."""
    helm.suspend()
    while not product.release_statuses():
        helm.resume()
        time.sleep(0.02)
        helm.suspend()


def kill_in_the_middle(product: Product) -> None:
    """Kill an install and its helm, which has begun a revision."""
    with product.watched() as run:
        (helm,) = run.until_helm()
        suspend_in_the_middle(product, helm)
        run.process.kill()
        with suppress(psutil.NoSuchProcess):
            # The kernel ends a stopped group that lost its parent (SIGHUP), perhaps before this.
            helm.kill()


def test_an_unfinished_install_can_be_removed_at_once(product: Product):
    product.models(QWEN)
    kill_in_the_middle(product)
    while product.release_statuses() == ["deployed"]:
        # On a busy machine helm may come to its end before it is stopped again.
        product.run("uninstall", "--yes", "--delete-weights")
        kill_in_the_middle(product)
    assert product.release_statuses() == ["pending-install"]
    said = product.run("uninstall", "--yes", "--delete-weights").stderr
    assert "release removed" in said
    end = time.monotonic() + _GONE_SECONDS
    while left := product.objects("deployments,pods,secrets,pvc"):
        # What was deleted may still be ending.
        assert all("deletionTimestamp" in one["metadata"] for one in left), left
        assert time.monotonic() < end, left
        time.sleep(0.2)
