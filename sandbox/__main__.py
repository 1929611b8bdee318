"""The sandbox's command line: `python -m sandbox`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from types import FrameType

import click

from sandbox import lifecycle, processes, secret_store, state
from sandbox.errors import SandboxError
from sandbox.lifecycle import Health
from sandbox.progress import to_stderr
from sandbox.state import SandboxState
from sandbox.vault.running import Keys
from vllm_flows.errors import VllmFlowsError

_UNHEALTHY = 6
_name = click.option(
    "--name", default=state.DEFAULT_NAME, show_default=True, help="Which sandbox, if several."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run a Kubernetes to try vllm-flows on, without Docker, root or a GPU.

    The control plane is real; the nodes, their GPUs, vLLM and the Hub are simulated.
    """


@cli.command()
@_name
@click.option("--cpu-node", is_flag=True, help="Add a third node, without GPUs.")
@click.option("--vault", is_flag=True, help="Add a Vault and External Secrets.")
@click.option(
    "--without", multiple=True, type=click.Choice(lifecycle.MODULES), hidden=True, help="Leave out."
)
def up(name: str, without: tuple[str, ...], *, cpu_node: bool, vault: bool) -> None:
    """Bring a sandbox up; one that is up already is left alone."""
    lifecycle.up(name, to_stderr(), cpu_node=cpu_node, without=without, vault=vault)
    option = "" if name == state.DEFAULT_NAME else f" --name {name}"
    click.echo(f'next: eval "$(python -m sandbox env{option})"', err=True)


@cli.command()
@_name
@click.option("--all", "every", is_flag=True, help="Every sandbox of this user.")
def down(name: str, *, every: bool) -> None:
    """End every process of a sandbox and remove everything it has."""
    report = to_stderr()
    for each in lifecycle.everyone() if every else [name]:
        lifecycle.down(each, report)


@cli.command()
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def status(output: str) -> None:
    """Show every sandbox and its processes. Exit code 6 when one of them is broken."""
    found = [_described(name) for name in state.names()]
    if output == "json":
        click.echo(json.dumps(found, indent=2))
    elif not found:
        click.echo("no sandbox is up", err=True)
    else:
        click.echo("\n".join(_as_lines(found)))
    if any(each["state"] != "up" for each in found):
        sys.exit(_UNHEALTHY)


@cli.command()
@_name
def env(name: str) -> None:
    """Print `export` lines that point vllm-flows, helm and kubectl at a sandbox."""
    sandbox = _loaded(name)
    for variable, value in lifecycle.exports(sandbox).items():
        click.echo(f"export {variable}={shlex.quote(value)}")
    click.echo(f'export PATH={shlex.quote(str(sandbox.tools))}:"$PATH"')


@cli.command(context_settings={"ignore_unknown_options": True})
@_name
@click.argument("process")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def start(name: str, process: str, command: tuple[str, ...]) -> None:
    """Start COMMAND in the background as PROCESS; it ends with the sandbox.

    It sees the variables that `env` prints. Its process id is printed; its output goes to a
    log file. Write `--` before the command.
    """
    sandbox = _loaded(name)
    environ = dict(os.environ) | lifecycle.exports(sandbox)
    environ["PATH"] = f"{sandbox.tools}{os.pathsep}{os.environ.get('PATH', '')}"
    click.echo(processes.start(sandbox, process, command, environ))
    click.echo(f"{process}: output in {processes.log_file(sandbox, process)}", err=True)


@cli.command()
@_name
def seal(name: str) -> None:
    """Seal the Vault of a sandbox: it answers nothing but that it is sealed."""
    _keys(name).seal()


@cli.command()
@_name
def unseal(name: str) -> None:
    """Unseal the Vault of a sandbox; all that it had is there again."""
    _keys(name).unseal()


def _keys(name: str) -> Keys:
    keys = secret_store.keys_of(_loaded(name))
    if keys is None:
        raise SandboxError(
            f"sandbox {name} has no Vault",
            next_command=f"python -m sandbox up --name {name} --vault",
        )
    return keys


def _loaded(name: str) -> SandboxState:
    sandbox = state.load(name)
    if sandbox is None:
        raise SandboxError(
            f"no sandbox {name} is up", next_command=f"python -m sandbox up --name {name}"
        )
    return sandbox


def _described(name: str) -> dict[str, object]:
    """Return what `status -o json` says of one sandbox."""
    sandbox = state.load(name)
    if sandbox is None:
        return {"name": name, "state": "broken", "problems": ["it was never finished"]}
    seen: Health = lifecycle.health(sandbox)
    ids = processes.process_ids(sandbox)
    return {
        "name": name,
        "state": "broken" if seen.problems else "up",
        "problems": seen.problems,
        "api": sandbox.api_url,
        "hub": sandbox.hub_url,
        "vault": sandbox.vault_url if sandbox.vault.is_dir() else None,
        "directory": str(sandbox.directory),
        "processes": [
            {"name": process, "pid": ids.get(process), "running": running}
            for process, running in seen.running.items()
        ],
    }


def _as_lines(found: list[dict[str, object]]) -> list[str]:
    rows = [("NAME", "STATE", "API", "HUB", "VAULT", "PROBLEMS")]
    for each in found:
        problems = each["problems"]
        text = ", ".join(problems) if isinstance(problems, list) else ""
        api, hub = str(each.get("api", "-")), str(each.get("hub", "-"))
        vault = str(each.get("vault") or "-")
        rows.append((str(each["name"]), str(each["state"]), api, hub, vault, text or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; an error is its text on stderr and its exit code."""
    # Whoever ends `up` in whatever way gets it cleaned up.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        cli(prog_name="python -m sandbox", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(64)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except VllmFlowsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
