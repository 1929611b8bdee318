"""Reading what there is of the NVIDIA device plugin."""

from __future__ import annotations

from dataclasses import replace

from vllm_flows.device_plugin import PLUGIN, PluginState, gpu_nodes
from vllm_flows.errors import NoRightError, ReleaseError
from vllm_flows.going_back import Past
from vllm_flows.helm_failures import lacks_right
from vllm_flows.session import Session
from vllm_flows.settings import Settings


def plugin_session(settings: Settings) -> Session:
    """Open a session on the plugin's namespace and release."""
    there = settings.model_copy(update={"namespace": settings.device_plugin_namespace})
    return for_plugin(Session.open(there))


def for_plugin(session: Session) -> Session:
    """Return a session on the plugin's release, from one on its namespace."""
    return replace(session, helm=replace(session.helm, name=PLUGIN))


def look_at_plugin(session: Session) -> PluginState:
    """Read nodes, release and RuntimeClass. Raises NoRightError where this account may not."""
    name = session.settings.runtime_class
    return PluginState(
        gpu_nodes(session.cluster.find("Node")),
        _release(session),
        name,
        bool(name) and session.cluster.get("RuntimeClass", name) is not None,
    )


def _release(session: Session) -> Past | None:
    try:
        return next(session.helm.pasts(), None)
    except ReleaseError as error:
        if not lacks_right(error):
            raise
        place = session.settings.namespace
        raise NoRightError(
            f"no right to list and get Secrets in namespace {place}",
            why=f"helm keeps the release {PLUGIN} there",
            next_command=f"kubectl -n {place} auth can-i list secrets   (the device plugin is an "
            "administrator's; vllm-flows doctor says which nodes offer GPUs)",
        ) from error
