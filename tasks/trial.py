"""Whether another commit does: tried on its own while what serves goes on, and after its change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tasks.running import ONCE, RETRIED, speaker, task
from vllm_flows.errors import CompletionError, NotDeployedError, VllmFlowsError
from vllm_flows.health_after import compared
from vllm_flows.models import Model
from vllm_flows.names import engine_deployment
from vllm_flows.overlap import TRIAL_LABEL
from vllm_flows.replicas import Replica, ready_replicas
from vllm_flows.session import Session
from vllm_flows.trial import Pace, slowness, trial, trial_name

_TIMES = 3


@contextmanager
def tried(session: Session, model: Model, served: str, commit: str) -> Iterator[str]:
    """Yield the name of the Deployment that tries the commit.

    It is gone when the block ends, however that comes about, and also when it never began.
    """
    try:
        begin_trial(session, model.name, served, commit)
        yield trial_name(model.name)
    finally:
        if session.cluster.delete("Deployment", trial_name(model.name)):
            speaker(model.name)(f"the trial of {commit[:8]} is over, and gone")


@task(task_run_name="try {model}", **RETRIED)
def begin_trial(session: Session, model: str, served: str, commit: str) -> None:
    """Make the Deployment that tries the commit. Raises NotDeployedError without the model's."""
    engine = session.cluster.get("Deployment", engine_deployment(model))
    if engine is None:
        raise NotDeployedError(f"{model} is not deployed", next_command="vllm-flows upgrade")
    session.cluster.apply(trial(engine, model, served, commit))
    speaker(model)(f"{commit[:8]} is tried on its own: no router finds it")


@task(task_run_name="compare {model.name}", **ONCE)
def compare(session: Session, model: Model) -> None:
    """Ask the trial and a replica that serves the same, in turn.

    Raises CompletionError when the trial is far slower. Where nothing serves, or does not answer,
    there is nothing to compare with.
    """
    new = ready_replicas(session.cluster.find("Pod", f"{TRIAL_LABEL}={model.name}"))
    old = session.ready_replicas(model.name)
    if not new or not old:
        return
    try:
        served = _pace(session, model, old[0])
    except VllmFlowsError:
        return
    found = slowness(served, _pace(session, model, new[0]))
    if found:
        raise CompletionError(
            f"far slower than what serves: {found}",
            next_command=f"kubectl -n {session.settings.namespace} logs {new[0].pod}",
            model=model.name,
        )


@task(task_run_name="compare {model.name} with before", **ONCE)
def compare_with_before(session: Session, model: Model, before: Sequence[str]) -> None:
    """Compare what was just changed with what a check saw of the configurations `before`.

    Raises WorseError when its answers are worse.
    """
    speaker(model.name)(compared(session, model, before))


def _pace(session: Session, model: Model, replica: Replica) -> Pace:
    key = session.api_key()
    test = model.smoke_test
    first, whole = [], []
    with session.replica_api(replica, key.value if key else None) as api:
        for _ in range(_TIMES):
            whole.append(api.complete(model.name, test.prompt).seconds)
            first.append(api.first_token_seconds(model.name, test.prompt, chat=False))
    return Pace(first, whole)
