"""Bring one model to where its revision stands now: tried on its own, then rolled, or left."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.deploy import bring_weights, publish, table_shown
from flows.outcomes import outcomes, prove_rest, table_of_failure
from flows.permitting import News, permission, permitted, still_permitted
from flows.rolling import Rolling
from flows.running import locked_in_turn, run_name, session_for
from flows.waits import OF_NO_MODEL, wait_trial
from tasks.access import check_access
from tasks.masked_pickle import RESULTS
from tasks.planning import observe_cluster, show_plan
from tasks.running import say
from tasks.trial import compare, tried
from tasks.weights import remember_refused
from vllm_flows.errors import RolloutError, TimedOutError, VllmFlowsError
from vllm_flows.going_back import Refused
from vllm_flows.models import Model, answers_prompts
from vllm_flows.models_file import load_models, named
from vllm_flows.planning import Decision, decide_update
from vllm_flows.refusing import held_against, reason
from vllm_flows.report import Outcome, Report, outcome_rows
from vllm_flows.revision_class import Change
from vllm_flows.rollout import Strategy
from vllm_flows.session import Session
from vllm_flows.update_policy import May
from vllm_flows.updating import runs_already, why_not


@dataclass(frozen=True)
class _Sought:
    """What is to be brought: the model's name, what an event told, None when somebody asked."""

    model: str
    news: News | None
    again: bool
    allow_downtime: bool


@flow(
    name="update",
    flow_run_name=run_name,
    result_serializer=RESULTS,
    task_runner=ThreadPoolTaskRunner(max_workers=4),  # type: ignore[arg-type]  # Prefect's generics
)
def update(  # noqa: PLR0913 -- the fields of the form in the Prefect UI
    model: str,
    revision: str | None = None,
    change: str | None = None,
    models_file: str | None = None,
    namespace: str | None = None,
    kube_context: str | None = None,
    *,
    reasons: list[str] | None = None,
    files: list[str] | None = None,
    agreed: bool = False,
    again: bool = False,
    allow_downtime: bool = False,
) -> Report:
    """Bring a model to the commit that its revision stands for now, and nothing else.

    New weights are fetched beside the old ones. With a GPU to spare the commit is first tried out
    of the router's reach; once it serves, its answers are compared with what the last checks saw.
    What does not do is remembered, and not tried again unasked. What an interrupted run left
    serving, and nobody saw answer, is asked first: then nothing else is done.

    Args:
        model: The model's name in models.yaml.
        revision: The commit that was announced. Where it serves already it is asked, if nobody saw
            it answer. Else, where the revision has moved on since, nothing is done, as that is
            announced too.
        change: The class of the change that was announced: then `update` in models.yaml decides
            whether, when and after whose word it is done. Left out, somebody asked for it.
        models_file: Path on the machine that runs the flow; leave out for VLLM_MODELS_FILE.
        namespace: Kubernetes namespace; leave out for VLLM_NAMESPACE.
        kube_context: kubeconfig context; leave out for VLLM_KUBE_CONTEXT.
        reasons: Why a person is to decide, as it was announced.
        files: Some files that are other ones now, as it was announced.
        agreed: Somebody agreed to the commit that was announced; they are not asked again.
        again: Try a commit that did not do before.
        allow_downtime: Stop the model before its successor starts, unless both surely fit.

    """
    told = tuple(reasons or ()), tuple(files or ())
    news = News(Change(change), *told, agreed=agreed) if change else None
    sought = _Sought(model, news, again, allow_downtime)
    with (
        table_shown(),
        session_for(
            models_file=models_file, namespace=namespace, kube_context=kube_context
        ) as session,
    ):
        run = _decided(session, sought, revision)
        may = _first_word(session, run, news) if run else May.NO
        if not run or may is May.NO:
            return Report([], changed=False)
        with locked_in_turn(session, "update") as guarded:
            run = _decided(guarded, sought, revision or run.commit(model))
            if not run or not _last_word(guarded, run, news, agreed=may is May.ASK):
                return Report([], changed=False)
            found = _brought(session, run)
    publish(outcome_rows(found), "Models that answer")
    return Report(found, changed=True)


def _brought(session: Session, run: Decision) -> list[Outcome]:
    """Bring the model, and return what became of it."""
    rolling = Rolling(run, session, comparing=True)
    with table_of_failure(rolling):
        _bring(rolling, _model(run))
    rolling.remember([_model(run).name])
    return outcomes(rolling)


def _decided(session: Session, sought: _Sought, announced: str | None) -> Decision | None:
    """Read models.yaml, ask the Hub and the cluster, make the plan and show it.

    None where there is nothing to do, which is said. What may not be touched is not looked at.
    """
    listed = load_models(session.settings.models_file)
    if sought.news and sought.model not in {model.name for model in listed}:
        say(f"{sought.model}: it is not listed any more: nothing to do")
        return None
    wanted = named(listed, sought.model)
    found = permission(session, wanted, sought.news)
    if found.answer is May.NO:
        say(f"{wanted.name}: {found.why}")
        return None
    (verdict,) = check_access(session, [wanted])
    state = observe_cluster(session)
    run = decide_update(
        session, wanted, verdict, state, announced, allow_downtime=sought.allow_downtime
    )
    show_plan(run.plan)
    if reason := why_not(run, announced, again=sought.again):
        say(f"{wanted.name}: {reason}")
        return None
    return run


def _first_word(session: Session, run: Decision, news: News | None) -> May:
    """Return NOW, ASK once somebody agreed, or NO. Raises what stands against the plan.

    Whoever was asked has seen it, and may have dealt with it. What runs already, and is to be
    asked, needs nobody's word and no window: it was begun.
    """
    if news is None or runs_already(run):
        may = May.NOW
    else:
        may = permitted(session, _model(run), run, news)
    if may is May.NOW:
        run.plan.raise_if_blocked()
    return may


def _last_word(session: Session, run: Decision, news: News | None, *, agreed: bool) -> bool:
    """Say whether it may still begin, now that it can. Raises what stands against the plan."""
    if (
        news
        and not runs_already(run)
        and not still_permitted(session, _model(run), run, news, agreed=agreed)
    ):
        return False
    run.plan.raise_if_blocked()
    return True


def _model(run: Decision) -> Model:
    """Return the one model of an update, as models.yaml had it."""
    (model,) = run.desired.models
    return model


def _bring(rolling: Rolling, model: Model) -> None:
    """Fetch the weights, try the commit where there is room for it, and roll."""
    run = rolling.run
    bring_weights(rolling)
    (step,) = run.plan.steps
    surge = step.rollout and step.rollout.strategy is Strategy.SURGE
    if surge and answers_prompts(model) and not runs_already(run):
        _try(rolling, model)
    rolling.through()
    if model.name not in rolling.ready:  # it runs already, and stays whatever it answers
        prove_rest(rolling)


def _try(rolling: Rolling, model: Model) -> None:
    """Try the commit on its own. Raises RolloutError when it does not do; nothing was changed then.

    What is not the commit's fault, such as a volume that another node has, is said and no more.
    Unless it took all the time that there is: the rollout would wait for the same again.
    """
    run, commit = rolling.run, rolling.run.commit(model.name)
    served = run.state.deployments[model.name].revision
    try:
        with tried(run.session, model, served, commit) as deployment:
            wait_trial(run.session, run.desired, model, deployment)
            compare(run.session, model)
    except OF_NO_MODEL:
        raise
    except VllmFlowsError as error:
        why = held_against(run, model.name, served, error)
        if why:
            remember_refused(run.session, run.claim(model.name), commit, why)
            rolling.failed[model.name] = error
            raise _did_not_do(model, served, commit, error) from error
        if error.retryable:
            raise
        if isinstance(error, TimedOutError):
            raise _not_tried(served, commit, error) from error
        say(f"{model.name}: it could not be tried on its own: {reason(error)}")
    else:
        say(f"{model.name}: {commit[:8]} does on its own")


def _not_tried(served: str, commit: str, error: TimedOutError) -> TimedOutError:
    return TimedOutError(
        f"{commit[:8]} could not be tried on its own; {served[:8]} serves on, untouched",
        why=f"{error.what}: {error.why}",
        next_command=error.next_command,
        model=error.model,
    )


def _did_not_do(model: Model, served: str, commit: str, error: VllmFlowsError) -> RolloutError:
    return RolloutError(
        f"{commit[:8]} was tried on its own and does not do; {served[:8]} serves on, untouched",
        why=f"{error.what}" + (f" ({error.why})" if error.why else ""),
        next_command=Refused(model, commit, served).again,
        model=model.name,
    )
