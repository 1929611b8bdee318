"""Changing what runs: one wave of helm after the other, each proven before the next.

A model that does not answer after its change is dealt with as its `onFailure` says, and the waves
after it are not begun: what they would have changed serves on as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.futures import PrefectFuture

from tasks.outage import measured
from tasks.readiness import restart_unready, wait_ready
from tasks.release import apply_release
from tasks.running import say
from tasks.smoke import prove
from vllm_flows.completions import answers_prompts
from vllm_flows.desired import Desired
from vllm_flows.differences import entries
from vllm_flows.errors import RolloutError, VllmFlowsError
from vllm_flows.models import Model
from vllm_flows.names import engine_deployment
from vllm_flows.observed import REVISION_ANNOTATION, ClusterState
from vllm_flows.plan import Plan
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds
from vllm_flows.startup import startup_seconds
from vllm_flows.waves import Change, Wave, waves, with_entries

Failures = Mapping[str, VllmFlowsError]


@dataclass(frozen=True)
class Rolling:
    """One run's change of the release; `ours`: an unfinished helm was left by this machine."""

    session: Session
    asking: Session
    desired: Desired
    plan: Plan
    state: ClusterState
    ours: bool

    def run(self) -> dict[str, float]:
        """Bring the release to its values; return how many seconds each changed model was silent.

        Raises RolloutError when a changed model does not answer.
        """
        silence: dict[str, float] = {}
        for wave in self.waves():
            with measured(self.asking, wave.models) as outages:
                self._apply(wave.values, self._reason(wave), ours=self.ours)
                failed = self._once_more(self._prove(wave.models))
                gone_back = self._go_back(wave, failed)
            silence |= {model: outage.seconds for model, outage in outages.items()}
            if failed:
                raise _failure(failed, gone_back, silence)
        return silence

    def waves(self) -> Sequence[Wave]:
        """Return the waves, from what helm holds to what should be."""
        changes = [
            Change(step.model, step.rollout, step.gpus) for step in self.plan.steps if step.rollout
        ]
        return waves(self.state.release.values, self.desired.values, changes)

    def _reason(self, wave: Wave) -> str:
        if not wave.models:
            return self.plan.release_reason
        steps = [step for step in self.plan.steps if step.model in wave.models]
        return "; ".join(f"{step.model}: {step.reason}" for step in steps)

    def _apply(self, values: Mapping[str, Any], reason: str, *, ours: bool) -> None:
        apply_release(self.session, self.desired.chart, values, reason, ours=ours)

    def _prove(self, names: Sequence[str]) -> dict[str, VllmFlowsError]:
        """Wait for the models and ask them; return who does not answer, and why."""
        models = [model for model in self.desired.models if model.name in names]
        ready = failures(
            {model.name: wait_model_ready(self.session, self.desired, model) for model in models}
        )
        asked = [m for m in models if m.name not in ready and answers_prompts(m)]
        return ready | failures({m.name: prove.submit(self.session, m) for m in asked})

    def _once_more(self, failed: Failures) -> Failures:
        """Try those again whose `onFailure` is retry, with new pods."""
        again = [name for name in failed if self._model(name).on_failure == "retry"]
        for name in again:
            say(f"{name}: {failed[name].what}; once more, with new pods")
            restart_unready(self.session, name, engine_deployment(name))
        still = self._prove(again) if again else {}
        return {name: error for name, error in failed.items() if name not in again} | still

    def _go_back(self, wave: Wave, failed: Failures) -> Mapping[str, VllmFlowsError | str]:
        """Bring back what served of those that failed; return its commit, or why it does not."""
        before = entries(self.state.release.values)
        back = [
            name for name in failed if name in before and self._model(name).on_failure != "keep"
        ]
        if not back:
            return {}
        values = with_entries(wave.values, {name: before[name] for name in back})
        reason = "; ".join(f"{name}: {failed[name].what}" for name in back)
        self._apply(values, f"back to what served ({reason})", ours=True)
        still = self._prove(back)
        return {name: still.get(name) or _commit(before[name]) for name in back}

    def _model(self, name: str) -> Model:
        return next(model for model in self.desired.models if model.name == name)


def wait_model_ready(session: Session, desired: Desired, model: Model) -> PrefectFuture[float]:
    """Start waiting for a model's Deployment, for as long as its size may take."""
    budget = startup_seconds(desired.verdicts[model.name].total_bytes)
    return wait_ready.submit(session, model.name, engine_deployment(model.name), budget)


def failures(futures: Mapping[str, PrefectFuture[Any]]) -> dict[str, VllmFlowsError]:
    """Wait for all; return the errors of those that failed, each said when it is known."""
    found = {}
    for name, future in futures.items():
        error = future.result(raise_on_failure=False)
        if isinstance(error, VllmFlowsError):
            say(f"failed: {name}: {error.what}")
            found[name] = error
        elif isinstance(error, BaseException):
            raise error
    return found


def _commit(entry: Mapping[str, Any]) -> str:
    return str(entry["podAnnotations"][REVISION_ANNOTATION])[:8]


def _failure(
    failed: Failures,
    gone_back: Mapping[str, VllmFlowsError | str],
    silence: Mapping[str, float],
) -> RolloutError:
    """Say of each model what it failed by, what serves now, and how long nobody answered."""
    name, first = next(iter(failed.items()))
    lines = [
        f"{model}: {error.what}" + (f" ({error.why})" if error.why else "")
        for model, error in failed.items()
    ]
    what = "; ".join(_what_serves(model, gone_back, silence) for model in failed)
    return RolloutError(
        f"after its change it does not answer: {what}",
        why="\n".join(lines),
        next_command=first.next_command,
        model=name if len(failed) == 1 else None,
    )


def _what_serves(
    model: str, gone_back: Mapping[str, VllmFlowsError | str], silence: Mapping[str, float]
) -> str:
    state = gone_back.get(model)
    if state is None:
        return "it stays as it is, nothing of before was brought back"
    if isinstance(state, VllmFlowsError):
        return f"going back did not help either: {state.what}"
    gap = human_seconds(silence.get(model, 0.0))
    return f"{state} serves again, as before; nobody answered for {gap}"
