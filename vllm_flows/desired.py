"""What should be: the models, what the Hub says of them, the release's values, the chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_flows.chart import Chart, locate_chart
from vllm_flows.differences import entries
from vllm_flows.errors import (
    ConfigurationError,
    HubUnavailableError,
    NotDeployedError,
    RouterError,
)
from vllm_flows.models import Model
from vllm_flows.observed import (
    Access,
    ClusterState,
    DeployedModel,
    Description,
    Verdict,
    WeightsClaim,
)
from vllm_flows.settings import Settings
from vllm_flows.values import PinnedModel, at_new_commit, release_values
from vllm_flows.waves import router_lags

_COMMIT_DIGITS = 40


@dataclass(frozen=True)
class Desired:
    """One run's aim; `values` hold the models that the Hub grants, `verdicts` are by name.

    `allow_downtime`: somebody said yes to models that do not answer while they are replaced.
    `partial`: other models that run are none of this run's business. `selectors` are the labels
    that each Deployment is to select, by its name; empty while the chart stays the same.
    """

    models: Sequence[Model]
    verdicts: Mapping[str, Verdict]
    values: Mapping[str, Any]
    chart: Chart
    settings: Settings
    allow_downtime: bool = False
    partial: bool = False
    selectors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def desired_state(
    models: Sequence[Model],
    verdicts: Sequence[Verdict],
    settings: Settings,
    key_mark: str | None,
    state: ClusterState,
) -> Desired:
    """Render what should be; `verdicts` are in the order of `models`.

    A model of which the Hub could not be asked stays at the commit that it serves, and so does one
    of which the newest was tried and did not do. Raises ConfigurationError when the chart's path
    holds none.
    """
    found = [
        without_the_refused(model, without_the_hub(model, verdict, state), state)
        for model, verdict in zip(models, verdicts, strict=True)
    ]
    pinned = [
        PinnedModel(model, verdict.commit)
        for model, verdict in zip(models, found, strict=True)
        if not verdict.problems
    ]
    chart = locate_chart(settings)
    return Desired(
        models=models,
        verdicts={verdict.model: verdict for verdict in found},
        values=release_values(pinned, settings, key_mark, chart.version),
        chart=chart,
        settings=settings,
    )


def moved_state(model: Model, verdict: Verdict, settings: Settings, state: ClusterState) -> Desired:
    """Render what is deployed with one model at the verdict's commit, and nothing else changed.

    Whatever else models.yaml and the settings say now, replicas too, is for an upgrade to bring.
    Raises NotDeployedError for a model that does not run, ConfigurationError for another chart, and
    RouterError where an interrupted change of the API key left the router behind, and rollouts that
    are held until it has the key.
    """
    release, chart = state.release, locate_chart(settings)
    if model.name not in entries(release.values) or model.name not in state.deployments:
        raise NotDeployedError(
            f"{model.name} is not deployed",
            next_command="vllm-flows upgrade   (it brings what models.yaml lists)",
        )
    if chart.version != release.chart_version:
        raise ConfigurationError(
            f"the release has chart {release.chart_version}, and the settings say {chart.version}",
            why="an update changes one model, and another chart would change all of them",
            next_command="vllm-flows upgrade",
        )
    if state.held and router_lags(release.values) and not state.at_work:
        raise RouterError(
            "the API key was changed, and the router does not have it yet",
            why="an interrupted run left it so, and an update gives no router a key",
            next_command="vllm-flows install",
        )
    values = release.values
    replicas = entries(values)[model.name].get("replicaCount", model.replica_count)
    model = model.model_copy(update={"replica_count": replicas})
    if not verdict.problems:
        values = at_new_commit(values, model.name, verdict.commit, chart.version)
    return Desired([model], {model.name: verdict}, values, chart, settings, partial=True)


def without_the_hub(model: Model, verdict: Verdict, state: ClusterState) -> Verdict:
    """Return a verdict from what is deployed when the Hub was silent; else the verdict itself.

    The commit that is served is kept, as its weights are on the volume, with what the claim tells
    of it; so is another commit that is there and that models.yaml names in full. Where it names
    another branch, tag or repository, only the Hub could tell, and its silence stays a problem.
    """
    silent = any(isinstance(problem, HubUnavailableError) for problem in verdict.problems)
    deployed, claim = state.deployments.get(model.name), state.claims.get(model.name)
    if not silent or deployed is None or claim is None:
        return verdict
    entry = entries(state.release.values).get(model.name, {})
    wanted = _known_commit(model, deployed, claim)
    if entry.get("modelURL") != model.model_url or wanted not in claim.complete:
        return verdict
    what = "stays at" if wanted == deployed.revision else "takes"
    note = f"{verdict.problems[0].what}: {what} {wanted[:8]}, which is on the volume"
    return _at(verdict, wanted, claim, note)


def without_the_refused(model: Model, verdict: Verdict, state: ClusterState) -> Verdict:
    """Return a verdict on what is deployed when the newest commit was tried and did not do.

    Else the verdict itself; also where models.yaml names that very commit: somebody wants it tried
    again.
    """
    deployed, claim = state.deployments.get(model.name), state.claims.get(model.name)
    if deployed is None or claim is None or verdict.commit not in claim.refused:
        return verdict
    entry = entries(state.release.values).get(model.name, {})
    stays = entry.get("modelURL") == model.model_url and deployed.revision in claim.complete
    if not stays or verdict.commit in {model.revision, deployed.revision}:
        return verdict
    note = (
        f"{model.revision} is {verdict.commit[:8]}, which was tried and did not do "
        f"({claim.refused[verdict.commit]}): stays at {deployed.revision[:8]} until it is another; "
        f"`vllm-flows update {model.name} --again` tries it again"
    )
    return replace(_at(verdict, deployed.revision, claim, note), access=Access.STAYS)


def served_verdict(
    model: Model, verdict: Verdict, state: ClusterState
) -> tuple[Model, Verdict] | None:
    """Return the model and its verdict as what serves was brought; the Hub need not have it.

    None where the revision stands for that commit, or its weights are not known to be complete.
    What answered before the last is a way back, as of a rollback: it was brought as that commit.
    """
    deployed, claim = state.deployments.get(model.name), state.claims.get(model.name)
    if deployed is None or claim is None or deployed.revision not in claim.complete:
        return None
    if deployed.revision == verdict.commit:
        return None
    now = f"is {verdict.commit[:8]} by now" if verdict.commit else "is not known"
    note = (
        f"{model.revision[:_COMMIT_DIGITS]} {now}; {deployed.revision[:8]}, which serves, comes "
        "first: nothing else is done now"
    )
    asked = Verdict(model.name, model.model_url)
    word = deployed.revision if deployed.revision in claim.served[1:] else claim.requested
    return (
        model.model_copy(update={"revision": word or model.revision}),
        replace(_at(asked, deployed.revision, claim, note), access=Access.STAYS),
    )


def _at(verdict: Verdict, commit: str, claim: WeightsClaim, note: str) -> Verdict:
    """Return the verdict on a commit that is on the volume, with what the claim tells of it."""
    known = claim.described.get(commit, Description())
    return replace(
        verdict,
        commit=commit,
        files=(),
        config=known.config,
        parameters=known.parameters,
        custom_code=known.custom_code,
        problems=(),
        notes=(note,),
    )


def _known_commit(model: Model, deployed: DeployedModel, claim: WeightsClaim) -> str:
    """Return the commit that models.yaml means, as far as that is known; "" when it is not."""
    if len(model.revision) == _COMMIT_DIGITS:
        return model.revision
    return deployed.revision if claim.requested in {"", model.revision} else ""
