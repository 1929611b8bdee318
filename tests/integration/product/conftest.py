"""One whole sandbox for these tests, and a namespace of its own for each."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import demo, lifecycle
from sandbox.hub.safetensors import safetensors_bytes
from sandbox.progress import silent
from sandbox.state import SandboxState
from sandbox.vault.running import Keys
from tests import prefect_api
from tests.integration.product.diagnosis_bench import Bench
from tests.integration.product.watched import Watched
from tests.support import as_on_a_terminal
from vllm_flows.cluster import Cluster

# Building the sandbox's programs, once per machine, takes minutes.
_FIRST_SECONDS = 1500
_COMMAND_SECONDS = 150
_PATIENCE = 120.0
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the first test the time to build the programs."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_FIRST_SECONDS))


@dataclass(frozen=True)
class Product:
    """The command line `vllm-flows` in one namespace of the sandbox.

    As an administrator, unless a `kubeconfig` says as whom; kubectl always is one.
    """

    sandbox: SandboxState
    namespace: str
    folder: Path
    kubeconfig: Path | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the commands."""
        account = {"KUBECONFIG": str(self.kubeconfig)} if self.kubeconfig else {}
        return demo.environment(self.sandbox) | {"VLLM_NAMESPACE": self.namespace} | account

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start a command; its stdout and stderr are pipes."""
        return subprocess.Popen(
            [Path(sys.executable).with_name("vllm-flows"), *arguments],
            cwd=self.folder,
            env=self.environ | environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=as_on_a_terminal,  # noqa: PLW1509 -- no thread runs in a test
        )

    @contextmanager
    def watched(self, *verb: str, **environ: str) -> Iterator[Watched]:
        """Start a command, `install` if none; it is killed when the block leaves it at work."""
        process = self.start(*(verb or ["install"]), "--yes", **environ)
        try:
            yield Watched(process)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                assert pipe
                pipe.close()

    def run(
        self, *arguments: str, code: int = 0, stdin: str = "", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and insist on its exit code."""
        with self.start(*arguments, **environ) as process:
            try:
                output, errors = process.communicate(stdin, timeout=_COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        done = subprocess.CompletedProcess(arguments, process.returncode, output, errors)
        assert done.returncode == code, errors
        return done

    def models(self, *blocks: str) -> None:
        """Write models.yaml."""
        (self.folder / "models.yaml").write_text("".join(blocks))

    def install(self, *blocks: str, code: int = 0, **environ: str) -> str:
        """Write models.yaml, install, and return what was said."""
        self.models(*blocks)
        return self.run("install", "--yes", code=code, **environ).stderr

    def set_token(self) -> None:
        """Store the token that has access to the gated model."""
        self.run("set-hf-token", "--stdin", stdin=self.sandbox.hub_token)

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in the namespace."""
        program = [self.sandbox.programs["kubectl"], "--kubeconfig", str(self.sandbox.kubeconfig)]
        command = [*program, "-n", self.namespace, *arguments]
        return subprocess.check_output(command, text=True, timeout=60)

    def objects(self, kinds: str, selector: str = "") -> list[dict[str, Any]]:
        """Return objects of these kinds."""
        text = self.kubectl("get", kinds, "-o", "json", "-l", selector)
        found: list[dict[str, Any]] = json.loads(text)["items"]
        return found

    def versions(self) -> dict[str, str]:
        """Return every object's kind, name and version: equal means nothing was written."""
        kinds = "all,pvc,configmap,secret,serviceaccount,role,rolebinding,pdb"
        return {
            f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for item in self.objects(kinds)
        }

    def engine_pods(self) -> dict[str, str]:
        """Return the engine pods' names and unique ids."""
        pods = self.objects("pods", "helm-release-name=vllm")
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}

    def helm(self, *arguments: str) -> str:
        """Run helm in the namespace."""
        command = [self.sandbox.programs["helm"], "-n", self.namespace, *arguments]
        return subprocess.check_output(command, text=True, env=self.environ, timeout=60)

    def lease_holder(self) -> str:
        """Return who holds the lock; "" when nobody does."""
        (lease,) = self.objects("leases")
        return str(lease["spec"].get("holderIdentity", ""))

    def release_statuses(self) -> list[str]:
        """Return the status of every kept revision of the release, the oldest first."""
        secrets = self.objects("secrets", "owner=helm,name=vllm")
        labels = [secret["metadata"]["labels"] for secret in secrets]
        return [one["status"] for one in sorted(labels, key=lambda one: int(one["version"]))]

    def only_free(self, gpus: int) -> None:
        """Let somebody else take all GPUs but so many."""
        for node, taken in (("gpu-node-1", 8), ("gpu-node-2", 8 - gpus)):
            holds = {"nvidia.com/gpu": str(taken)}
            container = {
                "name": "train",
                "image": "busybox",
                "command": ["sleep", "3600"],
                "resources": {"requests": holds, "limits": holds},
            }
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"train-{node}", "labels": {"app": "train"}},
                "spec": {
                    "nodeName": node,
                    "containers": [container],
                    "terminationGracePeriodSeconds": 0,
                },
            }
            path = self.folder / f"{node}.json"
            path.write_text(json.dumps(pod))
            self.kubectl("-n", "default", "apply", "-f", str(path))
        ready = "--for=condition=Ready"
        self.kubectl("-n", "default", "wait", "pods", "-l", "app=train", ready, "--timeout=60s")

    def assert_settled(self, model: str = "qwen3") -> None:
        """Insist that nothing is left of interrupted runs, and nothing is there twice."""
        *before, last = self.release_statuses()
        assert last == "deployed"
        assert set(before) <= {"superseded"}
        rows = json.loads(self.helm("history", "vllm", "-o", "json"))[-3:]
        values = [
            self.helm("get", "values", "vllm", "--revision", str(row["revision"])) for row in rows
        ]
        assert all(one != the_next for one, the_next in itertools.pairwise(values))
        assert [one["metadata"]["name"] for one in self.objects("pvc")] == [f"weights-{model}"]
        jobs = [pod["metadata"]["labels"]["job-name"] for pod in self.objects("pods", "job-name")]
        assert len(jobs) == len(set(jobs))
        assert self.lease_holder() == ""

    def vanish(self) -> None:
        """Give back what the namespace holds, far faster than `vllm-flows uninstall` does.

        Pods go at once: in a namespace that ends nothing makes new ones.
        """
        self.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")
        self.kubectl("delete", "pods", "--all", "--force", "--wait=false")

    def hub(self, verb: str, **body: object) -> Any:
        """Tell the sandbox's Hub how to behave, and return what it answers."""
        url = f"{self.sandbox.hub_url}/_sandbox/{verb}"
        return httpx.post(url, json=body, trust_env=False).raise_for_status().json()

    def prefect(self, path: str, method: str = "POST", **body: object) -> Any:
        """Ask the Prefect API."""
        return prefect_api.ask(f"{self.sandbox.prefect_url}/api", path, method, **body)

    def deployment(self) -> str:
        """Return the id of the flow `deploy` as it is served, once it is."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            for one in self.prefect("deployments/filter"):
                if one["name"] == "deploy":
                    return str(one["id"])
            time.sleep(0.1)
        raise AssertionError(self.prefect("deployments/filter"))

    def said_in_flow_run(self, run_id: str) -> str:
        """Return the log of a run of the Prefect server."""
        logs = self.prefect("logs/filter", logs={"flow_run_id": {"any_": [run_id]}})
        return "\n".join(line["message"] for line in logs)

    def flow_run_until(self, run_id: str, states: set[str], said: str = "") -> str:
        """Wait until a run of the Prefect server is in one of the states, or has said something."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            (run,) = self.prefect("flow_runs/filter", flow_runs={"id": {"any_": [run_id]}})
            heard = said and said in self.said_in_flow_run(run_id)
            if run["state_type"] in states or heard:
                return str(run["state_type"])
            time.sleep(0.1)
        raise AssertionError(run["state"])

    def interrupt(self, process: subprocess.Popen[str]) -> str:
        """Press Ctrl-C and return what the command said until it ended."""
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=_COMMAND_SECONDS)
        return errors


@pytest.fixture(scope="session")
def sandbox(sandbox_home: Path) -> Iterator[SandboxState]:
    """Bring up a sandbox with a Prefect server, in a place of its own."""
    assert sandbox_home
    try:
        made = lifecycle.up("product", silent)
        demo.start_prefect(made, silent)
        yield made
    finally:
        lifecycle.down("product", silent)


@pytest.fixture
def product(sandbox: SandboxState, tmp_path: Path) -> Iterator[Product]:
    """Give each test a namespace, and free its GPUs afterwards."""
    made = Product(sandbox, f"test-{next(_numbers)}-{os.getpid()}", tmp_path)
    yield made
    made.vanish()
    for verb in ("behave", "rewind"):
        made.hub(verb)


@pytest.fixture
def vaulted(vault_sandbox: SandboxState, vault: Keys, tmp_path: Path) -> Iterator[Product]:
    """Give each test a namespace of the sandbox that has a Vault and External Secrets."""
    demo.start_prefect(vault_sandbox, silent)
    made = Product(vault_sandbox, f"test-{next(_numbers)}-{os.getpid()}", tmp_path)
    yield made
    vault.unseal()
    made.run("uninstall", "--yes", "--delete-weights")


@pytest.fixture
def place(vault_sandbox: SandboxState, vault: Keys, tmp_path: Path) -> Iterator[Product]:
    """Give each test a namespace beside a Vault for what runs no flow; it is just deleted."""
    assert vault
    made = Product(vault_sandbox, f"test-{next(_numbers)}-{os.getpid()}", tmp_path)
    yield made
    made.kubectl("delete", "namespace", made.namespace, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def shared_product(
    sandbox: SandboxState, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """Give all tests of a module one namespace."""
    folder = tmp_path_factory.mktemp("shared")
    made = Product(sandbox, f"test-{next(_numbers)}-{os.getpid()}", folder)
    yield made
    made.vanish()


@pytest.fixture
def crowded(product: Product) -> Iterator[Product]:
    """Take the GPUs that a test took back when it is over."""
    yield product
    product.kubectl("-n", "default", "delete", "pod", "-l", "app=train", "--wait")


@pytest.fixture
def bench(
    sandbox: SandboxState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """Give each test a namespace, and take its pods away afterwards."""
    monkeypatch.setenv("KUBECONFIG", str(sandbox.kubeconfig))
    namespace = f"diagnosis-{next(_numbers)}-{os.getpid()}"
    model = tmp_path / "model"
    model.mkdir()
    config = {"max_position_embeddings": 2048, "num_attention_heads": 4}
    (model / "config.json").write_text(json.dumps(config))
    (model / "model.safetensors").write_bytes(safetensors_bytes({"a": (64, 64)}, "a"))
    made = Bench(sandbox, namespace, Cluster.connect(namespace), model)
    made.kubectl("create", "namespace", namespace)
    yield made
    made.kubectl("delete", "namespace", namespace, "--wait=false")
