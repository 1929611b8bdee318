"""The sandbox's Kubernetes control plane: etcd, API server, controller manager, scheduler, KWOK.

kwokctl starts them with its binary runtime; they are the real programs.
"""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import httpx
import yaml

from sandbox.errors import SandboxError
from sandbox.manifests import Manifest, audit_policy, kwokctl_configuration
from sandbox.processes import environment
from sandbox.state import CLUSTER, SandboxState

COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok-controller",
)
_CREATE_SECONDS = 180
_APPLY_SECONDS = 60
_SPARE_SECONDS = 10


def create(state: SandboxState) -> None:
    """Start the control plane and return when its API is ready.

    Raises SandboxError with the last words of kwokctl.
    """
    state.audit_policy.write_text(yaml.safe_dump(audit_policy()), encoding="utf-8")
    configuration = state.directory / "kwokctl.yaml"
    configuration.write_text(
        yaml.safe_dump_all(kwokctl_configuration(state), sort_keys=False), encoding="utf-8"
    )
    _run(
        state,
        [
            *(state.programs["kwokctl"], "create", "cluster", "--name", CLUSTER),
            *("--config", str(configuration)),
            # Otherwise kwokctl changes the caller's own ~/.kube/config.
            *("--kubeconfig", str(state.kubeconfig)),
            *("--wait", f"{_CREATE_SECONDS - 60}s"),
        ],
        timeout=_CREATE_SECONDS,
    )
    if not api_is_ready(state):
        raise SandboxError(
            "the Kubernetes API does not get ready",
            next_command=f"cat {state.kwok / 'clusters' / CLUSTER / 'logs' / 'kube-apiserver.log'}",
        )


def apply(state: SandboxState, objects: list[Manifest]) -> None:
    """Create or update cluster objects. Raises SandboxError with kubectl's words."""
    _run(
        state,
        [state.programs["kubectl"], "--kubeconfig", str(state.kubeconfig), "apply", "-f", "-"],
        timeout=_APPLY_SECONDS,
        text=yaml.safe_dump_all(objects, sort_keys=False),
    )


def wait_for_accounts(state: SandboxState) -> None:
    """Return when pods can be made in the namespace default: its service account is there.

    The controller manager makes it some time after the API is ready. Raises SandboxError.
    """
    _run(
        state,
        [
            *(state.programs["kubectl"], "--kubeconfig", str(state.kubeconfig)),
            *("wait", "--for=create", "serviceaccount/default", "--namespace=default"),
            f"--timeout={_APPLY_SECONDS}s",
        ],
        timeout=_APPLY_SECONDS + _SPARE_SECONDS,
    )


def api_is_ready(state: SandboxState) -> bool:
    """Whether the API server answers that it is ready."""
    try:
        with _client(str(authority(state))) as client:
            return client.get(f"{state.api_url}/readyz").is_success
    except (httpx.HTTPError, OSError):
        return False


def authority(state: SandboxState) -> Path:
    """Return the certificate of whoever signed the API server's certificate."""
    return state.kwok / "clusters" / CLUSTER / "pki" / "ca.crt"


def _client(authority: str) -> httpx.Client:
    return httpx.Client(
        verify=ssl.create_default_context(cafile=authority), timeout=5, trust_env=False
    )


def _run(state: SandboxState, command: list[str], *, timeout: float, text: str = "") -> None:
    try:
        done = subprocess.run(
            command,
            input=text,
            env=environment(state.directory, KWOK_WORKDIR=str(state.kwok)),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"{command[0]} did not end within {timeout:.0f} s") from error
    if done.returncode != 0:
        raise SandboxError(f"{' '.join(command[:3])} failed", why=_end_of(done.stderr))


def _end_of(text: str) -> str:
    return "\n       ".join(text.strip().splitlines()[-10:])
