"""A plan that somebody looks at, and what keeps it the plan that is done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.confirming import confirm
from cli.options import Options
from cli.output import note, table
from vllm_flows.errors import ConfigurationError, DowntimeError

if TYPE_CHECKING:
    from vllm_flows.planning import Decision


@dataclass(frozen=True)
class Agreement:
    """What a person agreed to: a plan by its fingerprint, and downtime or not."""

    expected: str | None = None
    allow_downtime: bool = False


def agree(options: Options, verb: str, *, allow_downtime: bool, **overrides: object) -> Agreement:
    """Show the plan and ask; return what was agreed to.

    Where models can only be replaced by stopping them first, that is a question of its own.
    """
    decision = decide(options, allow_downtime=allow_downtime, **overrides)
    stopped = _to_stop(decision)
    if stopped:
        show(decision)
        confirm(f"No room beside what runs: stop {stopped} until the new one is ready?", verb)
        allow_downtime = True
        decision = decide(options, allow_downtime=True, **overrides)
    show(decision)
    decision.plan.raise_if_blocked()
    if decision.plan.changes:
        confirm("Apply this plan?", verb)
    return Agreement(decision.fingerprint, allow_downtime)


def decide(options: Options, *, allow_downtime: bool, **overrides: object) -> Decision:
    """Make the plan of what a run would do now."""
    models, settings = options.read_models(), options.settings(**overrides)
    from vllm_flows.planning import Aim, decide_now

    return decide_now(settings, Aim(models, allow_downtime=allow_downtime))


def show(decision: Decision) -> None:
    """Show a plan to a person."""
    from vllm_flows.report import plan_notes, plan_rows

    table(plan_rows(decision.plan), to_stderr=True)
    for text in plan_notes(decision.plan):
        note(text)


def _to_stop(decision: Decision) -> str:
    """Name the models that only a stop stands against; "" when that is not all."""
    blocked = [step for step in decision.plan.steps if step.problems]
    only = all(isinstance(one, DowntimeError) for step in blocked for one in step.problems)
    return ", ".join(step.model for step in blocked) if only else ""


def save(decision: Decision, path: Path, *, allow_downtime: bool) -> None:
    """Write the plan to a file, for `install --plan`. Raises ConfigurationError."""
    from vllm_flows.report import plan_data

    document = {
        "fingerprint": decision.fingerprint,
        "allowDowntime": allow_downtime,
        "models": plan_data(decision.plan),
    }
    try:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the plan cannot be written: {error}") from error


def saved(path: Path) -> Agreement:
    """Return what `save` wrote. Raises ConfigurationError when the file holds no plan."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Agreement(str(document["fingerprint"]), bool(document["allowDowntime"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} holds no plan",
            why=str(error),
            next_command=f"vllm-flows plan --out {path}",
        ) from error
