"""A Deployment of its own in a namespace of its own, to cause failures and look at them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.state import SandboxState
from vllm_flows.cluster import Cluster
from vllm_flows.diagnosis_categories import Category, Diagnosis
from vllm_flows.diagnosis_watch import ReadinessWatch

NAME = "vllm-q-deployment-vllm"
LIMIT_SECONDS = 10.0
_START_SECONDS = 40.0
"""How long an engine may run on a busy machine until it finds what is wrong with it."""
FASTER = 4.0
"""What waits 20 seconds to be sure is sure after 5 here."""
Spec = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """A namespace with one Deployment to be looked at."""

    sandbox: SandboxState
    namespace: str
    cluster: Cluster
    model: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the namespace."""
        program = [self.sandbox.programs["kubectl"], "--kubeconfig", str(self.sandbox.kubeconfig)]
        command = [*program, "-n", self.namespace, *arguments]
        return subprocess.run(
            command, input=stdin, text=True, check=True, capture_output=True, timeout=60
        ).stdout

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Create or change objects."""
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def serve(self, *arguments: str, **container: Any) -> Spec:
        """Return the spec of an engine's pod; what is given replaces fields of its container."""
        gpus = {"nvidia.com/gpu": "1"}
        engine = {
            "name": "vllm",
            "image": "vllm/vllm-openai:sandbox",
            "command": ["vllm", "serve", *(arguments or ("/model",)), "--port", "8000"],
            "ports": [{"containerPort": 8000}],
            "resources": {"requests": gpus, "limits": gpus},
            "volumeMounts": [{"name": "model", "mountPath": "/model"}],
            **container,
        }
        return {
            "containers": [engine],
            "volumes": [{"name": "model", "hostPath": {"path": str(self.model)}}],
            "terminationGracePeriodSeconds": 1,
        }

    def says(self, words: str, code: int = 1) -> Spec:
        """Return the spec of a container that says something and ends."""
        script = 'printf "%s\\n" "$WORDS" >&2; exit "$CODE"'
        environ = [{"name": "WORDS", "value": words}, {"name": "CODE", "value": str(code)}]
        return self.serve(image="busybox", command=["sh", "-c", script], env=environ)

    def deploy(self, spec: Spec, digest: str = "one", **fields: Any) -> None:
        """Write the Deployment."""
        labels = {"model": "q"}
        metadata = {"labels": labels, "annotations": {"vllm-flows.io/config-digest": digest}}
        template = {"metadata": metadata, "spec": spec}
        self.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": NAME, "namespace": self.namespace},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": labels},
                    "template": template,
                    **fields,
                },
            }
        )

    def told(
        self, category: Category, *, definite: bool = True, seconds: float = LIMIT_SECONDS
    ) -> Diagnosis:
        """Look until the diagnosis is this one, for at most so long since its cause was there.

        That is now or, where an engine runs that has not failed yet, its failure.
        """
        watch = ReadinessWatch(self.cluster, lambda: time.monotonic() * FASTER)
        begin = caused = time.monotonic()
        said: list[str] = []
        while time.monotonic() < caused + seconds:
            deployment = self.cluster.get("Deployment", NAME)
            assert deployment
            found = watch.diagnose(deployment)
            said.append(f"{found.category} {found.definite}: {found.summary}: {found.detail}")
            if found.category is category and found.definite == definite:
                return found
            time.sleep(0.25)
            if self._starts() and time.monotonic() < begin + _START_SECONDS:
                caused = time.monotonic()
        raise AssertionError("\n".join(dict.fromkeys(said)))

    def _starts(self) -> bool:
        """Say whether an engine runs, and none has failed yet."""
        pods = self.cluster.find("Pod", "model=q")
        found = [one for pod in pods for one in pod["status"].get("containerStatuses") or []]
        failed = any("terminated" in (one.get("lastState") or {}) for one in found)
        return not failed and any("running" in one["state"] for one in found)


def claim(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "",
            **spec,
        },
    }


def mounting(bench: Bench, name: str) -> Spec:
    """Return an engine's pod with a volume claim."""
    spec = bench.serve()
    spec["volumes"].append({"name": "weights", "persistentVolumeClaim": {"claimName": name}})
    return spec


def with_gpus(bench: Bench, count: int, **other: str) -> Spec:
    wanted = {"nvidia.com/gpu": str(count), **other}
    return bench.serve(resources={"requests": wanted, "limits": wanted})
