"""Where the chart `vllm-stack` comes from: a folder, an archive, OCI or a repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from vllm_flows.errors import ConfigurationError
from vllm_flows.names import RELEASE
from vllm_flows.settings import Settings

CHART_NAME = "vllm-stack"
_DEFAULT_CHART = f"{RELEASE}/{CHART_NAME}"


@dataclass(frozen=True)
class Chart:
    """Where the chart is: arguments for helm, and its version as far as it is known before."""

    reference: str
    arguments: tuple[str, ...]
    version: str

    @property
    def own_version(self) -> str | None:
        """The version that a folder's Chart.yaml says; None where helm is told which to take."""
        local = not self.arguments and not self.reference.endswith(".tgz")
        return self.version if local else None


def locate_chart(settings: Settings) -> Chart:
    """Decide how helm is told where the chart is: a folder or archive, OCI, or a repository.

    Raises ConfigurationError when a path names nothing, or a folder that holds no chart.
    """
    repository = settings.chart_repository if settings.chart == _DEFAULT_CHART else ""
    return located(settings.chart, settings.chart_version, repository)


def located(reference: str, version: str, repository: str) -> Chart:
    """Return where a chart is; with a `repository`, what comes behind the last `/` is its name.

    Raises as `locate_chart` does.
    """
    if repository:
        name = reference.rpartition("/")[2]
        return Chart(name, ("--repo", repository, "--version", version), version)
    if reference.startswith("oci://"):
        return Chart(reference, ("--version", version), version)
    path = Path(reference).expanduser()
    if path.exists() or reference.startswith(("/", ".", "~")):
        return Chart(str(path.resolve()), (), _folder_version(path))
    return Chart(reference, ("--version", version), version)


def check_chart_version(settings: Settings, asked: object) -> None:
    """Raise ConfigurationError when a chart's folder is of another version than was asked for.

    `asked` is what a flag or a form said, None where it said nothing; the environment is no matter.
    """
    own = locate_chart(settings).own_version if asked else None
    if own in {None, asked}:
        return
    raise ConfigurationError(
        f"chart version {asked} was asked for, and the chart in {settings.chart} is {own}",
        why="a folder holds one version, and is taken as it is",
        next_command=f"leave out --chart-version, name a folder of {asked} with --chart, "
        f"or take it from the repository: --chart {_DEFAULT_CHART}",
    )


def overruled_version(settings: Settings, chart: Chart) -> list[str]:
    """Say that the environment names another version than the chart's folder is of."""
    own, named = chart.own_version, settings.chart_version
    if "chart_version" not in settings.model_fields_set or own in {None, named}:
        return []
    text = (
        f"VLLM_CHART_VERSION={named} counts for nothing: the chart in {settings.chart} is {own}, "
        "and a folder is taken as it is"
    )
    return [text]


def _folder_version(path: Path) -> str:
    """Return the version in the folder's Chart.yaml; an archive's is in its name."""
    if path.is_file():
        return path.name.removesuffix(".tgz").rpartition("-")[2]
    try:
        text = (path / "Chart.yaml").read_text(encoding="utf-8")
        return str(yaml.safe_load(text)["version"])
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"no chart in {path}",
            why="it has no Chart.yaml with a version",
            next_command="name the chart's folder, an archive, an OCI reference or a chart's name",
        ) from error
