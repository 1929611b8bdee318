"""How far a run has come in changing what runs: what helm holds, who was proven, who failed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.running import results
from tasks.release import apply_release
from tasks.weights import remember_served
from vllm_flows.completions import Answer
from vllm_flows.differences import entries
from vllm_flows.errors import VllmFlowsError
from vllm_flows.going_back import Failures, Past
from vllm_flows.models import Model
from vllm_flows.outage import Outage
from vllm_flows.planning import Decision
from vllm_flows.session import Session


@dataclass
class Progress:
    """How far one run's change of the release has come.

    `asking` is a session that only asks. `comparing`: answers have to be as good as a check saw
    them before; `compared` are the models of which that was looked at. Of those that were changed
    and proven, `ready` has the seconds until they were ready, `answers` what they said, and
    `silence` for how long nobody answered; of those that were `remembered` the claims know it. Of
    the others, `failed` has why they do not answer, and `gone_back` what serves again. `applied`
    are the values that helm brought last, None before.
    """

    run: Decision
    asking: Session
    comparing: bool = False
    applied: Mapping[str, Any] | None = None
    ready: dict[str, float] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    silence: dict[str, Outage] = field(default_factory=dict)
    compared: set[str] = field(default_factory=set)
    remembered: set[str] = field(default_factory=set)
    failed: dict[str, VllmFlowsError] = field(default_factory=dict)
    gone_back: dict[str, VllmFlowsError | str] = field(default_factory=dict)

    @property
    def values(self) -> Mapping[str, Any]:
        """The values that the release has now."""
        return self.run.state.release.values if self.applied is None else self.applied

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

    def apply(self, values: Mapping[str, Any], reason: str, step: str = "") -> None:
        """Run helm, which says the step in its history; who it was to bring has failed with it."""
        desired, session = self.run.desired, self.run.session
        try:
            apply_release(session, desired.chart, values, reason, desired.selectors, step)
        except VllmFlowsError as error:
            known = entries(self.values)
            brought = [name for name, one in entries(values).items() if known.get(name) != one]
            self.failed = dict.fromkeys(brought, error) | self.failed
            raise
        self.applied = values

    def past(self, name: str) -> Past | None:
        """Return the revision that the model answered in, as its claim remembers; else the last."""
        proven, release = self.run.claim(name).proven, self.run.state.release
        found = self.run.session.helm.past(name, proven) if proven else None
        if found or name not in entries(release.values):
            return found
        return Past(release.finished, release.chart_version, release.values)

    def models(self, names: Collection[str]) -> list[Model]:
        """Return the models of these names."""
        return [model for model in self.run.desired.models if model.name in names]

    def model(self, name: str) -> Model:
        """Return the model of this name."""
        return next(model for model in self.run.desired.models if model.name == name)
