"""The Helm release: brought to the values, or removed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.handover import delete_left, hand_over
from tasks.running import ONCE, RETRIED, say, task
from vllm_flows.chart import Chart
from vllm_flows.drift import Drift
from vllm_flows.errors import LockedError, ReleaseError, TimedOutError
from vllm_flows.going_back import Past, WayBack
from vllm_flows.helm import Helm
from vllm_flows.names import RELEASE, engine_deployment, engine_service
from vllm_flows.observed import Release, ReleaseState
from vllm_flows.release_rules import (
    LONGEST_HELM_SECONDS,
    RELEASE_ACTIONS,
    ReleaseAction,
    wait_before_unlock,
)
from vllm_flows.selectors import Labels, selectors
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds
from vllm_flows.waiting import Pending, wait_for

_LIMIT_SECONDS = 3 * LONGEST_HELM_SECONDS
_POLL_SECONDS = 2.0
_SOON_SECONDS = 0.2
_UNFINISHED = {ReleaseAction.UNLOCK, ReleaseAction.FINISH}


@task(name="helm upgrade", task_run_name="helm upgrade", **ONCE)
def apply_release(
    session: Session,
    chart: Chart,
    values: Mapping[str, Any],
    reason: str,
    wanted: Mapping[str, Labels],
    description: str = "",
) -> int:
    """Install or upgrade the release; return its new revision. Its pods are not waited for.

    Deployments that select something else than is `wanted` are handed over first. Helm keeps the
    `description` in its history.

    What an earlier helm left unfinished is brought to an end first, as `release_rules` has it. When
    the cluster does not answer, helm is run again once it does.
    """
    say(f"helm upgrade: {reason}")
    attempt = _Attempt(session)
    revision = wait_for(
        lambda: attempt.upgrade(chart, values, wanted, description),
        seconds=_LIMIT_SECONDS,
        every=_POLL_SECONDS,
        say=say,
        out_of_time=lambda last: _too_late(last, session.settings.namespace),
        clock=session.clock,
    )
    say(f"release revision {revision} (chart {chart.version})")
    return revision


@task(name="helm rollback", task_run_name="helm rollback", **ONCE)
def roll_back_release(session: Session, way: WayBack, reason: str) -> None:
    """Bring back an earlier revision of the release with its chart; its pods are not waited for.

    Raises as `apply_release` does.
    """
    if way.past is None:
        return
    past, attempt = way.past, _Attempt(session)
    say(f"helm rollback to revision {past.revision}, chart {past.chart_version} ({reason})")
    wait_for(
        lambda: attempt.roll_back(past),
        seconds=_LIMIT_SECONDS,
        every=_POLL_SECONDS,
        say=say,
        out_of_time=lambda last: _too_late(last, session.settings.namespace),
        clock=session.clock,
    )


class _Attempt:
    """One change of the release, however often helm has to be run for it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._found = False

    def upgrade(
        self,
        chart: Chart,
        values: Mapping[str, Any],
        wanted: Mapping[str, Labels],
        description: str,
    ) -> int | Pending:
        """Act on the release's state; return the new revision once helm is through."""
        waiting = self._free()
        if waiting:
            return waiting
        hand_over(self._session, wanted)
        return self._session.helm.upgrade(chart, values, description)

    def roll_back(self, past: Past) -> bool | Pending:
        """Act on the release's state; return once helm is through."""
        waiting = self._free()
        if waiting:
            return waiting
        helm = self._session.helm
        objects = helm.manifest(past.revision)
        hand_over(self._session, selectors(one for one in objects if one["kind"] == "Deployment"))
        helm.roll_back(past.revision)
        return True

    def _free(self) -> Pending | None:
        """Bring an unfinished helm to its end; return what is to be waited for first."""
        release = self._found_release()
        action = RELEASE_ACTIONS[release.state]
        waiting = self._waiting(release)
        if waiting or action not in _UNFINISHED:
            return waiting
        if action is ReleaseAction.FINISH:
            self._session.helm.uninstall()
            say("the removal that was interrupted is finished")
        else:
            self._unlock(release)
        return None

    def unlock(self, *, force: bool) -> None:
        """Take an unfinished revision away; raise LockedError when a helm may still make it."""
        release = self._session.helm.release()
        if RELEASE_ACTIONS[release.state] is not ReleaseAction.UNLOCK:
            return
        waiting = self._waiting(release)
        if waiting and not force:
            raise LockedError(waiting.text, next_command="vllm-flows unlock   (later, or --force)")
        self._unlock(release)

    def remove(self) -> bool | Pending:
        """Remove the release, whatever state it is in; return whether there was one."""
        release = self._found_release()
        if release.state is ReleaseState.ABSENT:
            return self._found
        waiting = self._waiting(release)
        if waiting:
            return waiting
        refused = self._session.refusal_to_remove()
        if refused:
            raise refused
        self._found = True
        self._session.helm.uninstall()
        return True

    def _found_release(self) -> Release:
        """Return the release as it is now; refuse one that somebody else made, be it meanwhile."""
        release = self._session.helm.release()
        if RELEASE_ACTIONS[release.state] is ReleaseAction.REFUSE:
            raise ReleaseError(
                "the release was not made by vllm-flows",
                next_command=f"helm -n {self._session.settings.namespace} uninstall {RELEASE}",
            )
        return release

    def _waiting(self, release: Release) -> Pending | None:
        """Return whose helm has to end before the release may be touched, if anybody's."""
        if RELEASE_ACTIONS[release.state] not in _UNFINISHED:
            return None
        helm = self._session.helm
        busy = helm.busy()
        seconds = wait_before_unlock(release, time.time(), ours=helm.left(release), busy=busy)
        if not seconds:
            return None
        if busy:
            who = f"the helm of an earlier run (to end it: {helm.ending()})"
        else:
            who = f"a helm that is not ours, for {human_seconds(seconds)} at most"
        return Pending(f"the release is {release.status}: waiting for {who}")

    def _unlock(self, release: Release) -> None:
        """Take the unfinished revision out of Helm's history; the one before is current again."""
        self._session.cluster.delete("Secret", f"sh.helm.release.v1.{RELEASE}.v{release.revision}")
        say(f"revision {release.revision} was left {release.status}: unlocked")


def _too_late(last: str, namespace: str) -> TimedOutError:
    return TimedOutError(
        "the release could not be changed",
        why=last,
        next_command=f"helm history {RELEASE} -n {namespace}",
    )


@task(name="unlock release", task_run_name="unlock release", **RETRIED)
def unlock_release(session: Session, *, force: bool) -> None:
    """Free a release that helm left pending; `force`: also when that helm may be at work.

    Raises LockedError without it.
    """
    _Attempt(session).unlock(force=force)


@task(name="set right", task_run_name="set right", **RETRIED)
def set_right(session: Session, drifts: Sequence[Drift]) -> None:
    """Give objects their fields back that somebody changed so that helm cannot."""
    for drift in drifts:
        if drift.repair:
            session.cluster.merge(drift.kind, drift.name, drift.repair)
            say(f"set right: {drift.text}")


@task(name="remove what helm left", task_run_name="remove what helm left", **RETRIED)
def remove_left_behind(session: Session, models: Sequence[str]) -> None:
    """Delete what is left of models that the release no longer has.

    A revision that was taken out of Helm's history, or that failed, may have made objects that no
    later revision knows of. Of those that helm deletes itself nothing is left to do.
    """
    for model in models:
        for kind, name in (
            ("Deployment", engine_deployment(model)),
            ("Service", engine_service(model)),
        ):
            if session.cluster.delete(kind, name):
                say(f"{model}: {kind} {name} was left behind: deleted")
    delete_left(session.cluster, {engine_deployment(model) for model in models})


def wait_helm_ended(session: Session) -> None:
    """Wait for the helm that a killed run of this machine may have left at work.

    As long as that run would have waited for it. Raises TimedOutError when it does not end.
    """
    wait_for(
        lambda: _still_at_work(session.helm) if session.helm.busy() else True,
        seconds=LONGEST_HELM_SECONDS,
        every=_SOON_SECONDS,
        say=say,
        out_of_time=lambda _last: _never_ended(session.helm),
        clock=session.clock,
    )


def _still_at_work(helm: Helm) -> Pending:
    limit = human_seconds(LONGEST_HELM_SECONDS)
    return Pending(
        f"the helm of an earlier run is still at work: waiting for its end, for {limit} at most; "
        f"when it hangs: {helm.ending()}"
    )


def _never_ended(helm: Helm) -> TimedOutError:
    return TimedOutError(
        "the helm of an earlier run does not end",
        why=f"it was waited for for {human_seconds(LONGEST_HELM_SECONDS)}, which none takes",
        next_command=f"{helm.ending()}   (then the same command again)",
    )


@task(name="helm uninstall", task_run_name="helm uninstall", **ONCE)
def remove_release(session: Session) -> bool:
    """Remove the release if there is one; return whether there was.

    A helm that somebody else has at work is waited for; when the cluster does not answer, helm is
    run again once it does. Raises ReleaseError for a release that is not ours: with it would go
    what belongs to it. Raises NoRightError before anything is removed.
    """
    attempt = _Attempt(session)
    found = wait_for(
        attempt.remove,
        seconds=_LIMIT_SECONDS,
        every=_POLL_SECONDS,
        say=say,
        out_of_time=lambda last: _too_late(last, session.settings.namespace),
        clock=session.clock,
    )
    say("release removed" if found else "there was no release")
    return found
