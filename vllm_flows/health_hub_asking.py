"""Asking the Hub about all models that are served: each repository once, and the token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from vllm_flows.errors import AccessError, HubUnavailableError, VllmFlowsError
from vllm_flows.health import HUB, Checked
from vllm_flows.health_hub import judge_hub
from vllm_flows.health_looking import is_listed
from vllm_flows.hub import Hub
from vllm_flows.hub_token import account_of, shortcoming
from vllm_flows.models import Model
from vllm_flows.observed import Verdict, WeightsClaim
from vllm_flows.planning import asking_hub
from vllm_flows.refused_alike import with_alike
from vllm_flows.session import Session


@dataclass(frozen=True)
class Told:
    """What the Hub says of each model, and what is not about one.

    `refused` has by model the commits that did not do, and the newest one where it is like these.
    """

    verdicts: Mapping[str, Verdict]
    shared: Checked
    refused: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def ask_hub(session: Session, models: Sequence[Model], claims: Mapping[str, WeightsClaim]) -> Told:
    """Ask the Hub; that it is silent is part of what is returned. Raises ClusterError.

    `claims` are by model. Of a model that is deployed and no longer listed the repository is not
    known.
    """
    known, hub = {name: one.described for name, one in claims.items()}, session.hub()
    models = [one for one in models if is_listed(one)]
    first = {(one.model_url, one.revision): one for one in reversed(models)}
    with asking_hub(hub, list(first.values()), known) as answers:
        verdicts = dict(zip(first, answers, strict=True))
    found = {
        one.name: replace(verdicts[one.model_url, one.revision], model=one.name) for one in models
    }
    refused = {
        one.name: _refused(hub, one, found[one.name], claims[one.name])
        for one in models
        if one.name in claims
    }
    token, silent = _token(session)
    return Told(found, judge_hub(list(verdicts.values()), token, silent), refused)


def _refused(hub: Hub, model: Model, verdict: Verdict, claim: WeightsClaim) -> Mapping[str, str]:
    if not verdict.described or verdict.commit in {*claim.refused, *claim.complete}:
        return claim.refused
    return with_alike(hub, model, verdict.commit, claim)


def _token(session: Session) -> tuple[VllmFlowsError | None, VllmFlowsError | None]:
    """Return what is wrong with the token, or why that is not known."""
    token, endpoint = session.token(), session.settings.hub_endpoint
    if token is None:
        return None, None
    try:
        account = account_of(endpoint, token.value, token.source)
    except AccessError as error:
        return error, None
    except HubUnavailableError as error:
        return None, error
    return shortcoming(account, endpoint, datetime.now(UTC)), None


def not_told(error: VllmFlowsError) -> Told:
    """Return that the Hub could not be asked."""
    return Told({}, replace(judge_hub([], None, error), name=HUB))
