"""Waiting for models and asking them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from prefect.futures import PrefectFuture

from flows.progress import Progress
from flows.waits import sorted_out, wait_model_ready, wait_router
from tasks.smoke import prove as ask
from tasks.trial import compare_with_before
from vllm_flows.errors import VllmFlowsError
from vllm_flows.models import Model, answers_prompts
from vllm_flows.refusing import only_moved
from vllm_flows.session import Session


def prove(
    progress: Progress, names: Collection[str], *, back: Session | None = None
) -> dict[str, VllmFlowsError]:
    """Wait for the models and ask them; return who does not answer, and why.

    `back`: they went back, and are asked by this session.
    """
    session = back or progress.run.session
    models = progress.models(names)
    waits = begin_waits(progress, session, models, back=back is not None)
    if models:
        wait_router(session)
    ready, unready = sorted_out(waits)
    asked = [one for one in models if one.name in ready and answers_prompts(one)]
    answers, silent = sorted_out({one.name: ask.submit(session, one) for one in asked})
    if back is None:
        silent |= compare(progress, [one for one in asked if one.name in answers])
    progress.ready |= {name: took + progress.ready.get(name, 0.0) for name, took in ready.items()}
    progress.answers |= answers
    return unready | silent


def begin_waits(
    progress: Progress,
    session: Session,
    models: Sequence[Model],
    *,
    back: bool = False,
    beside: Collection[str] = (),
) -> dict[str, PrefectFuture[float]]:
    """Begin to wait for each model; those `beside` older pods have to answer by themselves."""
    return {
        one.name: wait_model_ready(
            session, progress.run.desired, one, back=back, beside=one.name in beside
        )
        for one in models
    }


def compare(progress: Progress, models: Sequence[Model]) -> dict[str, VllmFlowsError]:
    """Compare models with what served before, once; return those that are worse, and in what.

    Beside older pods it is the newest that are asked. Where the run does not compare it is those
    alone that an update may have left so.
    """
    run = progress.run
    new = [
        one
        for one in models
        if one.name in run.state.deployments
        and one.name not in progress.compared
        and (progress.comparing or _left_by_update(progress, one.name))
    ]
    progress.compared |= {one.name for one in new}
    _, worse = sorted_out(
        {
            one.name: compare_with_before.submit(run.session, one, run.before(one.name))
            for one in new
        }
    )
    return worse


def _left_by_update(progress: Progress, name: str) -> bool:
    """Say whether a run left the model beside older pods, at another commit and else alike."""
    past = progress.past(name) if name in progress.run.state.kept else None
    return past is not None and only_moved(progress.run, name, past.values, past.chart_version)
