"""Starting one container: everything between its specification and its process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.agent import environment, images, rewriting, volumes
from sandbox.agent.node import Node
from sandbox.agent.processes import Process

Object = dict[str, Any]

_MESSAGE_PATH = "/dev/termination-log"


@dataclass(frozen=True)
class Plan:
    """How a container is run here. `ports` maps container ports to local ones."""

    arguments: list[str]
    variables: dict[str, str]
    folder: Path
    message_file: Path
    ports: dict[int, int]


def plan(
    node: Node, pod: Object, container: Object, directories: Mapping[str, Path], pod_ip: str
) -> Plan:
    """Resolve a container's command line, environment, paths and ports.

    `directories` are the pod's volumes by name.
    Raises PullError, ConfigError or ApiError; every start asks anew.
    """
    image = images.find(container["image"])
    folder = node.pod_folder(pod["metadata"]["uid"]) / "containers" / container["name"]
    folder.mkdir(parents=True, exist_ok=True)
    message_file = folder / "termination-message"
    message_path = container.get("terminationMessagePath") or _MESSAGE_PATH
    paths = volumes.places_of(container, directories, folder) | {message_path: str(message_file)}
    variables = _variables(node, pod, container, pod_ip)
    arguments = command_line(container, image.entrypoint, variables, paths)
    declared = [each["containerPort"] for each in container.get("ports") or []]
    ports = {port: node.ports.take() for port in rewriting.wanted_ports(arguments, declared)}
    own = node.environment(pod, folder, engine=image.engine, router=image.router)
    workdir = container.get("workingDir")
    return Plan(
        arguments=rewriting.rewrite_network(arguments, ports),
        variables=own
        | {key: rewriting.rewrite_paths(value, paths) for key, value in variables.items()},
        folder=Path(rewriting.rewrite_paths(workdir, paths)) if workdir else folder,
        message_file=message_file,
        ports=ports,
    )


def command_line(
    container: Object,
    entrypoint: Sequence[str],
    variables: Mapping[str, str],
    paths: Mapping[str, str],
) -> list[str]:
    """Return the command: the container's own, or its arguments behind the image's entrypoint.

    The entrypoint is a program of this machine, whose path may lie below one that the container
    has for its own: it is left as it is.
    """
    command = container.get("command") or []
    words = [*command, *(container.get("args") or [])]
    resolved = [
        rewriting.rewrite_paths(environment.expand(word, variables), paths) for word in words
    ]
    return resolved if command else [*entrypoint, *resolved]


def start(planned: Plan, log: Path, ended: Callable[[], None]) -> Process:
    """Start a planned container with an empty message file; raises OSError."""
    planned.message_file.write_text("")
    folder = planned.folder if planned.folder.is_dir() else planned.message_file.parent
    return Process(planned.arguments, planned.variables, folder, log, ended)


def _variables(node: Node, pod: Object, container: Object, pod_ip: str) -> dict[str, str]:
    namespace = pod["metadata"]["namespace"]

    def secret(name: str) -> dict[str, str] | None:
        return _text(volumes.secret_data(node.api, namespace, name))

    def config(name: str) -> dict[str, str] | None:
        return _text(volumes.config_data(node.api, namespace, name))

    fields = environment.fields_of(pod, pod_ip)
    return environment.resolve(container, fields, secret, config)


def _text(data: dict[str, bytes] | None) -> dict[str, str] | None:
    if data is None:
        return None
    return {key: value.decode(errors="replace") for key, value in data.items()}
