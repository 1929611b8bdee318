"""`make demo`: four models from models.yaml to answers, on a sandbox, seen in the Prefect UI.

The cluster's API, Helm, the weights Jobs and Prefect are real. GPUs, engines, router and Hub
are simulated. Everything is done through the command line that users have.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import click
import httpx

from sandbox import lifecycle, processes, state
from sandbox.errors import SandboxError
from sandbox.progress import INTERVAL, Report, to_stderr
from sandbox.state import SandboxState

MODELS = ("qwen3", "llama3", "qwen", "phi4")
"""Of models.example.yaml; llama3 is gated."""
_SERVER_SECONDS = 120.0
_EXAMPLE = state.REPOSITORY / "models.example.yaml"
_COMMAND = Path(sys.executable).with_name("vllm-flows")


def main() -> None:
    """Run the demo to its end; the sandbox stays up to be looked at."""
    report = to_stderr()
    try:
        _run(report)
    except SandboxError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted; next: make demo goes on, make sandbox-down removes all", err=True)
        sys.exit(130)


def _run(report: Report) -> None:
    # The Prefect server takes longest to start: it starts beside the control plane.
    sandbox = lifecycle.up(state.DEFAULT_NAME, report, alongside=launch_prefect)
    start_prefect(sandbox, report)
    models = _write_models(sandbox)
    environ = environment(sandbox)
    if not _has_token(sandbox):
        report("act 1: without a Hub token the run stops before anything is written")
        if _vllm_flows(environ, models, "install", "--yes") != 1:
            raise SandboxError("the run was expected to stop at the gated model")
        report("act 2: the token is stored, and the same command goes through")
        token = sandbox.hub_token
        if _vllm_flows(environ, models, "set-hf-token", "--stdin", stdin=token) != 0:
            raise SandboxError("the token could not be stored")
    else:
        report("the models are there already: the same command finds nothing to change")
    if _vllm_flows(environ, models, "install", "--yes") != 0:
        raise SandboxError("the demo failed", next_command="make sandbox-down; make demo")
    _say_how_to_go_on(sandbox, models, report)


def _has_token(sandbox: SandboxState) -> bool:
    command = [sandbox.programs["kubectl"], "--kubeconfig", str(sandbox.kubeconfig)]
    question = ["-n", "vllm", "get", "secret", "hf-token"]
    return subprocess.run([*command, *question], capture_output=True, check=False).returncode == 0


def example_with(text: str, names: tuple[str, ...]) -> str:
    """Return the example file with just these models uncommented, in its own order."""
    blocks = re.split(r"\n(?=(?:# )?- name: )", text)[1:]
    chosen = []
    for block in blocks:
        lines = block.split("\n\n")[0].splitlines()
        plain = [line.removeprefix("# ") for line in lines]
        if plain[0].removeprefix("- name: ") in names:
            chosen.append("\n".join(plain))
    return "\n\n".join(chosen) + "\n"


def _write_models(sandbox: SandboxState) -> Path:
    path = sandbox.directory / "models.yaml"
    path.write_text(example_with(_EXAMPLE.read_text(encoding="utf-8"), MODELS), encoding="utf-8")
    return path


def environment(sandbox: SandboxState) -> dict[str, str]:
    """Return what the commands see: the sandbox, and nothing of the person's own clusters."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VLLM_", "HF_", "KUBE", "PREFECT_", "VAULT_"))
    }
    path = f"{sandbox.tools}{os.pathsep}{os.environ.get('PATH', '')}"
    prefect = {"PREFECT_HOME": str(sandbox.directory / "prefect")}
    return kept | lifecycle.exports(sandbox) | prefect | {"PATH": path}


def launch_prefect(sandbox: SandboxState) -> None:
    """Start `vllm-flows serve`, with a server of its own, as a process of the sandbox."""
    command = [str(_COMMAND), "serve", "--port", str(sandbox.ports.prefect)]
    temporary = sandbox.directory / "tmp"
    temporary.mkdir(exist_ok=True)
    # Prefect's runner leaves folders behind in the temporary directory.
    environ = environment(sandbox) | {"TMPDIR": str(temporary)}
    processes.start(sandbox, "prefect", command, environ)


def start_prefect(sandbox: SandboxState, report: Report) -> None:
    """Start Prefect unless it runs, and wait until it answers.

    Raises SandboxError with its last words when it does not.
    """
    if not processes.is_running(sandbox, "prefect"):
        launch_prefect(sandbox)
    report("waiting for the Prefect server")
    begun = told = time.monotonic()
    while not _answers(f"{sandbox.prefect_url}/api/health"):
        now = time.monotonic()
        if not processes.is_running(sandbox, "prefect") or now - begun > _SERVER_SECONDS:
            why = processes.last_words(sandbox, "prefect")
            raise SandboxError(
                "the Prefect server does not start",
                why=why,
                next_command="make sandbox-down, then the same command again",
            )
        if now - told > INTERVAL:
            told = now
            report("waiting for the Prefect server")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with httpx.Client(timeout=2, trust_env=False) as client:
            return client.get(url).is_success
    except httpx.HTTPError:
        return False


def _vllm_flows(environ: dict[str, str], models: Path, *arguments: str, stdin: str = "") -> int:
    """Run the command line as a person would; in the sandbox's folder, where no .env lies."""
    click.echo(f"\n$ vllm-flows {' '.join(arguments)}", err=True)
    done = subprocess.run(
        [str(_COMMAND), "--models", str(models), *arguments],
        cwd=models.parent,
        env=environ,
        input=stdin,
        text=True,
        check=False,
    )
    return done.returncode


def _say_how_to_go_on(sandbox: SandboxState, models: Path, report: Report) -> None:
    report("done: every model answers (nodes, engines, router and Hub are simulated)")
    click.echo(
        f"\nPrefect UI:  {sandbox.prefect_url}/runs\n"
        f"models.yaml: {models}\n\n"
        "Look around:\n"
        '  eval "$(.venv/bin/python -m sandbox env)" && source .venv/bin/activate\n'
        "  kubectl -n vllm get pods\n"
        f"  vllm-flows --models {models} plan\n"
        "Remove it all: make sandbox-down",
        err=True,
    )


if __name__ == "__main__":
    main()
