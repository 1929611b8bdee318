"""Reading what there is of the NVIDIA device plugin."""

from __future__ import annotations

from dataclasses import replace

from vllm_flows.device_plugin import PLUGIN, PluginState, gpu_nodes
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
    name, helm = session.settings.runtime_class, session.helm
    return PluginState(
        gpu_nodes(session.cluster.find("Node")),
        next(helm.pasts(), None),
        name,
        bool(name) and session.cluster.get("RuntimeClass", name) is not None,
    )
