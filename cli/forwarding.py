"""`vllm-flows port-forward`: the API on a port of this machine."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import click

from cli.completing import complete_models
from cli.options import Options
from cli.output import note
from cli.streaming import until_interrupted
from vllm_flows.errors import ConfigurationError

if TYPE_CHECKING:
    from vllm_flows.reaching import Target
    from vllm_flows.session import Session

_LOOK_SECONDS = 2.0
_LOCAL = "127.0.0.1"
_EVERYBODY = {"0.0.0.0": _LOCAL, "::": "::1"}  # noqa: S104 -- told to the person, not bound here


@click.command("port-forward")
@click.argument("port", type=click.IntRange(0, 65535), default=8000)
@click.option("--address", default=_LOCAL, show_default=True, help="Address to listen on.")
@click.option(
    "--model", shell_complete=complete_models, help="To this model's engine, past the router."
)
@click.pass_obj
def port_forward(options: Options, *, port: int, address: str, model: str | None) -> None:
    """Forward a port of this machine to the router; goes on when its pod is replaced.

    PORT is 8000 unless it is given; 0 takes a free one. Ctrl-C ends it.
    """
    from cli.choosing import choose_model
    from vllm_flows.reaching import find_target, reachable_pod
    from vllm_flows.session import Session

    session = Session.open(options.settings())
    target = find_target(session, choose_model(session, model, "port-forward") if model else "")
    reachable_pod(session, target)
    listener = listen(address, port)
    with until_interrupted():
        _forward(session, target, listener)


def _forward(session: Session, target: Target, listener: socket.socket) -> None:
    from vllm_flows.forwarding import Way, pods_of
    from vllm_flows.portforward import PodTunnel, accepting
    from vllm_flows.session import API_PORT

    way = Way(
        lambda: pods_of(session.cluster.find("Pod", target.selector)),
        lambda pod: PodTunnel.open(session.cluster, pod, API_PORT),
        note,
        session.clock,
    )
    way.look()
    _introduce(session, target, listener)
    with accepting(listener, way.connect, way.ended):
        while True:
            session.clock.sleep(_LOOK_SECONDS)
            way.look()


def listen(address: str, port: int) -> socket.socket:
    """Listen there. Raises ConfigurationError, with a free port where this one is taken."""
    try:
        return _bound(address, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            with _bound(address, 0) as other:
                free = other.getsockname()[1]
            raise ConfigurationError(
                f"port {port} of {address} is taken",
                why="another program listens there, perhaps another port-forward",
                next_command=f"vllm-flows port-forward {free}",
            ) from error
        if error.errno == errno.EACCES:
            raise ConfigurationError(
                f"port {port} is not for this user",
                why="ports below 1024 are the administrator's",
                next_command="vllm-flows port-forward 8000",
            ) from error
        raise ConfigurationError(
            f"nothing can listen on {address}",
            why=f"{error.strerror or error}: it is no address of this machine",
            next_command="vllm-flows port-forward --address 127.0.0.1",
        ) from error


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=128)


def _introduce(session: Session, target: Target, listener: socket.socket) -> None:
    """Say where it is reached, and how it is asked."""
    from vllm_flows.endpoints import curl_example, needs_key

    host, port = listener.getsockname()[:2]
    shown = _EVERYBODY.get(host, host)
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    key = needs_key(target.deployment)
    if host not in {_LOCAL, "::1"}:
        protected = "the API key protects it" if key else "no API key protects it"
        note(f"who reaches {host} of this machine reaches the models: {protected}")
    note(f"{url} is the {target.subject} of namespace {session.settings.namespace}; Ctrl-C ends it")
    note(f"  {curl_example(url, key=key)}")
