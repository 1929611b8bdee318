"""Models, a cluster, and stand-ins for the tasks of a run that changes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows import overlapping, progress, proving, returning, rolling, waits
from flows.rolling import Rolling
from vllm_flows.chart import Chart
from vllm_flows.claims import Served
from vllm_flows.completions import Answer, KeyRefusedError
from vllm_flows.desired import Desired
from vllm_flows.differences import entries
from vllm_flows.drift import Drift
from vllm_flows.errors import CompletionError, NotReadyError, RolloutError, WorseError
from vllm_flows.going_back import Past, WayBack
from vllm_flows.models import Model
from vllm_flows.names import ROUTER_DEPLOYMENT, engine_deployment
from vllm_flows.observed import (
    DIGEST_ANNOTATION,
    REVISION_ANNOTATION,
    ClusterState,
    DeployedModel,
    HubFile,
    Release,
    ReleaseState,
    Verdict,
    WeightsClaim,
)
from vllm_flows.outage import Outage
from vllm_flows.planner import make_plan
from vllm_flows.planning import Decision
from vllm_flows.session import Session
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values
from vllm_flows.waiting import StoppableClock
from vllm_flows.waves import key_mark

OLDER, OLD, NEW = "a" * 40, "b" * 40, "c" * 40
UNREADY = NotReadyError("crash loop", why="exit code 1", next_command="look at the log")
RUBBISH = CompletionError("the answer has no text", next_command="look at the answer")


def a_model(name: str = "qwen", **fields: Any) -> Model:
    return Model(name=name, modelURL=f"org/{name}", **fields)


def aim(
    *models: Model,
    commit: str = NEW,
    size: int = 1000,
    key: str | None = "one",
    chart: str = "0.1.8",
    **shared: Any,
) -> Desired:
    files = (HubFile("model.safetensors", size),)
    verdicts = {m.name: Verdict(m.name, m.model_url, commit, files=files) for m in models}
    settings = load_settings(**shared)
    values = release_values([PinnedModel(model, commit) for model in models], settings, key, chart)
    return Desired(models, verdicts, values, Chart("vllm-stack", (), chart), settings)


def digests(desired: Desired) -> dict[str, str]:
    return {
        name: entry["podAnnotations"][DIGEST_ANNOTATION]
        for name, entry in entries(desired.values).items()
    }


def serving(deployed: Desired, proven: Mapping[str, str] | None = None) -> ClusterState:
    """Return a cluster that runs just that; claims remember the digests that were `proven`."""
    commits = {name: verdict.commit for name, verdict in deployed.verdicts.items()}
    marks = digests(deployed)
    return ClusterState(
        Release(ReleaseState.DEPLOYED, 3, "0.1.8", "deployed", deployed.values),
        {name: DeployedModel(name, 1, 1, commits[name], marks[name]) for name in commits},
        {
            name: WeightsClaim(name, "50Gi", {NEW: 1}, answered=((proven or marks)[name],))
            for name in commits
        },
        router=True,
    )


@dataclass
class Tasks:
    """Stands for the tasks: notes what is done; models fail as often as `failing` tells.

    `worse` is in what answers are worse than before, by model. `router` is why it will never be
    ready; None where it is, or still starts. The new pods of the models in `beside` all start
    while the old ones are there.
    """

    failing: dict[str, list[Exception]] = field(default_factory=dict)
    kept: dict[str, Past] = field(default_factory=dict)
    beside: set[str] = field(default_factory=set)
    worse: dict[str, WorseError] = field(default_factory=dict)
    interrupted: Exception | None = None
    router: Exception | None = None
    router_starts: bool = False
    silent: float = 0.0
    lasting: bool = False
    done: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    asked_history: list[str] = field(default_factory=list)
    asked_early: list[str] = field(default_factory=list)
    budgets: dict[str, float] = field(default_factory=dict)
    made_way: list[str] = field(default_factory=list)
    remembered: list[str] = field(default_factory=list)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    applied: list[dict[str, Mapping[str, Any]]] = field(default_factory=list)
    router_marks: list[object] = field(default_factory=list)

    def put_in_place(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(rolling, "say", self.said.append)
        patch.setattr(waits, "wait_ready", SimpleNamespace(submit=self.wait))
        patch.setattr(waits, "ready_now", self.ready_now)
        patch.setattr(proving, "ask", SimpleNamespace(submit=self.ask))
        patch.setattr(proving, "compare_with_before", SimpleNamespace(submit=self.compare))
        patch.setattr(progress, "remember_served", SimpleNamespace(submit=self.remember))
        patch.setattr(returning, "remember_refused", SimpleNamespace(submit=self.refuse))
        patch.setattr(progress, "apply_release", self.apply_release)
        patch.setattr(returning, "roll_back_release", self.roll_back_release)
        for name in ("set_right", "remove_left_behind"):
            patch.setattr(rolling, name, getattr(self, name))
        for module in (returning, rolling):
            patch.setattr(module, "restart_newest", self.restart_newest)
        for name in ("hold", "drain", "set_aside"):
            patch.setattr(overlapping, name, SimpleNamespace(submit=getattr(self, name)))
        for name in ("let_go", "resume", "strategy_of"):
            patch.setattr(overlapping, name, getattr(self, name))
        patch.setattr(rolling, "measured", self.measured)
        for module in (progress, returning):
            patch.setattr(module, "results", list)
        patch.setattr(waits, "results", self.results)
        patch.setattr(waits, "all_ended", list)

    def apply_release(
        self, _session: object, _chart: object, values: Mapping[str, Any], reason: str, *_: object
    ) -> None:
        self.applied.append(entries(values))
        self.router_marks.append(key_mark(values["routerSpec"]))
        self.done.append(f"helm: {reason}")

    def roll_back_release(self, _session: object, way: WayBack, _reason: str) -> None:
        assert way.past
        self.done.append(f"rollback to {way.past.revision}")

    def hold(self, _session: object, model: str, _deployment: str) -> Any:
        return self.future(model in self.beside)

    def drain(self, _session: object, model: str, _deployment: str) -> Any:
        self.done.append(f"drain {model}")
        return self.future(self.interrupted)

    def set_aside(self, _session: object, model: str, _deployment: str) -> Any:
        self.done.append(f"set aside {model}")
        return self.future(None)

    def strategy_of(self, _session: object, _deployment: str) -> dict[str, str]:
        return {"type": "RollingUpdate"}

    def resume(self, _session: object, deployment: str, strategy: object = None) -> None:
        assert self.done[-2].startswith("set aside")
        assert self.done[-1].startswith(("helm", "rollback")), deployment
        assert strategy is None, "helm wrote its own"

    def let_go(self, _session: object, deployment: str) -> None:
        model = deployment.removeprefix("vllm-").removesuffix("-deployment-vllm")
        self.done.append(f"let go {model}")

    def restart_newest(self, _session: object, subject: str, deployment: str) -> None:
        assert deployment == engine_deployment(subject)
        self.done.append(f"restart {subject}")

    def set_right(self, _session: object, drifts: Sequence[Drift]) -> None:
        self.done.append(f"set right {[drift.name for drift in drifts]}")

    def remove_left_behind(self, _session: object, models: Sequence[str]) -> None:
        self.done.append(f"remove {models}")

    @contextmanager
    def measured(self, _session: object, models: Sequence[str]) -> Iterator[dict[str, Outage]]:
        yield {model: Outage(self.silent, lasting=self.lasting) for model in models}

    def ready_now(self, _session: object) -> list[str]:
        return [] if self.router or self.router_starts else [ROUTER_DEPLOYMENT]

    @staticmethod
    def results(futures: Sequence[Any]) -> list[Any]:
        found = [future.result() for future in futures]
        for one in found:
            if isinstance(one, Exception):
                raise one
        return found

    def wait(
        self,
        _session: object,
        model: str,
        deployment: str,
        budget: float = 0.0,
        *,
        back: bool = False,
        beside: bool = False,
        asked: Model | None = None,
    ) -> Any:
        if deployment == ROUTER_DEPLOYMENT:
            self.done.append("wait router")
            return self.future(self.router)
        assert deployment == engine_deployment(model)
        self.budgets[model] = budget
        if asked:
            self.asked_early.append(asked.name)
        self.done.append(f"wait {model}" + (" beside" if beside else ""))
        if back:
            self.made_way.append(model)
        error = next(iter(self.failing.get(model, [])), None)
        unready = isinstance(error, NotReadyError) or (
            beside and isinstance(error, KeyRefusedError)
        )
        return self.future(self.failing[model].pop(0) if unready else 2.0)

    def ask(self, session: Session, model: Model) -> Any:
        key = session.settings.api_key
        given = f" with {key.get_secret_value()}" if key else ""
        self.done.append(f"ask {model.name}" + (" without a key" if session.keyless else given))
        left = self.failing.get(model.name)
        error = left.pop(0) if left else None
        return self.future(error or Answer(model.name, "Paris", 0.1))

    def compare(self, _session: object, model: Model, before: Sequence[str]) -> Any:
        commits = ", ".join(one.partition("@")[2] for one in before)
        self.done.append(f"compare {model.name} with {commits}")
        return self.future(self.worse.get(model.name))

    def remember(self, _session: object, claim: WeightsClaim, served: Served) -> Any:
        assert served.commit == NEW
        self.remembered.append(claim.model)
        return self.future(None)

    def refuse(self, _session: object, claim: WeightsClaim, commit: str, why: str) -> Any:
        self.refused[claim.model] = (commit, why)
        return self.future(None)

    def past(self, model: str, digest: str) -> Past | None:
        self.asked_history.append(model)
        return self.kept.get(digest)

    @staticmethod
    def future(result: object) -> Any:
        return SimpleNamespace(result=lambda raise_on_failure=True: result)  # noqa: ARG005 -- as Prefect's


def rolling_to(tasks: Tasks, desired: Desired, state: ClusterState) -> Rolling:
    session = Session(desired.settings, cast("Any", None), cast("Any", tasks), StoppableClock())
    run = Decision(session, desired, state, make_plan(desired, state), None, None)
    return Rolling(run, session)


def failure(tasks: Tasks, desired: Desired, state: ClusterState) -> RolloutError:
    with pytest.raises(RolloutError) as caught:
        rolling_to(tasks, desired, state).through()
    return caught.value


def verbs(tasks: Tasks) -> list[str]:
    return [step.split(":", 1)[0] for step in tasks.done]


def revision(entry: Mapping[str, Any]) -> str:
    return str(entry["podAnnotations"][REVISION_ANNOTATION])
