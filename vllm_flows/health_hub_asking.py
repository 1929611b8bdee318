"""Asking the Hub about all models that are served: each repository once, and the token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from vllm_flows.errors import AccessError, HubUnavailableError, VllmFlowsError
from vllm_flows.health import HUB, Checked
from vllm_flows.health_hub import judge_hub
from vllm_flows.health_looking import is_listed
from vllm_flows.hub_token import account_of, shortcoming
from vllm_flows.models import Model
from vllm_flows.observed import Description, Verdict
from vllm_flows.planning import asking_hub
from vllm_flows.session import Session


@dataclass(frozen=True)
class Told:
    """What the Hub says of each model, and what is not about one."""

    verdicts: Mapping[str, Verdict]
    shared: Checked


def ask_hub(
    session: Session, models: Sequence[Model], known: Mapping[str, Mapping[str, Description]]
) -> Told:
    """Ask the Hub; that it is silent is part of what is returned. Raises ClusterError.

    `known` has by model what its commits are like. Of a model that is deployed and no longer listed
    the repository is not known.
    """
    models = [one for one in models if is_listed(one)]
    first = {(one.model_url, one.revision): one for one in reversed(models)}
    with asking_hub(session.hub(), list(first.values()), known) as answers:
        verdicts = dict(zip(first, answers, strict=True))
    found = {
        one.name: replace(verdicts[one.model_url, one.revision], model=one.name) for one in models
    }
    token, silent = _token(session)
    return Told(found, judge_hub(list(verdicts.values()), token, silent))


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
