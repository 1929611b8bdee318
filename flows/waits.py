"""What flows wait for: models and the router to be ready, and whose fault a failure is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from prefect.futures import PrefectFuture

from flows.running import all_ended, results
from tasks.readiness import ready_now, wait_ready
from vllm_flows.desired import Desired
from vllm_flows.errors import (
    ClusterUnavailableError,
    LockedError,
    NotReadyError,
    RouterError,
    StoppedError,
    TimedOutError,
    VllmFlowsError,
)
from vllm_flows.models import Model, answers_prompts
from vllm_flows.names import ROUTER_DEPLOYMENT, engine_deployment
from vllm_flows.session import Session
from vllm_flows.startup import startup_seconds

Result = TypeVar("Result")

OF_NO_MODEL = (ClusterUnavailableError, LockedError, RouterError, StoppedError)
"""Errors that end the run: nothing is taken back for them, and the next run asks the model."""


def wait_model_ready(
    session: Session,
    desired: Desired,
    model: Model,
    *,
    back: bool = False,
    beside: bool = False,
) -> PrefectFuture[float]:
    """Start waiting for a model's Deployment, for as long as its size may take.

    Of several replicas, and of those `beside` older ones, each is asked at once when it is ready: a
    wrong answer ends the wait, and with it the change, while others of before still answer.
    """
    budget = startup_seconds(desired.verdicts[model.name].total_bytes)
    asked = answers_prompts(model) and (beside or model.replica_count > 1)
    return wait_ready.submit(
        session,
        model.name,
        engine_deployment(model.name),
        budget,
        back=back,
        beside=beside,
        asked=model if asked else None,
    )


def wait_trial(session: Session, desired: Desired, model: Model, deployment: str) -> float:
    """Wait until a trial of the model is ready and answers by itself; return its seconds.

    Raises as `wait_ready` does.
    """
    budget = startup_seconds(desired.verdicts[model.name].total_bytes)
    return wait_ready(session, model.name, deployment, budget, beside=True, asked=model)


def wait_router(session: Session) -> None:
    """Wait until the router is ready, where there is one to be.

    Raises RouterError, as no model is at fault, as soon as it is clear that it never will be.
    """
    if not session.settings.router_enabled or ROUTER_DEPLOYMENT in ready_now(session):
        return
    try:
        results([wait_ready.submit(session, "router", ROUTER_DEPLOYMENT)])
    except (NotReadyError, TimedOutError) as error:
        raise RouterError(
            f"the router is not ready: {error.what}",
            why=error.why,
            next_command=error.next_command,
        ) from error


def sorted_out(
    futures: Mapping[str, PrefectFuture[Result]],
) -> tuple[dict[str, Result], dict[str, VllmFlowsError]]:
    """Wait for all; return the results and the errors, each of these said when it happens.

    Raises what tells nothing of a model.
    """
    all_ended(futures.values())
    found, failed = {}, {}
    for name, future in futures.items():
        result: Any = future.result(raise_on_failure=False)
        if isinstance(result, VllmFlowsError) and not isinstance(result, OF_NO_MODEL):
            failed[name] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            found[name] = result
    return found, failed
