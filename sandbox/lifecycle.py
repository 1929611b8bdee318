"""A sandbox's life: up, down, and how it is."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from sandbox import (
    binaries,
    controlplane,
    locks,
    manifests,
    ports,
    processes,
    secret_store,
    state,
)
from sandbox.errors import SandboxError
from sandbox.hub.access import TOKEN_VARIABLE
from sandbox.progress import INTERVAL, Report
from sandbox.state import SandboxState
from sandbox.vault import program

MODULES = ("hub", "agent")
"""The sandbox's own long-running processes, `python -m sandbox.<name>`."""

_START_SECONDS = 60.0
_MODEL_PATH = "/api/models/Qwen/Qwen3-4B"


@dataclass(frozen=True)
class Health:
    """How a sandbox is: its processes with whether each one runs, and whether its API answers."""

    state: SandboxState
    running: dict[str, bool]
    api: bool

    @property
    def problems(self) -> list[str]:
        """What is wrong, a phrase each; empty for a sandbox that can be used."""
        dead = [f"{name} does not run" for name, runs in self.running.items() if not runs]
        return dead if self.api else [*dead, "the Kubernetes API does not answer"]


def up(
    name: str,
    report: Report,
    *,
    cpu_node: bool = False,
    without: Collection[str] = (),
    vault: bool = False,
    alongside: Callable[[SandboxState], None] = lambda _sandbox: None,
) -> SandboxState:
    """Bring up the sandbox `name`, or find it up and leave it alone.

    A broken one (a process died) is taken down and made anew. What fails or is interrupted
    is cleaned up. `without` names those of `MODULES` not to start; with `vault` it gets a
    Vault and External Secrets, also when it is up already; `alongside` is called as soon as a
    new sandbox has its directory and ports, to start something of one's own early.

    Raises SandboxError with what failed.
    """
    directory = state.directory_of(name)
    with _locked(name, report):
        if (kept := _healthy(name, report)) is not None:
            if vault:
                secret_store.up(kept, report)
            return kept
        _remove(directory)
        programs = binaries.ensure(report)
        if vault:
            program.ensure(report)
        try:
            sandbox = _choose(directory, programs, report)
            alongside(sandbox)
            _start(sandbox, report, cpu_node=cpu_node, without=without)
            if vault:
                secret_store.up(sandbox, report)
        except BaseException:
            report(f"cleaning up sandbox {name}")
            _remove(directory)
            raise
        report(f"sandbox {name} is up")
    return sandbox


def down(name: str, report: Report) -> bool:
    """End every process of a sandbox and remove its directory; False when there was nothing.

    Raises SandboxError when a process cannot be ended.
    """
    directory = state.directory_of(name)
    with _locked(name, report):
        existed = directory.exists()
        ended = _remove(directory)
    if existed or ended:
        report(f"sandbox {name} is down ({ended} processes ended)")
        return True
    report(f"no sandbox {name} is up")
    return False


def everyone() -> list[str]:
    """Return the names of all sandboxes that have a directory or a live process."""
    running = {
        directory.name
        for directory in processes.marked_directories()
        if directory.parent == state.root()
    }
    return sorted({*state.names(), *running})


def health(sandbox: SandboxState) -> Health:
    """Look at every process of a sandbox and at its API."""
    expected = [*controlplane.COMPONENTS, *processes.process_ids(sandbox)]
    return Health(
        state=sandbox,
        running={process: processes.is_running(sandbox, process) for process in expected},
        api=controlplane.api_is_ready(sandbox),
    )


def exports(sandbox: SandboxState) -> dict[str, str]:
    """Return the environment variables that point vllm-flows, helm and kubectl at the sandbox."""
    prefect = {"PREFECT_API_URL": f"{sandbox.prefect_url}/api"}
    return {
        "KUBECONFIG": str(sandbox.kubeconfig),
        "VLLM_HUB_ENDPOINT": sandbox.hub_url,
        "HF_ENDPOINT": sandbox.hub_url,
        "VLLM_CHART": str(state.CHART),
        "VLLM_MODEL_TAG": "sandbox",
        TOKEN_VARIABLE: sandbox.hub_token,
        **secret_store.exports(sandbox),
        **(prefect if processes.is_running(sandbox, "prefect") else {}),
    }


def _healthy(name: str, report: Report) -> SandboxState | None:
    """Return the sandbox if it is up and well; None when it has to be made (anew)."""
    sandbox = state.load(name)
    if sandbox is None:
        return None
    problems = health(sandbox).problems
    if not problems:
        report(f"sandbox {name} is already up")
        return sandbox
    report(f"sandbox {name} is broken ({', '.join(problems)}): making it anew")
    return None


def _choose(directory: Path, programs: dict[str, str], report: Report) -> SandboxState:
    """Make the sandbox's directory, with ports that nobody else counts on."""
    with locks.held(state.root() / ".ports.lock", "choosing ports", report):
        sandbox = SandboxState(
            directory=directory,
            identifier=secrets.token_hex(8),
            ports=ports.choose(),
            hub_token=f"hf_sandbox{secrets.token_hex(12)}",
            programs=programs,
        )
        sandbox.make_directories()
        sandbox.save()
    return sandbox


def _start(
    sandbox: SandboxState, report: Report, *, cpu_node: bool, without: Collection[str]
) -> None:
    report(f"starting the control plane on {sandbox.api_url}")
    controlplane.create(sandbox)
    controlplane.apply(sandbox, manifests.cluster_objects(cpu_node=cpu_node))
    controlplane.wait_for_accounts(sandbox)
    report("the control plane is ready, its nodes have joined")
    _start_modules(sandbox, without, report)


def _start_modules(sandbox: SandboxState, without: Collection[str], report: Report) -> None:
    """Start the Hub and the node agent, then wait for both: they take their time in parallel."""
    arguments = {
        "hub": (
            *("--port", str(sandbox.ports.hub), "--data", str(sandbox.hub)),
            *("--log-level", "warning"),
        ),
        "agent": ("--state", str(sandbox.directory)),
    }
    environ = {"hub": {TOKEN_VARIABLE: sandbox.hub_token}}
    is_ready: dict[str, Callable[[], bool]] = {
        "hub": lambda: _hub_answers(sandbox),
        "agent": sandbox.agent_ready.exists,
    }
    started = [name for name in MODULES if name not in without]
    for name in started:
        processes.start_module(sandbox, name, *arguments[name], **environ.get(name, {}))
    for name in started:
        _wait(sandbox, name, is_ready[name], report)
        report(f"the {name} is ready")


def _wait(sandbox: SandboxState, name: str, is_ready: Callable[[], bool], report: Report) -> None:
    begun = told = time.monotonic()
    while not is_ready():
        now = time.monotonic()
        if not processes.is_running(sandbox, name) or now - begun > _START_SECONDS:
            raise SandboxError(
                f"the {name} does not start", why=processes.last_words(sandbox, name)
            )
        if now - told >= INTERVAL:
            told = now
            report(f"waiting for the {name}")
        time.sleep(0.1)


def _hub_answers(sandbox: SandboxState) -> bool:
    try:
        with httpx.Client(timeout=5, trust_env=False) as client:
            return client.get(sandbox.hub_url + _MODEL_PATH).is_success
    except httpx.HTTPError:
        return False


def _remove(directory: Path) -> int:
    """End the sandbox's processes and remove its directory; return how many processes it had."""
    # An API server whose etcd is gone waits long before it ends, for data nobody wants any more.
    ended = processes.stop_all(directory, at_once=controlplane.COMPONENTS)
    if directory.exists():
        shutil.rmtree(directory)
    return ended


@contextmanager
def _locked(name: str, report: Report) -> Iterator[None]:
    # Beside the sandbox's directory, not in it: `down` removes that.
    lock = state.root() / f".{name}.lock"
    with locks.held(lock, f"taking sandbox {name} up or down", report):
        yield
