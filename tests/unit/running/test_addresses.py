from __future__ import annotations

from typing import Any

from vllm_flows.api_models import compared
from vllm_flows.completion_checks import Card
from vllm_flows.endpoints import Found, curl_example, endpoints

KEY = {"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": "vllm-api-key"}}}


def service(name: str, port: int = 80, **selector: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"selector": selector, "ports": [{"port": port}]}}


def deployment(name: str, replicas: int = 1, *env: dict[str, Any]) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "x", "env": list(env)}]}}
    return {"metadata": {"name": name}, "spec": {"replicas": replicas, "template": template}}


def pod(name: str, ready: str = "True", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


FOUND = Found(
    namespace="llm",
    router=True,
    services=[
        service("vllm-router-service", environment="router"),
        service("vllm-qwen3-engine-service", 8080, model="qwen3"),
    ],
    deployments=[
        deployment("vllm-deployment-router"),
        deployment("vllm-qwen3-deployment-vllm", 3, KEY),
    ],
    pods=[
        pod("r", environment="router"),
        pod("e1", model="qwen3", other="label"),
        pod("e2", "False", model="qwen3"),
        pod("elsewhere", model="phi4"),
    ],
)


def test_each_service_is_shown_with_the_ready_pods_that_it_selects():
    router, qwen = endpoints(FOUND, ["qwen3"])
    assert router.data == {
        "name": "router",
        "kind": "router",
        "service": "vllm-router-service",
        "url": "http://vllm-router-service.llm.svc.cluster.local",
        "readyPods": 1,
        "wantedPods": 1,
        "apiKey": False,
        "outside": "vllm-flows port-forward",
    }
    assert qwen.url == "http://vllm-qwen3-engine-service.llm.svc.cluster.local:8080"
    assert (qwen.ready, qwen.wanted, qwen.key) == (1, 3, True)
    assert qwen.row["ready"] == "1/3"


def test_a_model_that_is_not_deployed_has_no_address():
    *_, phi = endpoints(FOUND, ["qwen3", "phi4"])
    assert (phi.service, phi.url, phi.ready, phi.wanted) == ("", "", 0, 0)
    assert phi.row == {
        "name": "phi4",
        "ready": "-",
        "key": "none",
        "URL in the cluster": "not deployed",
    }


def test_without_a_router_none_is_shown():
    bare = Found("llm", False, FOUND.services[1:], FOUND.deployments[1:], FOUND.pods)
    assert [one.name for one in endpoints(bare, ["qwen3"])] == ["qwen3"]


def test_an_example_takes_the_key_from_the_shell():
    assert curl_example("http://x", key=False) == "curl -s http://x/v1/models"
    assert '-H "Authorization: Bearer $VLLM_API_KEY"' in curl_example("http://x", key=True)


def test_what_the_api_lists_is_compared_with_the_models_file():
    rows = compared([Card("qwen3", "Qwen/Qwen3-4B", 40960), Card("old")], ["qwen3", "phi4"])
    assert [row.data for row in rows] == [
        {
            "name": "qwen3",
            "state": "listed",
            "listed": True,
            "inModelsFile": True,
            "source": "Qwen/Qwen3-4B",
            "maxModelLen": 40960,
        },
        {
            "name": "phi4",
            "state": "missing",
            "listed": False,
            "inModelsFile": True,
            "source": None,
            "maxModelLen": None,
        },
        {
            "name": "old",
            "state": "not in models.yaml",
            "listed": True,
            "inModelsFile": False,
            "source": "",
            "maxModelLen": None,
        },
    ]


def test_a_name_that_a_server_made_up_cannot_steer_the_terminal():
    (row,) = compared([Card("\x1b[2J", "\x07")], [])
    assert row.row["model"] == "?[2J"
    assert row.row["source"] == "?"
