"""The plan without a run: what would happen now, asked of the Hub and the cluster directly."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from vllm_flows.desired import desired_state
from vllm_flows.errors import HubUnavailableError
from vllm_flows.hub import Hub
from vllm_flows.models import Model
from vllm_flows.observed import Access, Verdict
from vllm_flows.plan import Plan
from vllm_flows.planner import make_plan
from vllm_flows.session import Session
from vllm_flows.settings import Settings

_ASKED_AT_ONCE = 16


def plan_now(settings: Settings, models: Sequence[Model]) -> Plan:
    """Return what a run would do now. Raises what the cluster's adapter raises."""
    session = Session.open(settings)
    hub = session.hub()
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        asked = [pool.submit(ask_hub, hub, model) for model in models]
        key, state = session.api_key(), session.observe()
        verdicts = [answer.result() for answer in asked]
    desired = desired_state(models, verdicts, settings, key.version if key else None, state)
    return make_plan(desired, state)


def ask_hub(hub: Hub, model: Model) -> Verdict:
    """Return the Hub's verdict on a model; its silence is a problem of that model alone."""
    try:
        return hub.verdict(model.name, model.model_url, model.revision)
    except HubUnavailableError as error:
        return Verdict(model.name, model.model_url, access=Access.UNKNOWN, problems=(error,))
