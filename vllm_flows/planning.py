"""The plan without a run: what would happen now, asked of the Hub and the cluster directly."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from vllm_flows.desired import desired_state
from vllm_flows.models import Model
from vllm_flows.plan import Plan, make_plan
from vllm_flows.session import Session
from vllm_flows.settings import Settings

_ASKED_AT_ONCE = 16


def plan_now(settings: Settings, models: Sequence[Model]) -> Plan:
    """Return what a run would do now. Raises what the Hub's and the cluster's adapters raise."""
    session = Session.open(settings)
    hub = session.hub()
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        verdicts = list(
            pool.map(lambda model: hub.verdict(model.name, model.model_url, model.revision), models)
        )
    key = session.api_key()
    desired = desired_state(models, verdicts, settings, key.version if key else None)
    return make_plan(desired, session.observe())
