"""`vllm-flows device-plugin`: what shows Kubernetes the GPUs of its nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import click

from cli.confirming import confirm, yes_option
from cli.options import Options
from cli.output import emit, note, output_option
from cli.prefect_runs import parameter, run_flow
from vllm_flows.addresses import without_credentials

if TYPE_CHECKING:
    from datetime import timedelta


@click.group("device-plugin")
def device_plugin() -> None:
    """Install NVIDIA's device plugin, without which nodes offer no GPUs; say what they offer."""


@device_plugin.command()
@output_option
@click.pass_obj
def status(options: Options, *, form: str) -> None:
    """Show which nodes offer GPUs, and whether plugin and RuntimeClass are there."""
    from vllm_flows.device_plugin import node_rows
    from vllm_flows.looking_at_plugin import look_at_plugin, plugin_session

    state = look_at_plugin(plugin_session(options.settings()))
    emit(node_rows(state.nodes), form)
    for line in state.lines():
        note(line)


@device_plugin.command()
@click.option("--chart", help="Folder, OCI reference or name (VLLM_DEVICE_PLUGIN_CHART).")
@click.option("--repository", help="Chart repository (VLLM_DEVICE_PLUGIN_REPOSITORY).")
@click.option("--version", help="Chart version (VLLM_DEVICE_PLUGIN_VERSION).")
@click.option("--namespace", help="The plugin's namespace (VLLM_DEVICE_PLUGIN_NAMESPACE).")
@click.option("--runtime-class", is_flag=True, help="Make the RuntimeClass when it is missing.")
@click.option(
    "--timeout", default="5m", show_default=True, help="How long a node's GPUs are waited for."
)
@click.option("--force", is_flag=True, help="Also where nodes offer GPUs by another plugin.")
@yes_option
@click.pass_obj
def install(
    options: Options,
    /,
    *,
    timeout: str,
    runtime_class: bool,
    force: bool,
    yes: bool,
    **given: Any,  # noqa: ANN401 -- click's own
) -> None:
    """Install or upgrade the device plugin, and wait until a node offers GPUs.

    It brings GPU feature discovery too: its labels tell the plan how large GPUs are. Where nodes
    offer GPUs already, by another plugin or the GPU operator, nothing is installed.
    """
    from vllm_flows.device_plugin import plugin_chart
    from vllm_flows.looking_at_plugin import look_at_plugin, plugin_session

    seconds = _seconds(timeout)
    settings = options.settings(
        **{f"device_plugin_{name}": value for name, value in given.items() if value}
    )
    chart = plugin_chart(settings)
    state = look_at_plugin(plugin_session(settings))
    for line in state.lines():
        note(line)
    makes = runtime_class and bool(state.runtime_class) and not state.has_runtime_class
    place, plugin = settings.device_plugin_namespace, force or not state.somebody_elses
    if plugin:
        what = without_credentials(" ".join([chart.reference, *chart.arguments]))
        note(f"to be installed: {what}, in namespace {place}")
    else:
        note("no plugin to install: nodes offer GPUs by one that is there (--force installs it)")
    if not (plugin or makes):
        return
    if makes:
        note(f"to be made: RuntimeClass {state.runtime_class}")
    if not yes:
        confirm("Install it?")
    run_flow(
        _load_flow,
        kube_context=settings.kube_context or None,
        chart=parameter("VLLM_DEVICE_PLUGIN_CHART", settings.device_plugin_chart),
        repository=settings.device_plugin_repository,
        version=settings.device_plugin_version,
        namespace=place,
        plugin=plugin,
        runtime_class=runtime_class,
        seconds=seconds,
    )


def _seconds(text: str) -> float:
    from vllm_flows.durations import parse_duration

    try:
        return cast("timedelta", parse_duration(text)).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--timeout") from None


def _load_flow() -> Callable[..., None]:
    from flows.device_plugin import device_plugin as found

    return found
