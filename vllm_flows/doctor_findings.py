"""What the doctor found out about one prerequisite, and what a failed question means. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

from vllm_flows.errors import MissingProgramError, NoRightError, VllmFlowsError


class State(StrEnum):
    """How a prerequisite stands; a PROBLEM alone makes the doctor fail.

    UNKNOWN: it could not be looked at, and may be well.
    """

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One row: what was checked, how it stands, what was found, and the command that mends it."""

    check: str
    state: State
    found: str
    fix: str = ""

    def row(self) -> dict[str, str]:
        """Return it as data: check, state, found, fix."""
        return {key: str(value) for key, value in asdict(self).items()}


Answer = list[Finding]


@dataclass(frozen=True)
class Question:
    """What is asked, and the checks that the answer tells of."""

    checks: tuple[str, ...]
    ask: Callable[[], Answer]


def failed(check: str, error: BaseException) -> Finding:
    """Say what it means that a question ended with this error.

    Who may not look, or gets no answer, knows nothing; every other error of ours is the problem.
    """
    if isinstance(error, MissingProgramError):
        return Finding(check, State.UNKNOWN, f"not looked at: {error.what}")
    if not isinstance(error, VllmFlowsError):
        lines = str(error).splitlines()
        text = f"something unexpected: {type(error).__name__}: {lines[0] if lines else ''}"
        return Finding(check, State.UNKNOWN, text, "vllm-flows plan")
    if isinstance(error, NoRightError):  # the check of the rights says what to do about it
        return Finding(check, State.UNKNOWN, error.what)
    return told(check, error, State.UNKNOWN if error.retryable else State.PROBLEM)


def told(check: str, error: VllmFlowsError, state: State) -> Finding:
    """Return what an error tells as a finding."""
    return Finding(check, state, _line(error.what, error.why), error.next_command)


def late(check: str, seconds: float) -> Finding:
    """Say that there was no answer in time."""
    return Finding(check, State.UNKNOWN, f"no answer within {seconds:.0f} s")


def not_asked(checks: Iterable[str], why: str) -> list[Finding]:
    """Say of all these that nobody could be asked."""
    return [Finding(check, State.UNKNOWN, f"not looked at: {why}") for check in checks]


def healthy(findings: Iterable[Finding]) -> bool:
    """Say whether nothing stands in the way."""
    return all(finding.state is not State.PROBLEM for finding in findings)


def _line(what: str, why: str) -> str:
    return " ".join(f"{what}: {why}".split()) if why else what
