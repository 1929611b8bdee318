"""`python -m sandbox.agent --state DIR`: run the pods of the simulated nodes.

Writes DIR/agent.ready when it watches. VLLM_SANDBOX_BACKOFF_SECONDS (default 10) is the first
wait before a failed container is started again; VLLM_SANDBOX_PROBE_FACTOR (default 1)
multiplies the delays and periods of probes, so with 0.1 a pod that is well gets ready
sooner; what fails has as much time as before.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path

import httpx

from sandbox.agent import shims
from sandbox.agent.agent import Agent
from sandbox.agent.api import Api
from sandbox.agent.events import Recorder
from sandbox.agent.node import Node
from sandbox.agent.ports import Addresses, Ports
from sandbox.agent.processes import end_leftovers
from sandbox.agent.provisioner import Provisioner


def main() -> None:
    """Run until SIGTERM or SIGINT, then end every container."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.agent", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the sandbox's directory")
    parser.add_argument("--kubeconfig", type=Path, help="default: DIR/kubeconfig")
    arguments = parser.parse_args()
    state: Path = arguments.state.resolve()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    ready = state / "agent.ready"
    ready.unlink(missing_ok=True)
    agent = _start(state, arguments.kubeconfig or state / "kubeconfig")
    agent.watching.wait()
    ready.write_text(f"{os.getpid()}\n")
    stopping.wait()
    ready.unlink(missing_ok=True)
    agent.end()


def _start(state: Path, kubeconfig: Path) -> Agent:
    """Clear up behind an earlier agent and start every thread."""
    end_leftovers(state / "pods")
    shims.write(state / "bin", os.environ)
    api = Api(kubeconfig)
    node = Node(
        state=state,
        kubeconfig=kubeconfig.resolve(),
        api=api,
        recorder=Recorder(api),
        addresses=Addresses(_used_addresses(api)),
        ports=Ports(),
        probes=httpx.Client(trust_env=False, follow_redirects=False),
    )
    agent = Agent(node)
    provisioner = Provisioner(api, state / "volumes")
    for work in (agent.follow, provisioner.follow_claims, provisioner.follow_volumes):
        threading.Thread(target=work, daemon=True).start()
    return agent


def _used_addresses(api: Api) -> list[str]:
    pods = api.get("/api/v1/pods")["items"]
    return [pod["status"]["podIP"] for pod in pods if (pod.get("status") or {}).get("podIP")]


if __name__ == "__main__":
    main()
