"""Let nodes offer their GPUs: NVIDIA's device plugin as a Helm release of its own."""

from __future__ import annotations

from prefect import flow

from flows.running import session_for
from tasks.device_plugin import install_plugin, make_runtime_class, wait_for_gpus
from tasks.masked_pickle import RESULTS
from tasks.running import say
from vllm_flows.device_plugin import is_up_to_date, plugin_chart, plugin_values
from vllm_flows.looking_at_plugin import for_plugin, look_at_plugin


@flow(name="device-plugin", flow_run_name="device-plugin", result_serializer=RESULTS)
def device_plugin(  # noqa: PLR0913 -- what can be chosen
    kube_context: str | None = None,
    chart: str | None = None,
    repository: str | None = None,
    version: str | None = None,
    namespace: str | None = None,
    *,
    plugin: bool = True,
    runtime_class: bool = False,
    seconds: float = 300.0,
) -> None:
    """Install or upgrade the device plugin, and wait until a node offers GPUs.

    Helm itself lets no two at it; the namespace of the models is not touched.

    Args:
        kube_context: kubeconfig context; leave out for VLLM_KUBE_CONTEXT.
        chart: Chart folder, OCI reference or name; leave out for VLLM_DEVICE_PLUGIN_CHART.
        repository: Chart repository; leave out for VLLM_DEVICE_PLUGIN_REPOSITORY.
        version: Chart version; leave out for VLLM_DEVICE_PLUGIN_VERSION.
        namespace: The plugin's own; leave out for VLLM_DEVICE_PLUGIN_NAMESPACE.
        plugin: Install the plugin; without it only what else is asked for is done.
        runtime_class: Make the RuntimeClass of the engines when it is missing.
        seconds: How long a node's GPUs are waited for.

    """
    with session_for(
        kube_context=kube_context,
        device_plugin_chart=chart,
        device_plugin_repository=repository,
        device_plugin_version=version,
        namespace=namespace,
    ) as opened:
        session = for_plugin(opened)
        state, found = look_at_plugin(session), plugin_chart(session.settings)
        makes = runtime_class and bool(state.runtime_class) and not state.has_runtime_class
        if makes:
            make_runtime_class(session, state.runtime_class)
        if not plugin:
            return
        values = plugin_values(state, makes_runtime_class=makes)
        if is_up_to_date(state, found, values):
            say("the device plugin is as it should be")
        else:
            install_plugin(session, found, values)
        wait_for_gpus(session, seconds)
