"""Bring back what served before: an earlier revision of the release, proven like any change."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from prefect import flow
from prefect.futures import PrefectFuture

from flows.overlapping import Overlap, spare
from flows.running import locked, results, run_name, session_for
from flows.waits import sorted_out, wait_router
from tasks.masked_pickle import RESULTS
from tasks.readiness import wait_ready
from tasks.release import roll_back_release
from tasks.running import say
from tasks.smoke import prove
from tasks.weights import remember_served
from vllm_flows.claims import Served
from vllm_flows.earlier import Change, WayThere, lines_to_write
from vllm_flows.errors import ConfigurationError, RolloutError, StalePlanError, VllmFlowsError
from vllm_flows.going_back import WayBack
from vllm_flows.looking_back import look_back
from vllm_flows.models import Model, SmokeTest
from vllm_flows.models_file import load_models
from vllm_flows.names import engine_deployment
from vllm_flows.observe import ENGINE_SELECTOR
from vllm_flows.observed import WeightsClaim
from vllm_flows.overlap import held_models, kept_models
from vllm_flows.session import Session
from vllm_flows.startup import startup_seconds
from vllm_flows.values import has_api_key
from vllm_flows.waves import stops_pods

_GOES_ON = "the next run asks these first (vllm-flows rollback)"


@flow(name="rollback", flow_run_name=run_name, result_serializer=RESULTS)
def rollback(
    revision: int | None = None,
    namespace: str | None = None,
    kube_context: str | None = None,
    models_file: str | None = None,
    *,
    expected: str | None = None,
) -> list[str]:
    """Bring back the revision of the Helm release that served before, and ask what changed.

    Returns what models.yaml and the settings have to say for it to stay so.

    Args:
        revision: Helm revision to bring back; leave out for the last one that served before.
        namespace: Kubernetes namespace; leave out for VLLM_NAMESPACE.
        kube_context: kubeconfig context; leave out for VLLM_KUBE_CONTEXT.
        models_file: Where smokeTest stands, if anywhere; leave out for VLLM_MODELS_FILE.
        expected: The way that was agreed to, as `7 -> 5`; any other is refused.

    """
    with session_for(
        namespace=namespace, kube_context=kube_context, models_file=models_file
    ) as session:
        look_back(session, revision)  # what must not be done is refused without the lock
        with locked(session, "rollback") as guarded:
            way, claims = look_back(guarded, revision)
            _check(way, expected)
            _say(way)
            _go(guarded, way, claims)
    lines = lines_to_write(way)
    say("the next upgrade brings the newer state again, unless models.yaml and the settings say:")
    for line in lines:
        say(f"  {line}")
    return lines


def _check(way: WayThere, expected: str | None) -> None:
    if expected is not None and way.agreed != expected:
        raise StalePlanError(
            f"the way is now {way.agreed}, and {expected} was agreed to; nothing was changed",
            next_command="vllm-flows rollback   (look at it, and agree again)",
        )


def _say(way: WayThere) -> None:
    for change in way.changes:
        say(f"{change.model}: {change.text}")
    for text in way.common:
        say(f"all engines, router: {text}")


def _go(session: Session, way: WayThere, claims: Mapping[str, WeightsClaim]) -> None:
    """Roll the release back, unless that was done; prove and remember the models that changed.

    Raises RolloutError when one of them does not answer.
    """
    asking = replace(session, keyless=not has_api_key(way.target.values))
    with _overlap(session, way) as overlap:
        if way.target.revision != way.current:
            _bring(session, way, overlap)
        failed = _prove(asking, way, claims, overlap)
    results(
        remember_served.submit(session, claims[one.model], Served(one.then, one.then, one.digest))
        for one in way.then
        if one.asked and one.model not in failed
    )
    if failed:
        raise _failure(failed, way)


def _bring(session: Session, way: WayThere, overlap: Overlap) -> None:
    """Run helm; what is replaced serves on beside what comes, where both fit.

    Where an interrupted run left both, the newer ones end well before, and what it kept is often
    what comes. Raises RolloutError when the strategy of then would cut what it left of others.
    """
    if stops_pods(way.target.values):
        ends = {one.model for one in way.changes if one.replaces or not (one.then and one.replicas)}
        spare(kept_models(session.cluster.find("Deployment", ENGINE_SELECTOR)) - ends)
    replaced = [change.model for change in way.then if change.replaces]
    names = tuple(change.model for change in way.then)
    with overlap.turning(replaced):
        whole = WayBack(names, way.target.values, way.target)
        roll_back_release(session, whole, "asked for")
    overlap.begin(replaced)


@contextmanager
def _overlap(session: Session, way: WayThere) -> Iterator[Overlap]:
    """Yield who keeps older pods beside new ones, also those that an interrupted run kept.

    Nobody does any more when the block is done; who breaks it off leaves them so. What has no part
    in the rollback is left as it is.
    """
    held = held_models(session.cluster.find("Deployment", ENGINE_SELECTOR))
    overlap = Overlap(session, {one.model for one in way.then if one.model in held})
    try:
        yield overlap
        overlap.let_go(set(overlap.held))
    finally:
        for name in sorted(overlap.held):
            say(f"{name}: its older replicas are kept beside the new ones: {_GOES_ON}")


def _prove(
    session: Session, way: WayThere, claims: Mapping[str, WeightsClaim], overlap: Overlap
) -> dict[str, VllmFlowsError]:
    """Wait for the changed models and ask them; return who does not answer, and why.

    Those that serve beside older pods have to answer by themselves before these end.
    """
    tests = _smoke_tests(session)
    models = {one.model: _model(one, tests) for one in way.then}

    def begin(names: Collection[str]) -> dict[str, PrefectFuture[float]]:
        chosen = [one for one in way.then if one.model in names]
        return {
            one.model: _wait(session, one, models[one.model], claims, overlap) for one in chosen
        }

    waits = begin(models)
    if waits:
        wait_router(session)
    ready, failed = sorted_out(waits)
    overlap.let_go(failed)
    relieved = overlap.held & ready.keys()
    overlap.relieve(relieved)
    failed |= sorted_out(begin(relieved))[1]
    asked = [one.model for one in way.then if one.asked and one.model not in failed]
    answers = {name: prove.submit(session, models[name]) for name in asked}
    return failed | sorted_out(answers)[1]


def _wait(
    session: Session,
    change: Change,
    model: Model,
    claims: Mapping[str, WeightsClaim],
    overlap: Overlap,
) -> PrefectFuture[float]:
    """Begin to wait for a model; what is to answer by itself is asked as soon as it is ready."""
    beside = change.model in overlap.held
    return wait_ready.submit(
        session,
        change.model,
        engine_deployment(change.model),
        startup_seconds(claims[change.model].complete[change.then]),
        back=True,
        beside=beside,
        asked=model if change.asked and (beside or change.replicas > 1) else None,
    )


def _model(change: Change, tests: Mapping[str, SmokeTest]) -> Model:
    """Return as much of the model as asking it takes."""
    return Model(
        name=change.model,
        model_url=change.repository,
        replica_count=change.replicas,
        smoke_test=tests.get(change.model, SmokeTest()),
    )


def _smoke_tests(session: Session) -> dict[str, SmokeTest]:
    try:
        return {one.name: one.smoke_test for one in load_models(session.settings.models_file)}
    except ConfigurationError:
        return {}


def _failure(failed: Mapping[str, VllmFlowsError], way: WayThere) -> RolloutError:
    lines = [f"{model}: {error.what}" for model, error in failed.items()]
    return RolloutError(
        f"revision {way.target.revision} is back, and {', '.join(failed)} does not answer",
        why="\n".join(lines),
        next_command=f"vllm-flows rollback --to {way.current}   (the newer state again); "
        + next(iter(failed.values())).next_command,
    )
