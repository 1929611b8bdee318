"""What all flows share: opening a session, the lock, waiting for tasks, and plain logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from prefect.context import get_run_context
from prefect.exceptions import Pause
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from tasks.artifacts import show_for
from tasks.overlap import delete_leftovers
from tasks.plain_errors import tell_errors_plainly
from tasks.preparation import ensure_namespace
from tasks.release import wait_helm_ended
from tasks.running import say
from vllm_flows.chart import check_chart_version
from vllm_flows.clean_errors import secrets_kept
from vllm_flows.errors import (
    ClusterUnavailableError,
    LockedError,
    TimedOutError,
    VllmFlowsError,
)
from vllm_flows.guarded_process import guard_process
from vllm_flows.lease import Lock, current_holder, wall_clock
from vllm_flows.metrics_telling import told
from vllm_flows.session import Session
from vllm_flows.settings import load_settings
from vllm_flows.waiting import Pending, wait_for

Result = TypeVar("Result")

_TURN_SECONDS = 24 * 3600.0
_TURN_POLL_SECONDS = 5.0

# Here: Prefect's own process of a run imports its flow and nothing before it.
guard_process()
tell_errors_plainly()


@contextmanager
def session_for(**overrides: object) -> Iterator[Session]:
    """Open a session; parameters that are None are left to the environment.

    When the run is interrupted or fails, every task that still waits is woken to end. An error that
    leaves the block shows no secret. How the run ended is told as metrics, where they are wanted.
    """
    with secrets_kept():
        settings = load_settings(**overrides)
        show_for(settings.namespace)
        with told(settings, str(flow_run.flow_name), say, goes_on=(Pause,)) as measured:
            check_chart_version(settings, overrides.get("chart_version"))
            session = Session.open(settings, measured)
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
def locked(session: Session, verb: str) -> Iterator[Session]:
    """Hold the namespace's lock while the block runs, the namespace made if there is none.

    Yields a session of which every write first checks the lock. What an interrupted run left is
    deleted, older pods once they have answered what they were asked. Raises LockedError when
    another run holds it.
    """
    ensure_namespace(session)
    with Lock.of(session.cluster, verb, say) as lock, _counting_while_held(lock):
        guarded = session.guarded(lock.check)
        wait_helm_ended(guarded)
        delete_leftovers(guarded)
        yield guarded


@contextmanager
def locked_in_turn(session: Session, verb: str) -> Iterator[Session]:
    """Hold the namespace's lock as `locked` does, once whoever holds it has let it go.

    Raises TimedOutError after a day.
    """
    with ExitStack() as stack:
        yield wait_for(
            lambda: _entered(stack, session, verb),
            seconds=_TURN_SECONDS,
            every=_TURN_POLL_SECONDS,
            say=say,
            out_of_time=lambda last: TimedOutError(last, next_command="vllm-flows unlock"),
            clock=session.clock,
        )


def _entered(stack: ExitStack, session: Session, verb: str) -> Session | Pending:
    try:
        return stack.enter_context(locked(session, verb))
    except LockedError as error:
        return Pending(f"waiting for another run: {error.what}")


@contextmanager
def locked_if_there(session: Session, verb: str) -> Iterator[Session]:
    """Hold the namespace's lock while the block runs, which may delete the namespace.

    Where there is no namespace, or one that is being deleted, nobody can hold a lock or make
    anything, and the block runs without. Yields and raises as `locked` does.
    """
    namespace = session.cluster.get("Namespace", session.settings.namespace)
    if namespace is None or namespace["metadata"].get("deletionTimestamp"):
        yield session
        return
    with Lock.of(session.cluster, verb, say) as lock:
        guarded = session.guarded(lock.check)
        wait_helm_ended(guarded)
        yield guarded


@contextmanager
def _counting_while_held(lock: Lock) -> Iterator[None]:
    """Let the block's outcome, good or bad, count only when the lock was held to its end.

    Raises LockLostError when it was not: what the block saw may be another run's doing.
    """
    try:
        yield
    except VllmFlowsError:
        _check_unless_silent(lock)
        raise
    _check_unless_silent(lock)


def _check_unless_silent(lock: Lock) -> None:
    with suppress(ClusterUnavailableError):
        lock.check()


def raise_if_locked(session: Session) -> None:
    """Raise LockedError when another run is changing the namespace."""
    holder = current_holder(session.cluster)
    if holder:
        raise holder.refusal(session.settings.namespace, wall_clock())


def run_name() -> str:
    """Name a run after its flow, the namespace it works on, and its one model where it has one."""
    given = flow_run.parameters
    namespace = load_settings(namespace=given.get("namespace")).namespace
    return "-".join(filter(None, [flow_run.flow_name, namespace, given.get("model")]))


def results(futures: Iterable[PrefectFuture[Result]]) -> list[Result]:
    """Wait for all and return their results in order.

    The first failure is raised once all have ended, so that one model's trouble does not hide how
    the others fare.
    """
    pending = list(futures)
    all_ended(pending)
    return [future.result() for future in pending]


def all_ended(futures: Iterable[PrefectFuture[Result]]) -> None:
    """Wait for all; a failure is said when it happens."""
    for future in as_completed(list(futures)):
        error = future.result(raise_on_failure=False)
        if isinstance(error, VllmFlowsError):
            say(f"failed: {error.model}: {error.what}" if error.model else f"failed: {error.what}")
