"""Install the NVIDIA device plugin, and wait until nodes offer their GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.running import ONCE, RETRIED, say, task
from vllm_flows.chart import Chart
from vllm_flows.device_plugin import gpu_nodes, plugin_namespace, runtime_class
from vllm_flows.errors import TimedOutError
from vllm_flows.nodes import GPU
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds
from vllm_flows.waiting import Pending, wait_for

_POLL_SECONDS = 2.0


@task(name="make runtime class", task_run_name="make runtime class", **RETRIED)
def make_runtime_class(session: Session, name: str) -> None:
    """Make the RuntimeClass."""
    session.cluster.apply(runtime_class(name))
    say(f"RuntimeClass {name} made")


@task(name="install device plugin", task_run_name="install device plugin", **ONCE)
def install_plugin(session: Session, chart: Chart, values: Mapping[str, Any]) -> None:
    """Make the namespace if there is none, then install or upgrade the release."""
    name = session.settings.namespace
    if session.cluster.get("Namespace", name) is None:
        session.cluster.apply(plugin_namespace(name))
        say(f"namespace {name} made")
    revision = session.helm.upgrade(chart, values, kinds=True)
    say(f"device plugin: release revision {revision} (chart {chart.version})")


@task(name="wait for GPUs", task_run_name="wait for GPUs", **ONCE)
def wait_for_gpus(session: Session, seconds: float) -> None:
    """Wait until a node offers GPUs. Raises TimedOutError that says what to look at."""

    def ask() -> bool | Pending:
        offering = [node for node in gpu_nodes(session.cluster.find("Node")) if node.gpus]
        if not offering:
            pods = len(session.cluster.find("Pod"))
            return Pending(f"no node offers {GPU} yet; the plugin has {pods} pods")
        say(", ".join(f"{node.name} offers {node.gpus} {GPU}" for node in offering))
        return True

    namespace = session.settings.namespace
    wait_for(
        ask,
        seconds=seconds,
        every=_POLL_SECONDS,
        say=say,
        out_of_time=lambda last: TimedOutError(
            f"the device plugin is installed, and after {human_seconds(seconds)} no node offers "
            f"{GPU}",
            why=f"{last}. They run on nodes where feature discovery found an NVIDIA device, or "
            "with the label nvidia.com/gpu.present=true; they need the NVIDIA driver and container "
            "toolkit there",
            next_command=f"kubectl -n {namespace} get pods -o wide; kubectl -n {namespace} logs "
            "-l app.kubernetes.io/name=nvidia-device-plugin",
        ),
        clock=session.clock,
    )
