"""What stands before the verb, and the settings that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vllm_flows.models import Model
    from vllm_flows.settings import Settings

take_over_option = click.option(
    "--take-over",
    is_flag=True,
    help="Take over what another cluster registered for a namespace of this name, or an earlier "
    "version for none.",
)


def named_apart(namespace: str, suffix: str) -> str:
    """Say why the deployments of a namespace have other names than those of the first one."""
    return f"another namespace is on this server: those of {namespace} end in {suffix}"


def taken_over(namespace: str, names: Sequence[str]) -> str:
    """Say what an earlier version registered and a namespace takes."""
    return f"taken over for {namespace}, with their schedules: {', '.join(names)}"


def left_pool(namespace: str, pool: str) -> str:
    """Say that the deployments of a namespace are a work pool's no more."""
    return f"they leave work pool {pool}: its workers get no more runs of {namespace}"


@dataclass(frozen=True)
class Options:
    """The options of `vllm-flows` itself; None leaves it to the environment."""

    debug: bool = False
    namespace: str | None = None
    models: str | None = None
    kube_context: str | None = None

    def settings(self, **overrides: object) -> Settings:
        """Return the settings with these options and `overrides` on top.

        Raises ConfigurationError when they are wrong, or ask a chart's folder for another version.
        """
        from vllm_flows.chart import check_chart_version
        from vllm_flows.settings import load_settings

        settings = load_settings(**self.given(), **overrides)
        check_chart_version(settings, overrides.get("chart_version"))
        return settings

    def given(self) -> dict[str, object]:
        """Return what was said before the verb, as overrides of settings."""
        return {
            "namespace": self.namespace,
            "kube_context": self.kube_context,
            "models_file": Path(self.models) if self.models else None,
        }

    def as_environment(self) -> dict[str, str]:
        """Return the variables that say the same to another process."""
        given = {
            "VLLM_NAMESPACE": self.namespace,
            "VLLM_MODELS_FILE": self.models,
            "VLLM_KUBE_CONTEXT": self.kube_context,
        }
        return {name: value for name, value in given.items() if value}

    def read_models(self) -> list[Model]:
        """Read the models file. Raises ModelsFileError with every problem in it."""
        from vllm_flows.models_file import load_models

        return load_models(self.settings().models_file)
