"""The entry point: all verbs, and the one place where an error becomes text and exit code."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click

from cli.ending import leave_threads
from cli.hints import remember
from cli.interrupting import INTERRUPTED, answer_sigterm
from cli.options import Options
from cli.output import note
from cli.verbs import Verbs
from vllm_flows.addresses import without_credentials
from vllm_flows.errors import VllmFlowsError
from vllm_flows.guarded_process import guard_process

_EXIT_CODES = """\b
Exit codes:
    0  done, or nothing to do
    1  failed, or the question was answered with no
    2  changes present (plan --detailed-exitcode)
    4  timed out
    5  locked by another run
    6  unhealthy (status, check)
   64  wrong usage or configuration
  130  interrupted
"""
_USAGE = 64


@click.group(
    cls=Verbs,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="vllm-flows")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("--context", "kube_context", help="kubeconfig context (VLLM_KUBE_CONTEXT).")
@click.option("--namespace", "-n", help="Kubernetes namespace (VLLM_NAMESPACE).")
@click.option(
    "--models", type=click.Path(), help="The models file (VLLM_MODELS_FILE, models.yaml)."
)
@click.pass_context
def cli(
    context: click.Context,
    /,
    *,
    debug: bool,
    namespace: str | None,
    models: str | None,
    kube_context: str | None,
) -> None:
    """Put vLLM models on a Kubernetes cluster, from one models.yaml, and keep them right."""
    remember(namespace=namespace, kube_context=kube_context, models=models)
    context.obj = Options(
        debug=debug, namespace=namespace, models=models, kube_context=kube_context
    )


def main() -> None:
    """Run one verb and end the process with its exit code."""
    _open_what_is_closed()
    guard_process()
    answer_sigterm()
    try:
        _run()
    except SystemExit as end:
        leave_threads(end.code if isinstance(end.code, int) else bool(end.code))
        raise


def _run() -> NoReturn:
    try:
        code = cli.main(standalone_mode=False) or 0
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:
        _nobody_reads()
    except VllmFlowsError as error:
        _fail(str(error), error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail("interrupted", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(_USAGE)
    except Exception as error:  # noqa: BLE001 -- the edge: nobody is shown a traceback unasked
        text = without_credentials(str(error)).splitlines()
        _fail(
            f"something unexpected: {type(error).__name__}: {text[0] if text else ''}\n"
            "  next: the same command with --debug before the verb shows where",
            1,
        )


def _open_what_is_closed() -> None:
    """Let what is written to an end that the caller closed (`>&-`) go nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- to the very end
            setattr(sys, name, nowhere)


def _nobody_reads() -> NoReturn:
    """End without a word when who read the output (`head`) has gone; Python would still write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)


def _fail(text: str, code: int) -> NoReturn:
    if "--debug" in sys.argv:
        traceback.print_exc()
    note(f"error: {text}")
    sys.exit(code)
