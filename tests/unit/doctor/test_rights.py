from __future__ import annotations

from vllm_flows.doctor_findings import State
from vllm_flows.rights import (
    FILES,
    FOR_ROUTER,
    FORESEEING,
    HELPFUL,
    NEEDED,
    Right,
    deleting,
    granting_deletion,
    judge_helpful,
    judge_needed,
    needed,
    needed_to_remove,
    needed_to_write,
)

LOG = Right("get", "", "pods/log")


def test_a_right_is_asked_for_as_the_api_wants_it():
    attributes = LOG.question("vllm")["spec"]["resourceAttributes"]
    assert attributes == {
        "verb": "get",
        "group": "",
        "resource": "pods",
        "subresource": "log",
        "namespace": "vllm",
    }
    everywhere = Right("list", "", "nodes", everywhere=True).question("vllm")
    assert "namespace" not in everywhere["spec"]["resourceAttributes"]
    named = Right("get", "", "leases", name="vllm-flows").question("vllm")
    assert named["spec"]["resourceAttributes"]["name"] == "vllm-flows"


def test_a_change_takes_the_rights_to_write_and_those_of_the_routers_account_where_it_has_one():
    with_router, without = (
        {str(right) for right in needed_to_write(router=router)} for router in (True, False)
    )
    assert {"create secrets", "patch deployments", "update leases", "create jobs"} <= without
    assert not any(one.startswith(("get", "list", "watch", "delete")) for one in without)
    assert not any(one.startswith("delete") for one in with_router)
    assert not {"create pods/portforward", "create pods"} & with_router
    assert {one.split()[1] for one in with_router - without} == {
        "serviceaccounts",
        "roles",
        "rolebindings",
        "pods",  # what the router may do itself, which Kubernetes lets give away who may do it
    }


def test_removing_takes_the_rights_to_delete_what_the_chart_consists_of():
    with_router, without = (
        {str(right) for right in needed_to_remove(router=router)} for router in (True, False)
    )
    assert {"delete secrets", "delete services", "delete deployments"} <= without
    assert with_router - without == {
        "delete serviceaccounts",
        "delete roles",
        "delete rolebindings",
    }
    assert "delete persistentvolumeclaims" not in with_router


def test_without_a_router_nothing_is_needed_for_its_account():
    assert set(needed(router=True)) - set(needed(router=False)) == set(FOR_ROUTER)


def test_with_all_rights_both_are_well():
    assert judge_needed([], "vllm", "").state is State.OK
    assert judge_helpful([], "vllm", "").state is State.OK


def test_missing_rights_are_named_by_their_resource_with_the_command_that_grants_them():
    missing = [Right("create", "", "secrets"), Right("patch", "", "secrets"), LOG]
    found = judge_needed(missing, "vllm", "jane")
    assert found.state is State.PROBLEM
    assert found.found == "jane may not, in vllm: create, patch secrets; get pods/log"
    assert found.fix.startswith("kubectl -n vllm apply -f /")
    assert "access/role.yaml && kubectl -n vllm create rolebinding vllm-flows-jane " in found.fix
    assert "--role=vllm-flows --user=jane " in found.fix


def test_what_only_foresees_is_a_warning():
    found = judge_needed(FORESEEING, "vllm", "jane")
    assert found.state is State.WARNING
    assert found.found == (
        "jane may not, in vllm: create pods; list resourcequotas; plans foresee less"
    )


def test_a_binding_has_a_name_that_kubernetes_takes():
    found = judge_needed(NEEDED, "vllm", "https://login.example/#jane@example.com")
    assert "create rolebinding vllm-flows--login.example-jane@example.com " in found.fix


def test_a_service_account_is_granted_rights_as_one():
    found = judge_needed(NEEDED, "vllm", "system:serviceaccount:vllm:worker")
    assert "--serviceaccount=vllm:worker" in found.fix
    assert "has none of the rights that are needed in vllm" in found.found


def test_rights_beyond_the_namespace_are_a_warning():
    found = judge_helpful(HELPFUL, "models", "system:serviceaccount:models:vllm-flows")
    assert found.state is State.WARNING
    assert "looking-around/cluster-role.yaml && kubectl create clusterrolebinding" in found.fix
    page = " ".join((FILES.parents[1] / "docs/least-privilege.md").read_text().split())
    binding = "clusterrolebinding vllm-flows-viewer-models --clusterrole=vllm-flows-viewer "
    assert f"{binding}--serviceaccount=models:vllm-flows " in found.fix
    assert binding in page.replace("\\ ", ""), "the page names it the same"


def test_the_right_to_delete_the_namespace_is_granted_for_it_alone():
    shipped = granting_deletion("vllm", "jane")
    assert "deleting-namespace/cluster-role.yaml && kubectl create clusterrolebinding " in shipped
    assert "vllm-flows-deleter-vllm --clusterrole=vllm-flows-deleter --user=jane " in shipped
    other = granting_deletion("models", "jane")
    assert "--resource-name=models && " in other
    assert "--clusterrole=vllm-flows-deleter-models --user=jane " in other
    assert "deleting-namespace/cluster-role.yaml has it for vllm" in other
    asked = deleting("models").question("models")["spec"]["resourceAttributes"]
    assert (asked["name"], asked["namespace"]) == ("models", "models")
