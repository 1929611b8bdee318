"""Commits that hold for an engine what one holds that did not do: they will not do either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vllm_flows.errors import HubUnavailableError
from vllm_flows.hub import Hub
from vllm_flows.hub_revisions import contents_of
from vllm_flows.models import Model
from vllm_flows.observed import ClusterState, Verdict, WeightsClaim
from vllm_flows.revisions import same_for_engine
from vllm_flows.session import Session


def refused_alike(hub: Hub, model: Model, commit: str, claim: WeightsClaim) -> str:
    """Return why a commit will not do, as one that was refused did not; "" when none is alike.

    A commit on top of it that changes a README alone is, unless it is like the one that was last
    seen to answer. Raises HubUnavailableError.
    """
    new = contents_of(hub, model.model_url, commit) if claim.refused else None

    def is_alike(one: str) -> bool:
        old = contents_of(hub, model.model_url, one)
        return bool(old and new and same_for_engine(old, new))

    if new is None or any(map(is_alike, claim.served[:1])):
        return ""
    for one, why in claim.refused.items():
        if is_alike(one):
            return f"as {one[:8]}, which has the same files for an engine: {why}"
    return ""


def knowing_alike(
    session: Session, models: Sequence[Model], verdicts: Sequence[Verdict], state: ClusterState
) -> ClusterState:
    """Return the state with those commits of the verdicts among the refused ones.

    What the Hub does not tell is left out: such a commit is tried.
    """
    claims = dict(state.claims)
    for model, verdict in zip(models, verdicts, strict=True):
        claim, deployed = claims.get(model.name), state.deployments.get(model.name)
        known = verdict.described and not verdict.problems
        if not known or claim is None or not claim.refused or deployed is None:
            continue
        if verdict.commit not in {*claim.refused, deployed.revision}:
            refused = with_alike(session.hub(), model, verdict.commit, claim)
            claims[model.name] = replace(claim, refused=refused)
    return replace(state, claims=claims) if claims != state.claims else state


def with_alike(hub: Hub, model: Model, commit: str, claim: WeightsClaim) -> Mapping[str, str]:
    """Return the refused commits, with this one where the Hub tells that it is like one of them."""
    try:
        why = refused_alike(hub, model, commit, claim)
    except HubUnavailableError:
        return claim.refused
    return {commit: why, **claim.refused} if why else claim.refused
