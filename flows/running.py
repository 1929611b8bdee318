"""What all flows share: opening a session from their parameters, and waiting for tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from prefect.context import get_run_context
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from tasks.preparation import ensure_namespace
from tasks.running import say
from vllm_flows.errors import VllmFlowsError
from vllm_flows.lease import Lock, current_holder, wall_clock
from vllm_flows.session import Session
from vllm_flows.settings import load_settings

Result = TypeVar("Result")


@contextmanager
def session_for(**overrides: object) -> Iterator[Session]:
    """Open a session; parameters that are None are left to the environment.

    When the run is interrupted or fails, every task that still waits is woken to end.
    """
    session = Session.open(load_settings(**overrides))
    _say_where()
    try:
        # A wrong address fails at once; only who answered before is waited for.
        session.cluster.get("Namespace", session.settings.namespace)
        yield session.patient(say)
    except BaseException:
        session.clock.stop()
        raise


def _say_where() -> None:
    """Name the run's page in the Prefect UI, where there is one."""
    address = url_for("flow-run", obj_id=get_run_context().flow_run.id)  # type: ignore[union-attr]
    if address:
        say(f"this run in the Prefect UI: {address}")


@contextmanager
def locked(session: Session, verb: str) -> Iterator[tuple[Session, bool]]:
    """Hold the namespace's lock while the block runs, the namespace made if there is none.

    Yields a session of which every write first checks the lock, and whether the lock was left
    behind by a run of this machine that was killed. Raises LockedError when another run holds it.
    """
    ensure_namespace(session)
    with Lock.of(session.cluster, verb, say) as lock:
        yield session.guarded(lock.check), lock.after_one_here


def raise_if_locked(session: Session) -> None:
    """Raise LockedError when another run is changing the namespace."""
    holder = current_holder(session.cluster)
    if holder:
        raise holder.refusal(session.settings.namespace, wall_clock())


def run_name() -> str:
    """Name a run after its flow and the namespace it works on."""
    namespace = flow_run.parameters.get("namespace")
    return f"{flow_run.flow_name}-{load_settings(namespace=namespace).namespace}"


def results(futures: Iterable[PrefectFuture[Result]]) -> list[Result]:
    """Wait for all and return their results in order.

    A failure is said when it happens; the first one is raised once all have ended, so that one
    model's trouble does not hide how the others fare.
    """
    pending = list(futures)
    for future in as_completed(pending):
        error = future.result(raise_on_failure=False)
        if isinstance(error, VllmFlowsError):
            say(f"failed: {error.model}: {error.what}" if error.model else f"failed: {error.what}")
    return [future.result() for future in pending]
