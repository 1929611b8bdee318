"""`vllm-flows webhook`: hear of new revisions from the Hub at once."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from cli.options import Options
from cli.output import note
from cli.prefect_server import insist_on_server, prepare_environment
from vllm_flows.errors import ConfigurationError, VllmFlowsError

if TYPE_CHECKING:
    from vllm_flows.settings import Settings

_LARGEST_SECRET = 4096


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8090,
    show_default=True,
    help="Port to listen on; 0 for any.",
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path),
    help="File with the webhooks' secret; else VLLM_WEBHOOK_SECRET.",
)
@click.pass_obj
def webhook(options: Options, *, host: str, port: int, secret_file: Path | None) -> None:
    """Receive the Hub's webhooks: look at once at a repository that changed, and tell of it.

    POST /webhook takes them, GET /health answers while it runs. What a webhook says is not
    believed: the Hub is asked, as by the flow `watch`. Runs until Ctrl-C or SIGTERM.
    """
    settings = options.settings()
    secret = _secret(settings, secret_file)
    options.read_models()  # a wrong file is said now, not when the first webhook comes
    prepare_environment()
    os.environ.update(options.as_environment())
    insist_on_server()
    from deployments.webhook import Looks, Receiver, serve_webhooks

    with _listener(host, port) as listener:
        address = f"http://{host}:{listener.getsockname()[1]}/webhook"
        note(f"webhooks of {settings.hub_endpoint}: {address}")
        signal.signal(signal.SIGTERM, _ended)
        looks = Looks(lambda repository: _look(settings, repository))
        serve_webhooks(Receiver(secret, options.read_models, looks), listener)


def _ended(_signal: int, _frame: FrameType | None) -> None:
    """End as whoever asked for it expects; uvicorn raises the signal once more when it is done."""
    sys.exit(0)


def _look(settings: Settings, repository: str) -> bool:
    """Run the flow `watch` for one repository; say whether the Hub told all that was asked."""
    from cli.prefect_runs import explained
    from flows.watch import watch

    try:
        with explained():
            state = watch(
                repository=repository,
                models_file=str(settings.models_file),
                namespace=settings.namespace,
                kube_context=settings.kube_context or None,
                return_state=True,
            )
    except VllmFlowsError as error:
        note(f"error: {error}")
        return False
    rows = state.result(raise_on_failure=False) if state.is_completed() else None
    return isinstance(rows, list) and all(row["class"] != "unknown" for row in rows)


def _secret(settings: Settings, file: Path | None) -> str:
    from vllm_flows.regular_file import read_beginning
    from vllm_flows.webhook_rules import SHORTEST_SECRET

    given = settings.webhook_secret.get_secret_value() if settings.webhook_secret else ""
    if file:
        try:
            given = read_beginning(file, _LARGEST_SECRET).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{file} cannot be read",
                why=getattr(error, "strerror", None) or "it is no text",
                next_command=f"ls -ld {file}",
            ) from None
    if len(given) < SHORTEST_SECRET or not (given.isascii() and given.isprintable()):
        raise ConfigurationError(
            "there is no secret for webhooks" if not given else "the secret does not do",
            why=f"it has at least {SHORTEST_SECRET} characters that a header can carry",
            next_command="openssl rand -hex 32   (for VLLM_WEBHOOK_SECRET or --secret-file, and "
            "for the webhook on the Hub)",
        )
    return given


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}",
            why=error.strerror or str(error),
            next_command="vllm-flows webhook --port 0   (any port that is free)",
        ) from None
