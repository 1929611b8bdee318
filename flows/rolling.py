"""Changing what runs: one wave of helm after the other, each proven before the next.

A model that does not answer after its change is dealt with as its `onFailure` says, and the waves
after it are not begun: what they would have changed serves on as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flows.overlapping import Overlap, spare
from flows.progress import Progress
from flows.proving import begin_waits, compare, prove
from flows.returning import find_way_back, go_back, refuse
from flows.waits import sorted_out, wait_router
from tasks.outage import measured
from tasks.readiness import restart_newest
from tasks.release import remove_left_behind, set_right
from tasks.running import say
from vllm_flows.earlier import step_of
from vllm_flows.errors import VllmFlowsError
from vllm_flows.going_back import Failures, failure
from vllm_flows.metrics import ROLLOUT, of_rollout
from vllm_flows.models import answers_prompts
from vllm_flows.names import engine_deployment
from vllm_flows.plan import STAYING, Action
from vllm_flows.refused_key import with_changed_key
from vllm_flows.values import has_api_key
from vllm_flows.waves import Change, Wave, router_lags, stops_pods, waves

_GOES_ON = "`vllm-flows update {model}` asks these, and changes nothing else"


@dataclass
class Rolling(Progress):
    """One run's change of the release."""

    def through(self) -> None:
        """Bring the release to its values.

        Raises RolloutError when a model does not answer that was changed, now or by a run that was
        killed before it could see to that, or, before anything is changed, when what such a run
        left of another model would be cut.
        """
        found = self.waves() if self.run.plan.release_reason else ()
        state, unproven = self.run.state, self._unproven()
        before_all = not (state.drifts or router_lags(state.release.values))
        self._spare_kept(found, unproven, before_all=before_all)
        Overlap(self.run.session, set(state.held)).let_go(self._stopped())
        if any(drift.repair for drift in state.drifts):
            set_right(self.run.session, state.drifts)
        if unproven and before_all:
            self._roll(Wave(state.release.values), unproven)
            unproven = ()
        number, count = 0, sum(wave.helms for wave in found)
        for wave in found:
            steps = [step_of(number + each, count) for each in range(1, wave.helms + 1)]
            self._roll(wave, unproven, steps)
            number, unproven = number + wave.helms, ()
        if gone := self._gone():
            remove_left_behind(self.run.session, gone)

    def _spare_kept(
        self, found: Sequence[Wave], unproven: Sequence[str], *, before_all: bool
    ) -> None:
        """Refuse to stop pods while others have older ones beside new.

        None are left of those `unproven` once they were asked, `before_all` waves or with the
        first, nor of those whose own wave has come.
        """
        ends = {*self._gone(), *self._stopped(), *(unproven if before_all else ())}
        others = self.run.state.kept - ends
        for wave in found:
            others -= set(wave.models)
            if stops_pods(wave.values):
                spare(others)
            others -= set(unproven)

    def _gone(self) -> list[str]:
        return [step.model for step in self.run.plan.steps if step.action is Action.DESTROY]

    def _stopped(self) -> set[str]:
        return {one.name for one in self.run.desired.models if one.replica_count == 0}

    def _unproven(self) -> tuple[str, ...]:
        """Return who is to be asked before anything is changed.

        Also who was left with older pods beside the new ones and stays, as these end only then. A
        model that this run has no part in keeps them; of one that is to stop nobody is asked.
        """
        stays = {*STAYING, Action.SCALE}
        staying = {step.model for step in self.run.plan.steps if step.action in stays}
        left = self.run.state.held & staying - self._stopped()
        return tuple(dict.fromkeys([*self.run.unproven(), *sorted(left)]))

    def _roll(self, wave: Wave, unproven: Sequence[str] = (), steps: Sequence[str] = ()) -> None:
        """Bring one wave, unless it was applied before; prove its models and those `unproven`.

        `steps` are what Helm's history is to say of each helm; none when it was applied. Where
        somebody changed something, the first helm sets that right before those `unproven` are
        judged.
        """
        names, way = (*wave.models, *unproven), None
        with measured(self.asking, names) as outages, self._overlap(names) as overlap:
            late = self._bring(wave, names, steps, overlap)
            seen = prove(self, self._relieved(names, late, overlap))
            failed = self._once_more(names, {**late, **seen}, overlap)
            failed = with_changed_key(self.run.session, self.run.api_key, failed)
            self.failed |= failed
            if failed:
                way = find_way_back(self, wave, failed, overlap)
                self.gone_back |= go_back(self, way, failed, overlap)
        self.silence |= outages
        if self.silence:
            self.asking.measured[ROLLOUT] = of_rollout(self.silence)
        for name, outage in outages.items():
            if outage.load:
                say(f"{name}: {outage.load}")
        self.remember(name for name in names if name not in {*failed, *self.gone_back})
        if failed:
            refused = refuse(self, way, failed) if way else {}
            raise failure(failed, self.gone_back, self.silence, way, refused)

    @contextmanager
    def _overlap(self, names: Collection[str]) -> Iterator[Overlap]:
        """Yield who keeps older pods beside new ones; nobody does any more when the block is done.

        Who breaks it off leaves them so: nobody was seen to answer that could take over.
        """
        overlap = Overlap(self.run.session, set(self.run.state.held.intersection(names)))
        try:
            yield overlap
            overlap.let_go(set(overlap.held))
        finally:
            for name in sorted(overlap.held):
                goes_on = _GOES_ON.format(model=name)
                say(f"{name}: its older replicas are kept beside the new ones: {goes_on}")

    def _bring(
        self, wave: Wave, names: Sequence[str], steps: Sequence[str], overlap: Overlap
    ) -> dict[str, VllmFlowsError]:
        """Run helm for the wave; return who failed before its older pods were ended.

        These are who does not answer beside them, or never gets ready by the values that come
        ahead of the router's. Without `steps` helm was run before, maybe by an interrupted run.
        """
        together = wave.ahead is not None
        if steps:
            with overlap.turning(wave.models):
                self.apply(wave.ahead or wave.values, self._reason(wave), steps[0])
            overlap.begin(wave.models)
        failed = self._early(wave.models if together else overlap.held, overlap)
        if together:
            keyed = has_api_key(wave.values)
            told = "hold the new API key" if keyed else "want no API key any more"
            say(f"{'engines' if failed else 'all engines'} {told}; the router follows")
            self.apply(wave.values, self._reason(wave), steps[-1])
        self._relieve(names, failed, overlap, router=together)
        return failed

    def _early(self, names: Collection[str], overlap: Overlap) -> dict[str, VllmFlowsError]:
        """Wait for new pods, each asked by itself where older ones are held; return who failed."""
        models = self.models(names)
        ready, failed = sorted_out(begin_waits(self, self.run.session, models, beside=overlap.held))
        self.ready |= ready
        beside = [one for one in models if one.name in ready and one.name in overlap.held]
        return failed | compare(self, [one for one in beside if answers_prompts(one)])

    def _relieve(
        self, names: Collection[str], failed: Failures, overlap: Overlap, *, router: bool = False
    ) -> None:
        """End the older pods of those that did not fail; of none where all go back together.

        A `router` that was changed has to be ready before.
        """
        back = any(self.model(name).on_failure != "keep" for name in failed)
        well = set() if back and self.run.plan.together else set(names) - failed.keys()
        if router or overlap.held & well:
            wait_router(self.run.session)
        overlap.relieve(well)

    def _relieved(self, names: Sequence[str], failed: Failures, overlap: Overlap) -> list[str]:
        """Return who is to be proven: of those whose older pods are kept that was not decided."""
        return [name for name in names if name not in failed and name not in overlap.held]

    def waves(self) -> Sequence[Wave]:
        """Return the waves, from what helm holds to what should be."""
        steps = self.run.plan.steps
        changes = [Change(step.model, step.rollout, step.gpus) for step in steps if step.rollout]
        return waves(
            self.run.state.release.values,
            self.run.desired.values,
            changes,
            kept=self.run.state.kept,
            together=self.run.plan.together,
        )

    def _reason(self, wave: Wave) -> str:
        if not wave.models:
            return self.run.plan.release_reason
        steps = [step for step in self.run.plan.steps if step.model in wave.models]
        return "; ".join(f"{step.model}: {step.reason}" for step in steps)

    def _once_more(self, names: Sequence[str], failed: Failures, overlap: Overlap) -> Failures:
        """Try those again whose `onFailure` is retry, with new pods."""
        again = [name for name in failed if self.model(name).on_failure == "retry"]
        for name in again:
            say(f"{name}: {failed[name].what}; once more, with new pods")
            restart_newest(self.run.session, name, engine_deployment(name))
        if not again:
            return failed
        self.compared -= set(again)
        others = {name: error for name, error in failed.items() if name not in again}
        still = others | self._early(overlap.held.intersection(again), overlap)
        self._relieve(names, still, overlap)
        new = set(again) | set(names) - self.answers.keys()
        return still | prove(
            self, [one for one in self._relieved(names, still, overlap) if one in new]
        )
