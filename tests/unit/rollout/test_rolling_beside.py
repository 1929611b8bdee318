"""What becomes of older replicas that are kept beside new ones until these were seen to answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.rollout.stand_ins import (
    OLD,
    RUBBISH,
    UNREADY,
    Tasks,
    a_model,
    aim,
    failure,
    rolling_to,
    serving,
    verbs,
)
from vllm_flows.errors import RolloutError, StoppedError, WorseError

if TYPE_CHECKING:
    from flows.rolling import Rolling


def test_older_replicas_end_once_the_new_ones_beside_them_were_asked(tasks: Tasks):
    tasks.beside = {"a"}
    models = (a_model("a"), a_model("b"))
    made = rolling_to(tasks, aim(*models), serving(aim(*models, commit=OLD)))
    made.through()
    assert verbs(tasks) == [
        *("helm", "wait a beside", "drain a", "let go a", "wait a", "ask a"),
        *("helm", "wait b", "ask b"),
    ]
    assert tasks.asked_early == ["a"]
    assert made.ready == {"a": 4.0, "b": 2.0}


def test_older_replicas_serve_on_when_the_new_ones_beside_them_answer_wrongly(tasks: Tasks):
    tasks.beside, tasks.failing = {"qwen"}, {"qwen": [UNREADY]}
    failure(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    assert verbs(tasks) == [
        *("helm", "wait qwen beside"),
        *("set aside qwen", "helm", "let go qwen", "wait qwen", "ask qwen"),
    ]


def comparing(tasks: Tasks, **fields: Any) -> Rolling:
    """Return a run of which the new replica fits beside the old one, and is compared with it."""
    tasks.beside = {"qwen"}
    made = rolling_to(tasks, aim(a_model(**fields)), serving(aim(a_model(**fields), commit=OLD)))
    return replace(made, comparing=True)


def test_new_replicas_are_compared_with_what_served_before_the_older_ones_end(tasks: Tasks):
    comparing(tasks).through()
    assert verbs(tasks) == [
        *("helm", "wait qwen beside", f"compare qwen with {OLD[:12]}"),
        *("drain qwen", "let go qwen", "wait qwen", "ask qwen"),
    ]


def test_of_what_answers_worse_than_before_the_older_replicas_never_ended(tasks: Tasks):
    tasks.worse = {"qwen": WorseError("far slower", next_command="look")}
    with pytest.raises(RolloutError, match="worse than before"):
        comparing(tasks).through()
    assert verbs(tasks) == [
        *("helm", "wait qwen beside", f"compare qwen with {OLD[:12]}"),
        *("set aside qwen", "helm", "let go qwen", "wait qwen", "ask qwen"),
    ]


def test_who_is_tried_again_is_compared_again(tasks: Tasks):
    tasks.worse = {"qwen": WorseError("far slower", next_command="look")}
    with pytest.raises(RolloutError):
        comparing(tasks, onFailure="retry").through()
    assert verbs(tasks).count(f"compare qwen with {OLD[:12]}") == 2
    assert "drain qwen" not in tasks.done


def test_what_failed_once_the_older_replicas_were_gone_ends_well_beside_those_that_come_back(
    tasks: Tasks,
):
    tasks.beside, tasks.failing = {"qwen"}, {"qwen": [RUBBISH]}
    failure(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    assert verbs(tasks) == [
        *("helm", "wait qwen beside", "drain qwen", "let go qwen", "wait qwen", "ask qwen"),
        *("helm", "wait qwen beside", "drain qwen", "let go qwen", "wait qwen", "ask qwen"),
    ]
    assert tasks.made_way == ["qwen", "qwen"]


def test_of_a_change_of_all_engines_nobody_s_older_replicas_end_when_one_does_not_do(
    tasks: Tasks,
):
    models = (a_model("a"), a_model("b"))
    tasks.beside, tasks.failing = {"a", "b"}, {"b": [UNREADY]}
    before = aim(*models, runtime_class="")
    failure(tasks, aim(*models), serving(before))
    assert verbs(tasks)[:5] == [
        *("helm", "wait a beside", "wait b beside", "set aside a", "set aside b")
    ]
    assert sorted(verbs(tasks)[5:8]) == ["helm", "let go a", "let go b"]
    assert sorted(verbs(tasks)[8:]) == ["ask a", "ask b", "wait a", "wait b"]


def test_of_a_change_of_all_engines_who_did_well_goes_on_beside_one_that_stays_as_it_is(
    tasks: Tasks,
):
    models = (a_model("a"), a_model("b", onFailure="keep"))
    tasks.beside, tasks.failing = {"a", "b"}, {"b": [UNREADY]}
    failure(tasks, aim(*models), serving(aim(*models, runtime_class="")))
    assert verbs(tasks) == [
        *("helm", "wait a beside", "wait b beside"),
        *("drain a", "let go a", "wait a", "ask a", "let go b"),
    ]


def test_who_did_well_beside_one_that_is_tried_again_is_relieved_with_it(tasks: Tasks):
    models = (a_model("a"), a_model("b", onFailure="retry"))
    tasks.beside, tasks.failing = {"a", "b"}, {"b": [UNREADY]}
    rolling_to(tasks, aim(*models), serving(aim(*models, runtime_class=""))).through()
    restarted = tasks.done.index("restart b")
    assert "wait a" not in tasks.done[:restarted]
    assert {"drain a", "drain b", "ask a", "ask b"} <= set(tasks.done[restarted:])


def test_who_keeps_what_failed_lets_kubernetes_go_on(tasks: Tasks):
    kept = a_model(onFailure="keep")
    tasks.beside, tasks.failing = {"qwen"}, {"qwen": [UNREADY]}
    failure(tasks, aim(kept), serving(aim(kept, commit=OLD)))
    assert verbs(tasks) == ["helm", "wait qwen beside", "let go qwen"]


def test_who_tries_again_does_so_beside_the_older_replicas(tasks: Tasks):
    again = a_model(onFailure="retry")
    tasks.beside, tasks.failing = {"qwen"}, {"qwen": [UNREADY]}
    rolling_to(tasks, aim(again), serving(aim(again, commit=OLD))).through()
    assert verbs(tasks) == [
        *("helm", "wait qwen beside", "restart qwen", "wait qwen beside"),
        *("drain qwen", "let go qwen", "wait qwen", "ask qwen"),
    ]


def test_who_fails_again_goes_back_to_the_older_replicas_that_were_kept(tasks: Tasks):
    again = a_model(onFailure="retry")
    tasks.beside, tasks.failing = {"qwen"}, {"qwen": [UNREADY, UNREADY]}
    failure(tasks, aim(again), serving(aim(again, commit=OLD)))
    assert verbs(tasks) == [
        *("helm", "wait qwen beside", "restart qwen", "wait qwen beside"),
        *("set aside qwen", "helm", "let go qwen", "wait qwen", "ask qwen"),
    ]


def test_with_another_api_key_older_replicas_end_once_the_router_has_followed(tasks: Tasks):
    tasks.beside = {"qwen"}
    rolling_to(tasks, aim(a_model(), key="two"), serving(aim(a_model(), key="one"))).through()
    assert verbs(tasks) == [
        *("helm", "wait qwen beside", "helm"),
        *("drain qwen", "let go qwen", "wait qwen", "ask qwen"),
    ]


def test_who_goes_back_from_another_api_key_starts_anew_with_the_key_that_is_stored(tasks: Tasks):
    tasks.beside, tasks.failing = {"qwen"}, {"qwen": [UNREADY]}
    failure(tasks, aim(a_model(), key="two"), serving(aim(a_model(), key="one")))
    assert verbs(tasks)[-5:] == ["helm", "let go qwen", "restart qwen", "wait qwen", "ask qwen"]


def test_a_run_that_ends_in_between_leaves_the_older_replicas_and_says_so(tasks: Tasks):
    tasks.beside, tasks.interrupted = {"qwen"}, StoppedError("the run was interrupted")
    with pytest.raises(StoppedError):
        rolling_to(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD))).through()
    assert verbs(tasks)[-1] == "drain qwen"
    kept = "qwen: its older replicas are kept beside the new ones"
    asks = "`vllm-flows update qwen` asks these, and changes nothing else"
    assert tasks.said[-1] == f"{kept}: {asks}"
