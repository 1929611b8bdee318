"""What of a run becomes a sample."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from flows import running
from vllm_flows import metrics
from vllm_flows.errors import LockedError, TimedOutError, VllmFlowsError
from vllm_flows.health import HUB, ROUTER, Checked, Finding, Health, Kind
from vllm_flows.metrics import (
    FLOWS,
    METRICS,
    ROLLOUT,
    Lasting,
    Sample,
    exit_code,
    lasting,
    of_health,
    of_measured,
    of_revisions,
    of_rollout,
    of_run,
    outdated_by,
)
from vllm_flows.outage import Heard, Outage
from vllm_flows.revision_class import Change
from vllm_flows.revision_memory import Seen

FLOWS_FOLDER = Path(running.__file__).parent


def short(samples: Iterable[Sample]) -> dict[str, float]:
    """Return the values by the metric's name without what all begin with, and its labels."""
    return {
        " ".join([one.metric.name.removeprefix("vllm_flows_"), *one.labels]): one.value
        for one in samples
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (VllmFlowsError("it failed", next_command="look"), 1),
        (TimedOutError("too long", next_command="look"), 4),
        (LockedError("held", next_command="look"), 5),
        (RuntimeError(), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=str,
)
def test_every_run_tells_when_and_how_it_ended(error: BaseException | None, code: int):
    assert exit_code(error) == code
    assert short(of_run(100.0, 130.0, code)) == {
        "run_end_timestamp_seconds": 130,
        "run_duration_seconds": 30,
        "run_success": float(code == 0),
        "run_exit_code": code,
    }


def test_every_sample_of_every_kind_has_its_metrics_labels_and_every_metric_is_listed_once():
    named = [one for one in vars(metrics).values() if isinstance(one, metrics.Metric)]
    assert sorted(named) == sorted(METRICS)
    assert len({one.name for one in METRICS}) == len(METRICS)
    samples = [
        *of_run(0, 1, 0),
        *(of_measured({"health": of_health(HEALTH)}, 1) or ()),
        *(
            one
            for code in (0, 1)
            for some in lasting({ROLLOUT: ROLLED}, 1, code)
            for one in some.samples
        ),
        *of_revisions([SEEN], {"qwen": "auto"}),
    ]
    assert {one.metric for one in samples} == set(METRICS)
    assert all(len(one.labels) == len(one.metric.labels) for one in samples)


ROLLED = of_rollout({"qwen": Outage(asked=4), "llama3": Outage()})
SLOW = Finding(Kind.SLOW_TOKENS, "slow", replica="a")
HEALTH = Health(
    10.0,
    2.0,
    (
        Checked("qwen", (), 1, 2, 0.25, 40.0),
        Checked("llama3", (SLOW, Finding(Kind.SLOW_TOKENS, "slow", replica="b")), 2, 2),
        Checked(ROUTER),
        Checked(HUB, (Finding(Kind.TOKEN, "ends soon"),)),
    ),
)
SEEN = Seen("qwen", "org/qwen", "main", "a" * 40, "b" * 40, Change.WEIGHTS)


def test_a_health_check_tells_each_models_state_speed_and_replicas():
    found = short(of_health(HEALTH))
    assert {key: found[key] for key in found if "qwen" in key} == {
        "model_state qwen green": 1,
        "model_state qwen inconclusive": 0,
        "model_state qwen degraded": 0,
        "model_state qwen down": 0,
        "model_replicas_ready qwen": 1,
        "model_replicas_wanted qwen": 2,
        "model_first_token_seconds qwen": 0.25,
        "model_tokens_per_second qwen": 40,
    }
    assert (found["models green"], found["models degraded"], found["models down"]) == (1, 1, 0)


def test_findings_are_counted_by_kind_also_of_what_the_models_share():
    found = short(of_health(HEALTH))
    assert {key: value for key, value in found.items() if key.startswith("findings")} == {
        "findings llama3 slow-tokens degraded": 2,
        "findings (hub) hub-token degraded": 1,
    }


def test_what_was_not_measured_has_no_sample():
    blind = Checked("qwen", (Finding(Kind.NOT_MEASURED, "no answer"),))
    names = {one.metric for one in of_health(Health(0.0, 1.0, (blind,)))}
    assert names == {metrics.MODELS, metrics.MODEL_STATE, metrics.FINDINGS}


def test_a_rollout_tells_what_became_of_the_requests_meanwhile():
    outage = Outage()
    for now, answered in enumerate([True, False, False, True, False, True]):
        outage.hear(now, Heard.ANSWER if answered else Heard.SILENCE)
        outage.count(0.5, answered=answered)
    assert short(of_rollout({"qwen": outage})) == {
        "rollout_requests qwen": 6,
        "rollout_requests_lost qwen": 3,
        "rollout_silent_seconds qwen": 3,
        "rollout_longest_gap_seconds qwen": 2,
        "rollout_slowest_answer_seconds qwen": 0.5,
        "rollout_not_measured_seconds qwen": 0,
    }


def test_revisions_that_stand_for_another_commit_are_told():
    others = [replace(SEEN, change=change) for change in (Change.NONE, Change.UNKNOWN)]
    found = of_revisions([SEEN, *others], {"qwen": "never"})
    assert short(found) == {"model_revision_moved qwen weights never": 1}


def test_a_run_that_measured_nothing_says_so_and_one_that_found_nothing_says_when():
    assert of_measured({}, 5.0) is of_measured({ROLLOUT: ROLLED}, 5.0) is None
    assert of_measured({"revisions": []}, 5.0) == [Sample(metrics.MEASURED, 5.0)]


def test_of_each_model_that_was_replaced_it_is_told_when_by_itself():
    found = lasting({ROLLOUT: ROLLED}, 5.0, 0)
    found = [one for one in found if one.name == "rollout"]
    assert [one.model for one in found] == ["qwen", "llama3"]
    told = short(found[0].samples)
    assert (told["rollout_requests qwen"], told["rollout_end_timestamp_seconds qwen"]) == (4, 5)
    assert all(one.labels == ("qwen",) for one in found[0].samples)


FAILED = Lasting("failed", "", [Sample(metrics.RUN_FAILED, 5.0)])
SUCCEEDED = Lasting("succeeded", "", [Sample(metrics.RUN_SUCCEEDED, 5.0)])


@pytest.mark.parametrize(
    ("code", "told"),
    [(0, [SUCCEEDED]), (5, []), (130, []), (1, [FAILED]), (4, [FAILED]), (64, [FAILED])],
)
def test_when_a_run_failed_or_did_not_is_told_beside_how_the_last_one_ended(
    code: int, told: list[Lasting]
):
    assert lasting({}, 5.0, code) == told


def test_what_was_told_of_a_namespace_is_outdated_once_it_is_uninstalled():
    assert set(outdated_by("uninstall", 0)) == set(FLOWS) - {"uninstall"}
    assert outdated_by("uninstall", 1) == outdated_by("deploy", 0) == ()


def test_all_flows_are_known():
    texts = [path.read_text() for path in FLOWS_FOLDER.glob("*.py")]
    names = [re.findall(r'^@flow\(\s*name="([^"]+)"', text, re.MULTILINE) for text in texts]
    assert sorted(FLOWS) == sorted(name for some in names for name in some)
