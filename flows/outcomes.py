"""What became of each model: the proof that ends a run, and the table of one that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from flows.rolling import Rolling
from flows.waits import OF_NO_MODEL, sorted_out, wait_model_ready, wait_router
from tasks.readiness import ready_now
from tasks.smoke import prove_all
from vllm_flows.differences import entries
from vllm_flows.ending import begun, result
from vllm_flows.errors import VllmFlowsError
from vllm_flows.models import answers_prompts
from vllm_flows.names import engine_deployment
from vllm_flows.observed import REVISION_ANNOTATION
from vllm_flows.plan import Step
from vllm_flows.report import Outcome, outcome_rows
from vllm_flows.values import has_api_key


def prove_rest(rolling: Rolling) -> None:
    """Wait for every Deployment and ask every model, but for those that were rolled just now.

    Raises the first failure once all have ended, and RouterError as soon as it is clear.
    """
    run, session = rolling.run, rolling.run.session
    models = [model for model in run.desired.models if model.name not in rolling.ready]
    ready = set(ready_now(session))
    late = [model for model in models if engine_deployment(model.name) not in ready]
    waits = {one.name: wait_model_ready(session, run.desired, one) for one in late}
    wait_router(session)
    seconds, failed = sorted_out(waits)
    rolling.ready |= {one.name: 0.0 for one in models if one not in late} | seconds
    rolling.fail(failed)
    asked = [model for model in models if answers_prompts(model)]
    prove_all(session, asked, run.proven(), rolling.hear)


def outcomes(rolling: Rolling) -> list[Outcome]:
    """Return what all models serve with now that they answer."""
    names = {model.name for model in rolling.run.desired.models}
    return [_outcome(rolling, step) for step in rolling.run.plan.steps if step.model in names]


@contextmanager
def table_of_failure(rolling: Rolling) -> Iterator[None]:
    """Give an error of the block the table of every model of the plan.

    Who is ready and was not asked yet is asked for it. An error that tells nothing of a model, such
    as a lost lock, gets none.
    """
    try:
        yield
    except OF_NO_MODEL:
        raise
    except VllmFlowsError as error:
        with suppress(VllmFlowsError):  # the first failure is what the run ends with
            _ask_the_others(rolling)
            rolling.remember(rolling.answers.keys() - rolling.failed - rolling.gone_back.keys())
        steps = rolling.run.plan.steps
        error.table = outcome_rows(
            [replace(_outcome(rolling, one), result=_result(rolling, one)) for one in steps]
        )
        raise


def _ask_the_others(rolling: Rolling) -> None:
    """Ask the models that are ready, and that the run did not change, or brought and not asked."""
    run = rolling.run
    session = replace(run.session, keyless=not has_api_key(rolling.values))
    known = {*rolling.answers, *rolling.failed, *rolling.gone_back}
    came_to = {step.model for step in run.plan.steps if _begun(rolling, step)} - known
    ready = set(ready_now(session))
    models = [
        model
        for model in run.desired.models
        if model.name in came_to and engine_deployment(model.name) in ready
    ]
    rolling.ready = {model.name: 0.0 for model in models} | rolling.ready
    asked = [model for model in models if answers_prompts(model)]
    prove_all(session, asked, run.proven(), rolling.hear)


def _begun(rolling: Rolling, step: Step) -> bool:
    return begun(step, rolling.applied, rolling.run.desired.values)


def _result(rolling: Rolling, step: Step) -> str:
    asked = {model.name for model in rolling.run.desired.models if answers_prompts(model)}
    if step.model in asked:
        seen = "answers" if step.model in rolling.answers else "not asked"
    else:
        seen = "ready" if step.model in rolling.ready else "not ready"
    return result(
        step,
        seen=seen,
        came_to_it=_begun(rolling, step),
        failed=rolling.failed.get(step.model),
        back=rolling.gone_back.get(step.model),
    )


def _outcome(rolling: Rolling, step: Step) -> Outcome:
    """Return what the release holds of the model now, and what the run found."""
    entry = entries(rolling.values).get(step.model, {})
    replicas = entry.get("replicaCount", 0)
    answer = rolling.answers.get(step.model)
    return Outcome(
        model=step.model,
        action=str(step.action),
        commit=entry.get("podAnnotations", {}).get(REVISION_ANNOTATION, ""),
        gpus=entry.get("requestGPU", 0) * replicas,
        replicas=replicas,
        ready_seconds=rolling.ready.get(step.model),
        answer_seconds=answer.seconds if answer else None,
        silence=rolling.silence.get(step.model),
    )
