"""A plan that somebody looks at, and what keeps it the plan that is done."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.confirming import confirm
from cli.options import Options
from cli.output import note, table
from vllm_flows.errors import ConfigurationError, DowntimeError

if TYPE_CHECKING:
    from vllm_flows.plan import Plan
    from vllm_flows.planning import Decision


@dataclass(frozen=True)
class Agreement:
    """What a person agreed to: a plan by its fingerprint, and downtime or not."""

    expected: str | None = None
    allow_downtime: bool = False


def agree(options: Options, *, allow_downtime: bool, **overrides: object) -> Agreement:
    """Show the plan and ask; return what was agreed to.

    Where models can only be replaced by stopping them first, the plan is to stop them, and the
    question names them.
    """
    decision = decide(options, allow_downtime=allow_downtime, **overrides)
    if _waits_for_a_yes(decision.plan):
        allow_downtime, decision = True, decision.with_downtime()
    show(decision)
    decision.plan.raise_if_blocked()
    if decision.changes:
        confirm(_question(decision.plan))
    return Agreement(decision.fingerprint, allow_downtime)


def _waits_for_a_yes(plan: Plan) -> bool:
    """Say whether models are blocked, and each by nothing but that it would have to be stopped."""
    problems = [problem for step in plan.steps for problem in step.problems]
    return bool(problems) and all(isinstance(problem, DowntimeError) for problem in problems)


def _question(plan: Plan) -> str:
    from vllm_flows.plan import Action

    silent = [step.model for step in plan.steps if step.rollout and step.rollout.downtime]
    gone = [step.model for step in plan.steps if step.action is Action.DESTROY]
    told = [f"No longer served: {', '.join(gone)}."] if gone else []
    if silent:
        told.append(f"While they are replaced, nobody answers for {', '.join(silent)}.")
    return " ".join([*told, "Apply this plan?"])


def decide(options: Options, *, allow_downtime: bool, **overrides: object) -> Decision:
    """Make the plan of what a run would do now."""
    models, settings = options.read_models(), options.settings(**overrides)
    from vllm_flows.planning import Aim, decide_now

    return decide_now(settings, Aim(models, allow_downtime=allow_downtime))


def show(decision: Decision) -> None:
    """Show a plan to a person."""
    from vllm_flows.report import plan_rows

    table(plan_rows(decision.plan), to_stderr=True)
    show_notes(decision)


def show_notes(decision: Decision) -> None:
    """Say what the table of a plan does not."""
    from vllm_flows.report import plan_notes

    for text in plan_notes(decision.plan):
        note(text)
    for text in decision.unsaved():
        note(f"to be written: {text}")


def save(decision: Decision, path: Path, *, allow_downtime: bool) -> None:
    """Write the plan to a file, for `install --plan`. Raises ConfigurationError."""
    from vllm_flows.report import plan_data

    document = {
        "fingerprint": decision.fingerprint,
        "allowDowntime": allow_downtime,
        "namespace": decision.desired.settings.namespace,
        "cluster": decision.state.cluster,
        **plan_data(decision),
    }
    try:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"the plan cannot be written to {path}",
            why=error.strerror or type(error).__name__,
            next_command=f"ls -ld {shlex.quote(str(path.parent))}   (or choose another file)",
        ) from error


def saved(path: Path, namespace: str) -> Agreement:
    """Return what `save` wrote.

    Raises ConfigurationError when the file holds no plan, or one for another namespace. For which
    cluster it was made is part of its fingerprint.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _no_plan(path, f"it cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _no_plan(path, "it is empty or no JSON") from error
    found = document if isinstance(document, dict) else {}
    expected, allow_downtime = found.get("fingerprint"), found.get("allowDowntime")
    if not (isinstance(expected, str) and expected and isinstance(allow_downtime, bool)):
        raise _no_plan(path, "it is JSON of another shape, without fingerprint and allowDowntime")
    if found.get("namespace") != namespace:
        theirs = found.get("namespace")
        raise ConfigurationError(
            f"{path} was made for namespace {theirs}, not for {namespace}; nothing was changed",
            next_command=f"vllm-flows --namespace {theirs} install --plan {path}   (or plan anew)",
        )
    return Agreement(expected, allow_downtime)


def _no_plan(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} holds no plan",
        why=why,
        next_command="vllm-flows plan --out plan.json, then vllm-flows install --plan plan.json",
    )
