from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml

if TYPE_CHECKING:
    from conftest import CommandLine

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "served"},
    "spec": {
        "nodeName": "gpu-node-1",
        "containers": [{"name": "server", "image": "none", "ports": [{"containerPort": 8000}]}],
    },
}


def get(up: CommandLine, *arguments: str) -> Any:
    return json.loads(up.kubectl("default", "get", *arguments, "-o", "json"))


def test_the_nodes_are_ready_and_have_the_gpus_they_claim(up: CommandLine) -> None:
    up.kubectl("default", "wait", "node", "--all", "--for=condition=Ready", "--timeout=30s")
    gpus = {
        node["metadata"]["name"]: node["status"]["allocatable"].get("nvidia.com/gpu")
        for node in get(up, "nodes")["items"]
    }
    assert gpus == {"gpu-node-1": "8", "gpu-node-2": "8", "cpu-node-1": None}


def test_the_real_scheduler_counts_gpus(up: CommandLine) -> None:
    def pod(name: str, gpus: int) -> dict[str, Any]:
        resources = {"limits": {"nvidia.com/gpu": str(gpus)}}
        container = {"name": "engine", "image": "none", "resources": resources}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"containers": [container]},
        }

    pods = [pod("first", 8), pod("second", 8), pod("third", 1)]
    up.kubectl("default", "apply", "-f", "-", text=yaml.safe_dump_all(pods))
    for name in ("first", "second"):
        up.kubectl("default", "wait", f"pod/{name}", "--for=condition=PodScheduled")
    up.kubectl("default", "wait", "pod/third", "--for=condition=PodScheduled=False")
    nodes = {get(up, "pod", name)["spec"]["nodeName"] for name in ("first", "second")}
    assert nodes == {"gpu-node-1", "gpu-node-2"}
    (condition,) = get(up, "pod", "third")["status"]["conditions"]
    assert "Insufficient nvidia.com/gpu" in condition["message"]


def test_kwok_leaves_the_pods_to_the_node_agent(up: CommandLine) -> None:
    up.kubectl("default", "run", "mine", "--image=none", "--overrides", overrides("cpu-node-1"))
    up.kubectl("default", "wait", "pod/mine", "--for=condition=PodScheduled")
    up.kubectl("default", "delete", "pod", "mine", "--wait=false")
    pod = get(up, "pod", "mine")
    assert pod["status"]["phase"] == "Pending"
    assert "deletionTimestamp" in pod["metadata"]


def overrides(node: str) -> str:
    return json.dumps({"spec": {"nodeSelector": {"kubernetes.io/hostname": node}}})


def test_logs_and_port_forward_reach_what_the_kwok_objects_name(
    up: CommandLine, tmp_path: Path
) -> None:
    log = tmp_path / "pod.log"
    log.write_text("2026-01-02T03:04:05.000000000Z stdout F hello\n", encoding="utf-8")
    with echo_server() as port:
        target = {"ports": [8000], "target": {"address": "127.0.0.1", "port": port}}
        logs = {"containers": ["server"], "logsFile": str(log), "follow": True}
        kwok = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "metadata": {"name": "served"}}
        objects = [
            POD,
            {**kwok, "kind": "PortForward", "spec": {"forwards": [target]}},
            {**kwok, "kind": "Logs", "spec": {"logs": [logs]}},
        ]
        up.kubectl("default", "apply", "-f", "-", text=yaml.safe_dump_all(objects))
        up.kubectl(
            *("default", "patch", "pod", "served", "--subresource=status"),
            *("-p", json.dumps({"status": {"phase": "Running"}})),
        )
        assert wait_for_text(up, "logs", "served") == "hello\n"
        assert through_port_forward(up) == b"pong"


def wait_for_text(up: CommandLine, *arguments: str) -> str:
    """Ask until kubectl prints something: KWOK takes a moment to notice new objects."""
    while True:
        try:
            if text := up.kubectl("default", *arguments):
                return text
        except AssertionError:
            pass
        time.sleep(0.1)


@contextmanager
def echo_server() -> Iterator[int]:
    """Yield the port of a server that answers each connection with `pong`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(16)
                    connection.sendall(b"pong")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def through_port_forward(up: CommandLine) -> bytes:
    sandbox = up.state("default")
    command = [sandbox.programs["kubectl"], "--kubeconfig", str(sandbox.kubeconfig)]
    with subprocess.Popen(
        [*command, "port-forward", "pod/served", ":8000"], stdout=subprocess.PIPE, text=True
    ) as forward:
        try:
            assert forward.stdout is not None
            port = int(forward.stdout.readline().split(" -> ")[0].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"ping")
                return connection.recv(16)
        finally:
            forward.terminate()


def test_pod_security_is_enforced(up: CommandLine) -> None:
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "strict",
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }
    up.kubectl("default", "apply", "-f", "-", text=yaml.safe_dump(namespace))
    refused = up.kubectl("default", "run", "-n", "strict", "root", "--image=none", code=1)
    assert "violates PodSecurity" in refused


def test_there_is_room_for_more_services_than_a_24_has(up: CommandLine) -> None:
    cidr = get(up, "servicecidr", "kubernetes")["spec"]["cidrs"]
    assert cidr == ["10.96.0.0/16"]


def test_a_second_up_keeps_a_healthy_sandbox(up: CommandLine) -> None:
    before = up.state("default").identifier
    said = up.run("up").stderr
    assert "already up" in said
    assert up.state("default").identifier == before


def test_env_points_kubectl_and_vllm_flows_at_the_sandbox(up: CommandLine) -> None:
    script = up.run("env").stdout + "kubectl config current-context; helm version --short; env"
    done = subprocess.run(
        ["/bin/sh", "-ec", script], env=up.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("kwok-sandbox\n")
    sandbox = up.state("default")
    for line in (
        f"VLLM_HUB_ENDPOINT={sandbox.hub_url}",
        f"HF_ENDPOINT={sandbox.hub_url}",
        "VLLM_MODEL_TAG=sandbox",
        f"VLLM_SANDBOX_HF_TOKEN={sandbox.hub_token}",
    ):
        assert line in done.stdout.splitlines()
    assert "VLLM_FLOWS_SANDBOX=" not in done.stdout


def test_the_api_refuses_whoever_has_no_credentials(up: CommandLine) -> None:
    answer = httpx.get(f"{up.state('default').api_url}/api/v1/secrets", verify=False)  # noqa: S501 -- a made-up authority on 127.0.0.1
    assert answer.status_code == 403
