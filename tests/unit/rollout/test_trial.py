"""A commit that is tried out of everybody's reach."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tasks import trial as tasks_trial
from tests.unit.rollout.stand_ins import NEW, OLD, a_model
from vllm_flows.completions import Answer
from vllm_flows.errors import ClusterError, CompletionError, NotDeployedError
from vllm_flows.replicas import Replica
from vllm_flows.trial import Pace, slowness, trial

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINE: dict[str, Any] = {
    "metadata": {"name": "vllm-qwen-deployment-vllm", "uid": "u"},
    "spec": {
        "replicas": 3,
        "template": {
            "metadata": {
                "labels": {"model": "qwen", "environment": "test", "release": "test"},
                "annotations": {"vllm-flows.io/revision": OLD},
            },
            "spec": {"containers": [{"args": ["--revision", OLD]}]},
        },
    },
}


def test_a_trial_is_one_pod_at_the_other_commit_that_no_router_finds():
    made = trial(ENGINE, "qwen", OLD, NEW)
    template = made["spec"]["template"]
    assert made["spec"]["replicas"] == 1
    assert OLD not in str(made)
    assert template["spec"]["containers"][0]["args"] == ["--revision", NEW]
    assert template["metadata"]["labels"] == {
        "helm-release-name": "vllm",
        "vllm-flows.io/trial": "qwen",
    }
    assert made["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    assert ENGINE["spec"]["template"]["metadata"]["labels"]["model"] == "qwen"


def test_a_trial_goes_with_the_model():
    (owner,) = trial(ENGINE, "qwen", OLD, NEW)["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Deployment", "u")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (0.1, 0.9, ""),  # nine times as long, and still short
        (0.1, 1.2, "takes 1.2 s instead of 0.1 s"),
        (10.0, 25.0, ""),
        (10.0, 31.0, "takes 31 s instead of 10 s"),
    ],
)
def test_far_slower_is_three_times_as_slow_and_a_second_more(old: float, new: float, told: str):
    fast = Pace([old] * 3, [1.0] * 3)
    found = slowness(fast, Pace([new] * 3, [1.0] * 3))
    assert (f"the first token {told}" if told else "") == found


def test_one_slow_answer_of_three_is_no_reason():
    fast = Pace([0.1] * 3, [1.0] * 3)
    assert slowness(fast, Pace([0.1] * 3, [1.0, 60.0, 1.0])) == ""
    assert "an answer takes" in slowness(fast, Pace([0.1] * 3, [1.0, 60.0, 60.0]))


class FakeSession:
    """Stands for a session: one trial and one serving pod, each with its seconds per answer."""

    def __init__(self, *, trial: float | None, serving: float | None) -> None:
        self.seconds = {"trial": trial, "serving": serving}
        self.settings = SimpleNamespace(namespace="ns")
        self.cluster = SimpleNamespace(find=self._find)

    def _find(self, _kind: str, selector: str) -> list[dict[str, Any]]:
        assert selector == "vllm-flows.io/trial=qwen"
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        return [{"metadata": {"name": "trial"}, "status": ready}] if self.seconds["trial"] else []

    def ready_replicas(self, _model: str) -> list[Replica]:
        return [Replica("serving", "")] if self.seconds["serving"] else []

    def api_key(self) -> None:
        """There is none."""

    @contextmanager
    def replica_api(self, replica: Replica, _key: str | None) -> Iterator[Any]:
        seconds = self.seconds[replica.pod]
        assert seconds
        if seconds < 0:
            raise CompletionError("the answer has no text")
        yield SimpleNamespace(
            complete=lambda model, _prompt: Answer(model, "Paris", seconds),
            first_token_seconds=lambda *_, **__: seconds,
        )


def compared(**seconds: float | None) -> None:
    session: Any = FakeSession(**seconds)
    tasks_trial.compare.fn(session, a_model())


def test_a_commit_that_answers_far_slower_than_what_serves_does_not_do():
    with pytest.raises(CompletionError, match="far slower than what serves") as caught:
        compared(trial=9.0, serving=0.1)
    assert caught.value.next_command == "kubectl -n ns logs trial"
    compared(trial=0.2, serving=0.1)


def test_where_nothing_serves_there_is_nothing_to_compare_with():
    compared(trial=9.0, serving=None)
    compared(trial=None, serving=0.1)
    compared(trial=9.0, serving=-1.0)


def test_a_model_that_is_gone_cannot_be_tried():
    session: Any = SimpleNamespace(cluster=SimpleNamespace(get=lambda *_: None))
    with pytest.raises(NotDeployedError):
        tasks_trial.begin_trial.fn(session, "qwen", OLD, NEW)


@dataclass
class Trials:
    """Stands for the cluster that has a trial or none; notes what is said of it."""

    there: bool = True
    said: list[str] = field(default_factory=list)

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Try a commit while the block runs."""
        session: Any = SimpleNamespace(cluster=self)
        with tasks_trial.tried(session, a_model(), OLD, NEW) as name:
            assert name == "vllm-trial-qwen"
            assert self.there
            yield

    def delete(self, kind: str, name: str) -> bool:
        assert (kind, name) == ("Deployment", "vllm-trial-qwen")
        there, self.there = self.there, False
        return there


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    made = Trials()
    monkeypatch.setattr(tasks_trial, "begin_trial", lambda *_: None)
    monkeypatch.setattr(
        tasks_trial, "speaker", lambda name: lambda text: made.said.append(f"{name}: {text}")
    )
    return made


def test_a_trial_is_gone_when_it_is_over_which_is_said(trials: Trials):
    with trials.begun():
        pass
    assert not trials.there
    assert trials.said == ["qwen: the trial of cccccccc is over, and gone"]


@pytest.mark.parametrize("how", [CompletionError("the answer has no text"), KeyboardInterrupt()])
def test_a_trial_is_gone_also_when_the_commit_does_not_do_or_somebody_ends_the_run(
    trials: Trials, how: BaseException
):
    with pytest.raises(type(how)), trials.begun():
        raise how
    assert not trials.there
    assert len(trials.said) == 1


@pytest.mark.parametrize("how", [ClusterError("no answer"), KeyboardInterrupt()])
def test_a_trial_whose_beginning_is_broken_off_is_gone_too(
    trials: Trials, monkeypatch: pytest.MonkeyPatch, how: BaseException
):
    def begin(*_: object) -> None:
        raise how

    monkeypatch.setattr(tasks_trial, "begin_trial", begin)
    with pytest.raises(type(how)), trials.begun():
        pass
    assert not trials.there
    assert len(trials.said) == 1


def test_of_a_trial_that_was_never_made_nothing_is_said(trials: Trials):
    with trials.begun():
        trials.there = False  # as when the model's Deployment went, which owns it
    assert trials.said == []
