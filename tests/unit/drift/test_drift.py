"""What counts as changed outside, and what does not."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from vllm_flows.drift import Drift, drift_of, with_repair

MANAGED_BY = "app.kubernetes.io/managed-by"
MANIFEST: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "vllm-qwen-deployment-vllm", "labels": {"model": "qwen"}},
    "spec": {
        "replicas": 1,
        "template": {
            "spec": {
                "nodeSelector": None,
                "containers": [
                    {
                        "name": "vllm",
                        "image": "vllm/vllm-openai:v0.11.0",
                        "resources": {"requests": {"cpu": "1000m", "memory": "16Gi"}},
                        "args": ["serve", "a/b"],
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    }
                ],
            }
        },
    },
}


def live() -> Any:
    """Return the object as the API has it: with defaults, status and another's fields."""
    found = deepcopy(MANIFEST)
    found["metadata"] |= {"uid": "1", "annotations": {"deployment.kubernetes.io/revision": "3"}}
    found["status"] = {"replicas": 1}
    pod = found["spec"]["template"]["spec"]
    del pod["nodeSelector"]
    pod["restartPolicy"] = "Always"
    pod["containers"][0]["resources"]["requests"]["cpu"] = "1"
    pod["containers"][0]["env"].reverse()
    return found


def container(found: Any) -> Any:
    return found["spec"]["template"]["spec"]["containers"][0]


def test_defaults_status_order_of_names_and_other_spellings_are_no_drift():
    assert drift_of(MANIFEST, live()) is None


def test_a_deployment_that_somebody_paused_is_drift_which_helm_would_not_set_right():
    found = live()
    found["spec"]["paused"] = True
    drift = drift_of(MANIFEST, found)
    assert drift
    assert drift.changes == ("spec.paused: (not set) -> True",)
    assert drift.repair == {"spec": {"paused": None}}
    assert not drift.restarts("vllm-qwen-deployment-vllm")


@pytest.mark.parametrize(("deadline", "seconds"), [(1200, 1199), (None, 599)])
def test_a_rollout_that_a_killed_run_holds_is_let_go(deadline: int | None, seconds: int):
    found = live()
    found["spec"] |= {"minReadySeconds": seconds, "progressDeadlineSeconds": deadline}
    drift = drift_of(MANIFEST, found)
    assert drift
    assert "its rollout is held" in drift.text
    assert drift.repair == {"spec": {"minReadySeconds": None}}


def test_a_hold_is_no_change_from_outside():
    found = live()
    found["spec"] |= {"minReadySeconds": 1199, "progressDeadlineSeconds": 1200}
    held = drift_of(MANIFEST, found)
    assert held
    assert held.but_held is None
    found["spec"]["replicas"] = 5
    both = drift_of(MANIFEST, found)
    assert both
    assert both.but_held == Drift("Deployment", both.name, both.changes[:-1])
    repaired = with_repair(both, MANIFEST)
    assert repaired
    assert repaired.but_held
    assert repaired.but_held.repair == {"spec": MANIFEST["spec"]}


def test_nor_is_the_pause_of_what_is_held():
    found = live()
    found["spec"] |= {"minReadySeconds": 1199, "progressDeadlineSeconds": 1200, "paused": True}
    held = drift_of(MANIFEST, found)
    assert held
    assert held.but_held is None


def test_nor_are_the_limits_of_what_was_set_aside():
    wanted, found = deepcopy(MANIFEST), live()
    wanted["spec"]["strategy"] = {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 0}}
    found["spec"] |= {"minReadySeconds": 1199, "progressDeadlineSeconds": 1200}
    found["spec"]["strategy"] = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    held = drift_of(wanted, found)
    assert held
    assert held.but_held is None


def test_seconds_that_somebody_else_wants_pods_to_be_ready_for_are_theirs():
    found = live()
    found["spec"] |= {"minReadySeconds": 30, "progressDeadlineSeconds": 1200}
    assert drift_of(MANIFEST, found) is None


def test_a_paused_deployment_whose_manifest_the_api_refuses_gets_all_its_fields_back():
    found = live()
    found["spec"] |= {"paused": True, "replicas": 3}
    drift = with_repair(drift_of(MANIFEST, found), MANIFEST)
    assert drift
    assert drift.repair == {"spec": {**MANIFEST["spec"], "paused": None}}


def test_a_chart_that_pauses_its_deployment_may():
    wanted, found = deepcopy(MANIFEST), live()
    wanted["spec"]["paused"] = found["spec"]["paused"] = True
    assert drift_of(wanted, found) is None


def test_an_object_that_is_gone_is_drift():
    drift = drift_of(MANIFEST, None)
    assert drift == Drift("Deployment", "vllm-qwen-deployment-vllm")
    assert drift.text == "Deployment vllm-qwen-deployment-vllm is gone"


def test_a_changed_image_is_named_with_both_values_and_restarts_its_pods():
    found = live()
    container(found)["image"] = "vllm/vllm-openai:nightly"
    drift = drift_of(MANIFEST, found)
    assert drift
    (change,) = drift.changes
    assert change.endswith(
        "containers[vllm].image: vllm/vllm-openai:v0.11.0 -> vllm/vllm-openai:nightly"
    )
    assert drift.restarts("vllm-qwen-deployment-vllm")
    assert not drift.restarts("vllm-other-deployment-vllm")


def test_scaling_by_hand_restarts_nothing():
    found = live()
    found["spec"]["replicas"] = 3
    drift = drift_of(MANIFEST, found)
    assert drift
    assert drift.changes == ("spec.replicas: 1 -> 3",)
    assert not drift.restarts(drift.name)


def test_an_argument_more_or_less_is_drift():
    found = live()
    container(found)["args"].append("--enforce-eager")
    drift = drift_of(MANIFEST, found)
    assert drift
    assert "args: ['serve', 'a/b'] -> ['serve', 'a/b', '--enforce-eager']" in drift.text


def test_values_of_secrets_are_not_shown():
    wanted = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"key": "canary"}}
    drift = drift_of(wanted, {"metadata": {"name": "s"}, "data": {"key": "other"}})
    assert drift
    assert drift.changes == ("data.key",)


@pytest.mark.parametrize(("count", "said"), [(8, ""), (10, " and 2 more")])
def test_a_line_lists_eight_changes_and_counts_the_rest(count: int, said: str):
    drift = Drift("Service", "s", tuple(f"spec.f{number}: 1 -> 2" for number in range(count)))
    assert drift.text.endswith(f"spec.f7: 1 -> 2{said}")


def test_the_label_that_helm_writes_itself_is_no_drift():
    wanted = {
        "kind": "Service",
        "metadata": {"name": "s", "labels": {MANAGED_BY: "helm", "a": "1"}},
    }
    found = {"metadata": {"name": "s", "labels": {MANAGED_BY: "Helm", "a": "1"}}}
    assert drift_of(wanted, found) is None
    found["metadata"]["labels"]["a"] = "2"
    drift = drift_of(wanted, found)
    assert drift
    assert drift.changes == ("metadata.labels.a: 1 -> 2",)


def changed(wanted: Any, found: Any) -> tuple[str, ...]:
    """Return what is said of an object with one field, wanted and found."""
    named = {"kind": "Service", "metadata": {"name": "s"}}
    drift = drift_of({**named, "spec": {"x": wanted}}, {**named, "spec": {"x": found}})
    return drift.changes if drift else ()


@pytest.mark.parametrize(("wanted", "found"), [(0, 3), ("", "a"), ([], ["a"])])
def test_what_was_wanted_empty_and_is_not_is_drift(wanted: Any, found: Any):
    assert changed(wanted, found)


@pytest.mark.parametrize(
    ("wanted", "found"), [(0, None), ("", None), ([], {}), (-1, "-1"), ("1Gi", "1024Mi")]
)
def test_what_means_the_same_is_no_drift(wanted: Any, found: Any):
    assert changed(wanted, found) == ()


@pytest.mark.parametrize(
    ("wanted", "found"), [("a", "b"), ([1], "[1]"), ({"a": 1}, "x"), ("1", "2"), (["a"], ["b"])]
)
def test_what_means_something_else_is_drift(wanted: Any, found: Any):
    assert len(changed(wanted, found)) == 1


def test_a_container_of_another_name_is_drift():
    found = live()
    container(found)["name"] = "other"
    drift = drift_of(MANIFEST, found)
    assert drift
    assert "containers[vllm].name: vllm -> other" in drift.text


def test_names_that_occur_twice_are_compared_in_their_order():
    twice = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    assert changed(twice, twice) == ()
    assert changed(twice, [twice[0], twice[0]]) == ("spec.x[A].value: 2 -> 1",)


def test_what_only_the_api_says_is_not_compared():
    wanted = {
        "apiVersion": "policy/v1beta1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "stringData": {"key": "canary"},
        "status": {"phase": "Pending"},
    }
    found = {"apiVersion": "policy/v1", "kind": "Secret", "metadata": {"name": "s"}, "status": {}}
    assert drift_of(wanted, found) is None


def test_only_the_deployment_of_that_name_restarts_pods():
    for kind, restarts in (("Deployment", True), ("Service", False)):
        drift = Drift(kind, "vllm-qwen", ("spec.template.x: 1 -> 2",))
        assert drift.restarts("vllm-qwen") is restarts


def test_a_long_value_is_cut():
    (change,) = changed("a" * 100, "b")
    assert change == f"spec.x: {'a' * 57}... -> b"
