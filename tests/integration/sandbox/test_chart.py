"""What the stand-in chart renders, against a description of what upstream 0.1.8 renders."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml

from sandbox.state import CHART

Objects = dict[tuple[str, str], dict[str, Any]]

MODEL = {
    "name": "qwen3",
    "repository": "vllm/vllm-openai",
    "tag": "sandbox",
    "modelURL": "Qwen/Qwen3-4B",
    "replicaCount": 2,
    "requestCPU": 6,
    "requestMemory": "16Gi",
    "requestGPU": 2,
    "limitMemory": "32Gi",
    "vllmConfig": {
        "enableChunkedPrefill": False,
        "enablePrefixCaching": True,
        "maxModelLen": 8192,
        "dtype": "bfloat16",
        "tensorParallelSize": 2,
        "maxNumSeqs": 32,
        "gpuMemoryUtilization": 0.9,
        "maxLoras": 4,
        "extraArgs": ["--revision", "abc"],
    },
    "env": [{"name": "HF_HUB_CACHE", "value": "/weights"}],
    "podAnnotations": {"example.com/revision": "abc"},
    "annotations": {"example.com/digest": "def"},
    "extraVolumes": [{"name": "weights", "persistentVolumeClaim": {"claimName": "weights-qwen3"}}],
    "extraVolumeMounts": [{"name": "weights", "mountPath": "/weights", "readOnly": True}],
}
PLAIN = {
    "name": "plain",
    "repository": "vllm/vllm-openai",
    "tag": "sandbox",
    "modelURL": "org/plain",
    "replicaCount": 1,
    "requestCPU": 1,
    "requestMemory": "1Gi",
    "requestGPU": 0,
}


@pytest.fixture(scope="session")
def helm(programs: dict[str, str]) -> str:
    return programs["helm"]


def run(helm: str, engine: dict[str, Any], router: dict[str, Any]) -> tuple[int, str]:
    values = {"servingEngineSpec": engine, "routerSpec": router}
    done = subprocess.run(
        [helm, "template", "vllm", str(CHART), "--namespace", "models", "--values", "-"],
        input=yaml.safe_dump(values),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def render(
    helm: str, engine: dict[str, Any] | None = None, router: dict[str, Any] | None = None
) -> Objects:
    code, output = run(helm, {"modelSpec": [MODEL, PLAIN], **(engine or {})}, router or {})
    assert code == 0, output
    documents = [each for each in yaml.safe_load_all(output) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def engine_pod(objects: Objects, model: str = "qwen3") -> dict[str, Any]:
    template = objects["Deployment", f"vllm-{model}-deployment-vllm"]["spec"]["template"]
    pod: dict[str, Any] = template["spec"]
    return pod


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    found: dict[str, Any] = only
    return found


def variables(pod: dict[str, Any]) -> dict[str, Any]:
    return {
        each["name"]: each.get("value", each.get("valueFrom")) for each in container(pod)["env"]
    }


def test_the_objects_have_upstreams_names_and_live_in_the_releases_namespace(helm: str) -> None:
    objects = render(helm)
    assert set(objects) == {
        ("Deployment", "vllm-qwen3-deployment-vllm"),
        ("Deployment", "vllm-plain-deployment-vllm"),
        ("Deployment", "vllm-deployment-router"),
        ("Service", "vllm-qwen3-engine-service"),
        ("Service", "vllm-plain-engine-service"),
        ("Service", "vllm-router-service"),
        ("PodDisruptionBudget", "vllm-pdb"),
        ("Secret", "vllm-secrets"),
        ("ServiceAccount", "vllm-router-service-account"),
        ("Role", "vllm-reader"),
        ("RoleBinding", "vllm-deployment-access-binding"),
    }
    assert {each["metadata"]["namespace"] for each in objects.values()} == {"models"}


def test_the_engines_command_has_upstreams_flags_in_upstreams_order(helm: str) -> None:
    assert container(engine_pod(render(helm)))["command"] == [
        *("vllm", "serve", "Qwen/Qwen3-4B", "--host", "0.0.0.0", "--port", "8000"),  # noqa: S104 -- what upstream renders
        *("--no-enable-chunked-prefill", "--enable-prefix-caching"),
        *("--max-model-len", "8192", "--dtype", "bfloat16", "--tensor-parallel-size", "2"),
        *("--max-num-seqs", "32", "--gpu_memory_utilization", "0.9", "--max_loras", "4"),
        *("--revision", "abc"),
    ]


def test_options_without_prefix_caching_turn_it_off_as_upstream_does(helm: str) -> None:
    model = {**PLAIN, "vllmConfig": {"dtype": "auto"}}
    command = container(engine_pod(render(helm, {"modelSpec": [model]}), "plain"))["command"]
    assert command[-3:] == ["--no-enable-prefix-caching", "--dtype", "auto"]


def test_the_deployment_selects_by_the_labels_that_make_it_immutable(helm: str) -> None:
    deployment = render(helm)["Deployment", "vllm-qwen3-deployment-vllm"]
    labels = {
        "model": "qwen3",
        "helm-release-name": "vllm",
        "environment": "test",
        "release": "test",
    }
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert deployment["metadata"]["labels"] == labels
    assert deployment["spec"]["template"]["metadata"] == {
        "labels": labels,
        "annotations": {"example.com/revision": "abc"},
    }
    assert deployment["metadata"]["annotations"] == {"example.com/digest": "def"}


def test_the_default_strategy_wants_a_second_copy_of_everything(helm: str) -> None:
    spec = render(helm)["Deployment", "vllm-qwen3-deployment-vllm"]["spec"]
    assert spec["strategy"] == {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}
    assert spec["progressDeadlineSeconds"] == 1200


def test_a_given_strategy_replaces_the_default(helm: str) -> None:
    objects = render(helm, {"strategy": {"type": "Recreate"}})
    spec = objects["Deployment", "vllm-qwen3-deployment-vllm"]["spec"]
    assert spec["strategy"] == {"type": "Recreate"}


def test_gpus_are_requested_and_limited_and_a_pod_without_gpus_names_none(helm: str) -> None:
    objects = render(helm)
    assert container(engine_pod(objects))["resources"] == {
        "requests": {"cpu": "6", "memory": "16Gi", "nvidia.com/gpu": "2"},
        "limits": {"memory": "32Gi", "nvidia.com/gpu": "2"},
    }
    assert container(engine_pod(objects, "plain"))["resources"] == {
        "requests": {"cpu": "1", "memory": "1Gi"}
    }


def test_shared_memory_goes_with_tensor_parallelism(helm: str) -> None:
    objects = render(helm)
    pod = engine_pod(objects)
    assert pod["volumes"] == [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "20Gi"}},
        *MODEL["extraVolumes"],
    ]
    assert container(pod)["volumeMounts"] == [
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 -- what upstream renders
        *MODEL["extraVolumeMounts"],
    ]
    assert "volumes" not in engine_pod(objects, "plain")


def test_secrets_are_referred_to_and_never_written_out(helm: str) -> None:
    model = {**MODEL, "hf_token": {"secretName": "hub", "secretKey": "token"}}
    key = {"secretName": "vllm-api-key", "secretKey": "api-key"}
    objects = render(helm, {"modelSpec": [model], "vllmApiKey": key})
    engine = variables(engine_pod(objects))
    assert engine["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert engine["VLLM_API_KEY"] == {"secretKeyRef": {"name": "vllm-api-key", "key": "api-key"}}
    router = objects["Deployment", "vllm-deployment-router"]["spec"]["template"]["spec"]
    assert variables(router)["VLLM_API_KEY"] == engine["VLLM_API_KEY"]


def test_the_models_own_variables_come_after_the_charts(helm: str) -> None:
    names = [each["name"] for each in container(engine_pod(render(helm)))["env"]]
    assert names == [
        *("PYTHONHASHSEED", "HF_HOME", "POD_IP", "LMCACHE_LOG_LEVEL", "PROMETHEUS_MULTIPROC_DIR"),
        "HF_HUB_CACHE",
    ]


def test_the_router_finds_engines_by_the_labels_they_share(helm: str) -> None:
    objects = render(helm, {"labels": {"tier": "blue"}}, {"extraArgs": ["--log-level", "info"]})
    pod = objects["Deployment", "vllm-deployment-router"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "vllm-router-service-account"
    assert container(pod)["args"] == [
        *("--host", "0.0.0.0", "--port", "8000", "--service-discovery", "k8s"),  # noqa: S104 -- what upstream renders
        *("--k8s-namespace", "models", "--k8s-service-discovery-type", "pod-ip"),
        *("--k8s-label-selector", "environment=test,release=test,tier=blue"),
        *("--routing-logic", "roundrobin"),
        *("--engine-stats-interval", "15", "--request-stats-window", "60"),
        *("--log-level", "info"),
    ]


def test_the_routers_probes_get_its_port(helm: str) -> None:
    objects = render(helm, None, {"containerPort": 9001, "startupProbe": {"failureThreshold": 60}})
    router = container(objects["Deployment", "vllm-deployment-router"]["spec"]["template"]["spec"])
    assert router["startupProbe"] == {
        "initialDelaySeconds": 5,
        "periodSeconds": 5,
        "failureThreshold": 60,
        "httpGet": {"path": "/health", "port": 9001},
    }


def test_services_lead_to_the_ports_users_know(helm: str) -> None:
    objects = render(helm)
    router = objects["Service", "vllm-router-service"]["spec"]
    assert (router["ports"][0]["port"], router["ports"][0]["targetPort"]) == (80, 8000)
    assert router["selector"] == {"environment": "router", "release": "router"}
    engine = objects["Service", "vllm-qwen3-engine-service"]["spec"]
    assert (engine["ports"][0]["port"], engine["ports"][0]["targetPort"]) == (80, "container-port")
    assert engine["selector"] == {"model": "qwen3", "helm-release-name": "vllm"}


def test_without_a_router_nothing_of_it_is_made(helm: str) -> None:
    kinds = {kind for kind, _ in render(helm, None, {"enableRouter": False})}
    assert kinds == {"Deployment", "Service", "PodDisruptionBudget", "Secret"}


@pytest.mark.parametrize(
    ("engine", "router"),
    [
        ({"modelSpec": [{**PLAIN, "pvcStorage": "1Gi"}]}, {}),
        ({"modelSpec": [{**PLAIN, "vllmConfig": {"revision": "abc"}}]}, {}),
        ({"raySpec": {}}, {}),
        ({}, {"ingress": {"enabled": True}}),
    ],
)
def test_a_value_it_does_not_know_is_refused_rather_than_ignored(
    helm: str, engine: dict[str, Any], router: dict[str, Any]
) -> None:
    code, output = run(helm, engine, router)
    assert code != 0
    assert "additional properties" in output
