"""What all pods of the simulated nodes share, and where things lie on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox.agent.api import Api
from sandbox.agent.events import Recorder
from sandbox.agent.names import KUBECONFIG_VARIABLE, SERVICE_ACCOUNT_VARIABLE
from sandbox.agent.ports import Addresses, Ports
from sandbox.agent.processes import POD_VARIABLE
from sandbox.agent.shims import REPOSITORY

Object = dict[str, Any]

_MARKER = "VLLM_FLOWS_SANDBOX"
_PASSED_ON = (_MARKER, "VLLM_SANDBOX_LOAD_SECONDS", "VLLM_SANDBOX_TOKEN_SECONDS")
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
PROBE_VARIABLE = "VLLM_SANDBOX_PROBE_FACTOR"
BACKOFF_VARIABLE = "VLLM_SANDBOX_BACKOFF_SECONDS"


@dataclass(frozen=True)
class Node:
    """The agent's means, given to every pod."""

    state: Path
    kubeconfig: Path
    api: Api
    recorder: Recorder
    addresses: Addresses
    ports: Ports
    probes: httpx.Client

    @property
    def backoff_seconds(self) -> float:
        """The first wait before a failed container is started again."""
        return float(os.environ.get(BACKOFF_VARIABLE, "10"))

    @property
    def probe_factor(self) -> float:
        """What the delays and periods of probes are multiplied by."""
        return float(os.environ.get(PROBE_VARIABLE, "1"))

    def pod_folder(self, uid: str) -> Path:
        """Return the folder of a pod: its volumes and its containers' own files."""
        return self.state / "pods" / uid

    def log(self, pod: Object, container: str, run: int | str) -> Path:
        """Return a container's log file; `run` is the restart count or a link's name."""
        metadata = pod["metadata"]
        name = f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"
        return self.state / "logs" / "pods" / name / container / f"{run}.log"

    def environment(self, pod: Object, home: Path, *, engine: bool, router: bool) -> dict[str, str]:
        """Return what every container finds in its environment beside its own variables.

        Nothing else of the agent's environment reaches a container: no token, no kubeconfig,
        no proxy. A router also learns which cluster it is in and as whom it speaks to it.
        """
        path = os.environ.get("PATH", _SYSTEM_PATH)
        metadata = pod["metadata"]
        variables = {
            "PATH": f"{self.state / 'bin'}{os.pathsep}{path}" if engine else path,
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "HOSTNAME": pod["spec"].get("hostname") or metadata["name"],
            POD_VARIABLE: str(self.pod_folder(metadata["uid"])),
        }
        if router:
            account = pod["spec"].get("serviceAccountName", "default")
            variables |= {
                "PYTHONPATH": str(REPOSITORY),
                KUBECONFIG_VARIABLE: str(self.kubeconfig),
                SERVICE_ACCOUNT_VARIABLE: (
                    f"system:serviceaccount:{metadata['namespace']}:{account}"
                ),
            }
        return variables | {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
