"""Changing what runs: one wave of helm after the other, each proven before the next.

A model that does not answer after its change is dealt with as its `onFailure` says, and the waves
after it are not begun: what they would have changed serves on as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from prefect.futures import PrefectFuture

from flows.overlapping import Overlap
from flows.running import results
from flows.waits import sorted_out, wait_model_ready, wait_router
from tasks.outage import measured
from tasks.overlap import let_go
from tasks.readiness import restart_newest
from tasks.release import apply_release, remove_left_behind, roll_back_release, set_right
from tasks.running import say
from tasks.smoke import prove
from tasks.trial import compare_with_before
from tasks.weights import remember_refused, remember_served
from vllm_flows.common_changes import key_changes
from vllm_flows.completions import Answer
from vllm_flows.differences import entries
from vllm_flows.earlier import step_of
from vllm_flows.errors import VllmFlowsError
from vllm_flows.going_back import Failures, GoneBack, Past, WayBack, failure, way_back
from vllm_flows.metrics import ROLLOUT, of_rollout
from vllm_flows.models import Model, answers_prompts
from vllm_flows.names import engine_deployment
from vllm_flows.outage import Outage
from vllm_flows.plan import Action
from vllm_flows.planning import Decision
from vllm_flows.refusing import held_against_tried
from vllm_flows.rollout import AT_REST
from vllm_flows.session import Session
from vllm_flows.values import has_api_key
from vllm_flows.waves import Change, Wave, router_lags, stops_pods, waves, with_strategy

_GOES_ON = "the next run asks these first (vllm-flows upgrade)"


@dataclass
class Rolling:
    """One run's change of the release.

    `asking` is a session that only asks. `comparing`: answers have to be as good as a check saw
    them before. `held` are the models of which an interrupted run left older pods beside new ones.
    Of the models that were changed and proven, `ready` has the seconds until they were ready,
    `answers` what they said, and `silence` for how long nobody answered; of those that were
    `remembered` the claims know it. Of the others, `failed` has why they do not answer, and
    `gone_back` what serves again. `applied` are the values that helm brought last, None before.
    """

    run: Decision
    asking: Session
    comparing: bool = False
    applied: Mapping[str, Any] | None = None
    ready: dict[str, float] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    silence: dict[str, Outage] = field(default_factory=dict)
    remembered: set[str] = field(default_factory=set)
    failed: dict[str, VllmFlowsError] = field(default_factory=dict)
    gone_back: dict[str, VllmFlowsError | str] = field(default_factory=dict)
    held: set[str] = field(init=False)

    def __post_init__(self) -> None:
        """Take over what the run before left."""
        self.held = set(self.run.state.held)

    @property
    def values(self) -> Mapping[str, Any]:
        """The values that the release has now."""
        return self.run.state.release.values if self.applied is None else self.applied

    def through(self) -> None:
        """Bring the release to its values.

        Raises RolloutError when a model does not answer that was changed, now or by a run that was
        killed before it could see to that.
        """
        state, unproven = self.run.state, tuple(self.run.unproven())
        if any(drift.repair for drift in state.drifts):
            set_right(self.run.session, state.drifts)
        changing = {step.model for step in self.run.plan.steps if step.rollout}
        for name in sorted(self.held - changing.union(unproven)):
            let_go(self.run.session, engine_deployment(name))
        if unproven and not (state.drifts or router_lags(state.release.values)):
            self._roll(Wave(state.release.values), unproven)
            unproven = ()
        found = self.waves() if self.run.plan.release_reason else ()
        number, count = 0, sum(wave.helms for wave in found)
        for wave in found:
            steps = [step_of(number + each, count) for each in range(1, wave.helms + 1)]
            self._roll(wave, unproven, steps)
            number, unproven = number + wave.helms, ()
        gone = [step.model for step in self.run.plan.steps if step.action is Action.DESTROY]
        if gone:
            remove_left_behind(self.run.session, gone)

    def _roll(self, wave: Wave, unproven: Sequence[str] = (), steps: Sequence[str] = ()) -> None:
        """Bring one wave, unless it was applied before; prove its models and those `unproven`.

        `steps` are what Helm's history is to say of each helm; none when it was applied. Where
        somebody changed something, the first helm sets that right before those `unproven` are
        judged.
        """
        names, way = (*wave.models, *unproven), None
        with measured(self.asking, names) as outages, self._overlap(names) as overlap:
            late = self._bring(wave, names, steps, overlap)
            seen = self._prove([name for name in names if name not in late])
            failed = self._once_more({**late, **seen}, overlap)
            self.failed |= failed
            if failed:
                way = self._way_back(wave, failed)
                self.gone_back |= self._go_back(way, failed, overlap)
        self.silence |= outages
        if self.silence:
            self.asking.measured[ROLLOUT] = of_rollout(self.silence)
        for name, outage in outages.items():
            if outage.load:
                say(f"{name}: {outage.load}")
        self.remember(name for name in names if name not in {*failed, *self.gone_back})
        if failed:
            refused = self._refuse(way, failed) if way else ()
            raise failure(failed, self.gone_back, self.silence, way, refused)

    @contextmanager
    def _overlap(self, names: Collection[str]) -> Iterator[Overlap]:
        """Yield who keeps older pods beside new ones; nobody does any more when the block is done.

        Who breaks it off leaves them so: nobody was seen to answer that could take over.
        """
        overlap = Overlap(self.run.session, self.held & set(names))
        self.held -= overlap.held
        try:
            yield overlap
            overlap.let_go(set(overlap.held))
        finally:
            for name in sorted(overlap.held):
                say(f"{name}: its older replicas are kept beside the new ones: {_GOES_ON}")

    def _bring(
        self, wave: Wave, names: Sequence[str], steps: Sequence[str], overlap: Overlap
    ) -> dict[str, VllmFlowsError]:
        """Run helm for the wave; return who failed before its older pods were ended.

        These are who does not answer beside them, or never gets ready by the values that come
        ahead of the router's. Without `steps` helm was run before, maybe by an interrupted run.
        """
        together = wave.ahead is not None
        if steps:
            self._apply(wave.ahead or wave.values, self._reason(wave), steps[0])
            overlap.begin(wave.models)
        failed = self._early(wave.models if together else overlap.held, overlap)
        if together:
            keyed = has_api_key(wave.values)
            told = "hold the new API key" if keyed else "want no API key any more"
            say(f"all engines {told}; the router follows")
            self._apply(wave.values, self._reason(wave), steps[-1])
        self._relieve([name for name in names if name not in failed], overlap, router=together)
        return failed

    def _early(self, names: Collection[str], overlap: Overlap) -> dict[str, VllmFlowsError]:
        """Wait for new pods, each asked by itself where older ones are held; return who failed."""
        models = self._models(names)
        ready, failed = sorted_out(self._waits(self.run.session, models, beside=overlap.held))
        self.ready |= ready
        return failed

    def _relieve(self, names: Sequence[str], overlap: Overlap, *, router: bool = False) -> None:
        """End the older pods of these; a `router` that was changed has to be ready before."""
        if router or overlap.held.intersection(names):
            wait_router(self.run.session)
        overlap.relieve(names)

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

    def _refuse(self, way: WayBack, failed: Failures) -> Collection[str]:
        """Note on their claims which commits did not do, of models that serve another one again.

        Return these models.
        """
        again = [name for name in failed if isinstance(self.gone_back.get(name), str)]
        found = {name: held_against_tried(self.run, way, name, failed[name]) for name in again}
        refused = {name: why for name, why in found.items() if why}
        results(
            remember_refused.submit(
                self.run.session, self.run.claim(name), self.run.commit(name), why
            )
            for name, why in refused.items()
        )
        return refused

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
        session = replace(self.run.session, keyless=keyless)
        models = self._models(names)
        waits = self._waits(session, models, back=back)
        if models:
            wait_router(session)
        ready, unready = sorted_out(waits)
        asked = [one for one in models if one.name in ready and answers_prompts(one)]
        answers, silent = sorted_out({one.name: prove.submit(session, one) for one in asked})
        if self.comparing and not back:
            silent |= self._compare([one for one in asked if one.name in answers])
        self.ready |= {name: took + self.ready.get(name, 0.0) for name, took in ready.items()}
        self.answers |= answers
        return unready | silent

    def _compare(self, models: Sequence[Model]) -> dict[str, VllmFlowsError]:
        """Compare the models with what served before; return those that are worse, and in what."""
        session, before = self.run.session, self.run.state.deployments
        _, worse = sorted_out(
            {
                one.name: compare_with_before.submit(session, one, before[one.name].configuration)
                for one in models
                if one.name in before
            }
        )
        return worse

    def _waits(
        self,
        session: Session,
        models: Sequence[Model],
        *,
        back: bool = False,
        beside: Collection[str] = (),
    ) -> dict[str, PrefectFuture[float]]:
        return {
            one.name: wait_model_ready(
                session, self.run.desired, one, back=back, beside=one.name in beside
            )
            for one in models
        }

    def _models(self, names: Collection[str]) -> list[Model]:
        return [model for model in self.run.desired.models if model.name in names]

    def _once_more(self, failed: Failures, overlap: Overlap) -> Failures:
        """Try those again whose `onFailure` is retry, with new pods."""
        again = [name for name in failed if self._model(name).on_failure == "retry"]
        for name in again:
            say(f"{name}: {failed[name].what}; once more, with new pods")
            restart_newest(self.run.session, name, engine_deployment(name))
        still = self._early(overlap.held.intersection(again), overlap)
        well = [name for name in again if name not in still]
        self._relieve(well, overlap)
        still |= self._prove(well) if well else {}
        return {name: error for name, error in failed.items() if name not in again} | still

    def _way_back(self, wave: Wave, failed: Failures) -> WayBack | None:
        """Return the way back of those that failed, None where all stay as they are."""
        pasts = {
            name: self._past(name) for name in failed if self._model(name).on_failure != "keep"
        }
        back = {name: past for name, past in pasts.items() if past}
        return way_back(wave.values, self.run.desired.chart.version, back) if back else None

    def _go_back(self, way: WayBack | None, failed: Failures, overlap: Overlap) -> GoneBack:
        """Bring back what served; return its commit, or why it does not.

        Afterwards no Deployment stops its pods first, also where all stay as they are. Older pods
        that were kept are those that serve again.
        """
        back: dict[str, VllmFlowsError | str] = {}
        if way:
            reason = "; ".join(f"{name}: {failed[name].what}" for name in failed)
            if way.past:
                roll_back_release(self.run.session, way, reason)
                self.applied = way.values
            else:
                self._apply(way.values, f"back to what served ({reason})")
            self._keep_kept(way, overlap)
            still = self._prove(way.models, back=True, keyless=not has_api_key(way.values))
            back = {name: still.get(name) or way.commit(name) for name in way.models}
        if not (way and way.past) and stops_pods(self.values):
            at_rest = with_strategy(self.values, AT_REST)
            self._apply(at_rest, "no pods stop before others start")
        return back

    def _keep_kept(self, way: WayBack, overlap: Overlap) -> None:
        """Let go of rollouts that go back, to older pods that are there still.

        Those were started with the API key of before, which is no longer in the Secret.
        """
        kept = overlap.held & set(way.models)
        overlap.let_go(kept)
        if key_changes(self.run.desired, self.run.state):
            for name in sorted(kept):
                restart_newest(self.run.session, name, engine_deployment(name))

    def _past(self, name: str) -> Past | None:
        """Return the revision that the model answered in, as its claim remembers; else the last."""
        proven, release = self.run.claim(name).proven, self.run.state.release
        found = self.run.session.helm.past(name, proven) if proven else None
        if found or name not in entries(release.values):
            return found
        return Past(release.finished, release.chart_version, release.values)

    def _model(self, name: str) -> Model:
        return next(model for model in self.run.desired.models if model.name == name)
