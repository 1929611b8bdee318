"""Changing what runs: one wave of helm after the other, each proven before the next.

A model that does not answer after its change is dealt with as its `onFailure` says, and the waves
after it are not begun: what they would have changed serves on as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from prefect.futures import PrefectFuture

from flows.running import all_ended, results
from tasks.outage import measured
from tasks.readiness import restart_newest, wait_ready
from tasks.release import apply_release, remove_left_behind, roll_back_release, set_right
from tasks.running import say
from tasks.smoke import prove
from tasks.weights import remember_served
from vllm_flows.completions import Answer
from vllm_flows.desired import Desired
from vllm_flows.differences import entries
from vllm_flows.earlier import step_of
from vllm_flows.errors import ClusterUnavailableError, LockedError, StoppedError, VllmFlowsError
from vllm_flows.going_back import Failures, GoneBack, Past, failure, way_back
from vllm_flows.models import Model, answers_prompts
from vllm_flows.names import engine_deployment
from vllm_flows.outage import Outage
from vllm_flows.plan import Action
from vllm_flows.planning import Decision
from vllm_flows.rollout import AT_REST
from vllm_flows.session import Session
from vllm_flows.startup import startup_seconds
from vllm_flows.values import has_api_key
from vllm_flows.waves import Change, Wave, stops_pods, waves, with_strategy

Result = TypeVar("Result")

OF_NO_MODEL = (ClusterUnavailableError, LockedError, StoppedError)
"""Errors that end the run: nothing is taken back for them, and the next run asks the model."""


@dataclass
class Rolling:
    """One run's change of the release.

    `asking` is a session that only asks.
    Of the models that were changed and proven, `ready` has the seconds until they were ready,
    `answers` what they said, and `silence` for how long nobody answered; of those that were
    `remembered` the claims know it. Of the others, `failed` has why they do not answer, and
    `gone_back` what serves again. `applied` are the values that helm brought last, None before.
    """

    run: Decision
    asking: Session
    applied: Mapping[str, Any] | None = None
    ready: dict[str, float] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    silence: dict[str, Outage] = field(default_factory=dict)
    remembered: set[str] = field(default_factory=set)
    failed: dict[str, VllmFlowsError] = field(default_factory=dict)
    gone_back: dict[str, VllmFlowsError | str] = field(default_factory=dict)

    @property
    def values(self) -> Mapping[str, Any]:
        """The values that the release has now."""
        return self.run.state.release.values if self.applied is None else self.applied

    def through(self) -> None:
        """Bring the release to its values.

        Raises RolloutError when a model does not answer that was changed, now or by a run that was
        killed before it could see to that.
        """
        unproven = tuple(self.run.unproven())
        if unproven:
            self._roll(Wave(self.run.state.release.values, unproven))
        if any(drift.repair for drift in self.run.state.drifts):
            set_right(self.run.session, self.run.state.drifts)
        found = self.waves() if self.run.plan.release_reason else ()
        for number, wave in enumerate(found, 1):
            self._roll(wave, step=step_of(number, len(found)))
        gone = [step.model for step in self.run.plan.steps if step.action is Action.DESTROY]
        if gone:
            remove_left_behind(self.run.session, gone)

    def _roll(self, wave: Wave, step: str | None = None) -> None:
        """Bring one wave, unless it was applied before, and prove its models.

        `step` is what Helm's history is to say of it; None when it was applied.
        """
        with measured(self.asking, wave.models) as outages:
            if step is not None:
                self._apply(wave.values, self._reason(wave), step)
            failed = self._once_more(self._prove(wave.models))
            self.failed |= failed
            gone_back = self._go_back(wave, failed)
        self.gone_back |= gone_back
        self.silence |= outages
        self.remember(name for name in wave.models if name not in {*failed, *gone_back})
        if failed:
            raise failure(failed, gone_back, self.silence)

    def fail(self, failed: Failures) -> None:
        """Note who failed, if anybody did, and raise the first failure."""
        self.failed |= failed
        for error in failed.values():
            raise error

    def hear(self, name: str, found: Answer | VllmFlowsError) -> None:
        """Note what came of asking a model."""
        if isinstance(found, VllmFlowsError):
            self.failed[name] = found
        else:
            self.answers[name] = found

    def remember(self, names: Iterable[str]) -> None:
        """Note on their claims, once, what models answered with: a later run may go back to it."""
        proven = self.ready.keys() & set(names) - self.remembered
        results(
            remember_served.submit(self.run.session, self.run.claim(one.name), self.run.served(one))
            for one in self.run.news()
            if one.name in proven
        )
        self.remembered |= proven

    def waves(self) -> Sequence[Wave]:
        """Return the waves, from what helm holds to what should be."""
        steps = self.run.plan.steps
        changes = [Change(step.model, step.rollout, step.gpus) for step in steps if step.rollout]
        return waves(
            self.run.state.release.values,
            self.run.desired.values,
            changes,
            together=self.run.plan.together,
        )

    def _reason(self, wave: Wave) -> str:
        if not wave.models:
            return self.run.plan.release_reason
        steps = [step for step in self.run.plan.steps if step.model in wave.models]
        return "; ".join(f"{step.model}: {step.reason}" for step in steps)

    def _apply(self, values: Mapping[str, Any], reason: str, step: str = "") -> None:
        desired, session = self.run.desired, self.run.session
        try:
            apply_release(session, desired.chart, values, reason, desired.selectors, step)
        except VllmFlowsError as error:
            known = entries(self.values)
            brought = [name for name, one in entries(values).items() if known.get(name) != one]
            self.failed = dict.fromkeys(brought, error) | self.failed
            raise
        self.applied = values

    def _prove(
        self, names: Sequence[str], *, back: bool = False, keyless: bool = False
    ) -> dict[str, VllmFlowsError]:
        """Wait for the models and ask them; return who does not answer, and why.

        `back`: they went back. `keyless`: they are made without the API key, be there one or not.
        """
        models = [model for model in self.run.desired.models if model.name in names]
        session, desired = replace(self.run.session, keyless=keyless), self.run.desired
        waits = {one.name: wait_model_ready(session, desired, one, back=back) for one in models}
        ready, unready = sorted_out(waits)
        asked = [one for one in models if one.name in ready and answers_prompts(one)]
        answers, silent = sorted_out({one.name: prove.submit(session, one) for one in asked})
        self.ready |= ready
        self.answers |= answers
        return unready | silent

    def _once_more(self, failed: Failures) -> Failures:
        """Try those again whose `onFailure` is retry, with new pods."""
        again = [name for name in failed if self._model(name).on_failure == "retry"]
        for name in again:
            say(f"{name}: {failed[name].what}; once more, with new pods")
            restart_newest(self.run.session, name, engine_deployment(name))
        still = self._prove(again) if again else {}
        return {name: error for name, error in failed.items() if name not in again} | still

    def _go_back(self, wave: Wave, failed: Failures) -> GoneBack:
        """Bring back what served of those that failed; return its commit, or why it does not."""
        pasts = {
            name: self._past(name) for name in failed if self._model(name).on_failure != "keep"
        }
        back = {name: past for name, past in pasts.items() if past}
        if not back:
            return {}
        way = way_back(wave.values, self.run.desired.chart.version, back)
        reason = "; ".join(f"{name}: {failed[name].what}" for name in back)
        if way.past:
            roll_back_release(self.run.session, way, reason)
            self.applied = way.values
        else:
            self._apply(way.values, f"back to what served ({reason})")
        still = self._prove(way.models, back=True, keyless=not has_api_key(way.values))
        if not way.past and stops_pods(way.values):
            self._apply(with_strategy(way.values, AT_REST), "no pods stop before others start")
        return {name: still.get(name) or way.commit(name) for name in way.models}

    def _past(self, name: str) -> Past | None:
        """Return the revision that the model answered in, as its claim remembers; else the last."""
        proven, release = self.run.claim(name).proven, self.run.state.release
        found = self.run.session.helm.past(name, proven) if proven else None
        if found or name not in entries(release.values):
            return found
        return Past(release.finished, release.chart_version, release.values)

    def _model(self, name: str) -> Model:
        return next(model for model in self.run.desired.models if model.name == name)


def wait_model_ready(
    session: Session, desired: Desired, model: Model, *, back: bool = False
) -> PrefectFuture[float]:
    """Start waiting for a model's Deployment, for as long as its size may take."""
    budget = startup_seconds(desired.verdicts[model.name].total_bytes)
    return wait_ready.submit(session, model.name, engine_deployment(model.name), budget, back=back)


def sorted_out(
    futures: Mapping[str, PrefectFuture[Result]],
) -> tuple[dict[str, Result], dict[str, VllmFlowsError]]:
    """Wait for all; return the results and the errors, each of these said when it happens.

    Raises what tells nothing of a model.
    """
    all_ended(futures.values())
    found, failed = {}, {}
    for name, future in futures.items():
        result: Any = future.result(raise_on_failure=False)
        if isinstance(result, VllmFlowsError) and not isinstance(result, OF_NO_MODEL):
            failed[name] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            found[name] = result
    return found, failed
