"""What went wrong with helm, from its own words. Pure."""

from __future__ import annotations

import re

from vllm_flows.errors import ReleaseError, ReleaseUnavailableError
from vllm_flows.names import RELEASE
from vllm_flows.unseen_secrets import without_tokens

_UNREACHABLE = re.compile(
    r"cluster unreachable|connection refused|connection reset|i/o timeout|TLS handshake timeout"
    r"|unexpected EOF|\": EOF|etcdserver: |currently unable to handle the request|broken pipe"
    r"|no route to host|http2: |request canceled|context deadline exceeded|Client\.Timeout exceeded"
)
"""Helm's words when the API server does not answer, or stops to."""
_FORBIDDEN = " is forbidden: "
"""The API's words, as helm quotes them, for a right that is missing."""
_ELSEWHERE = "chart repository"
"""Helm's words when it is the chart that cannot be reached."""


def failure(namespace: str, what: str, errors: str, release: str = RELEASE) -> ReleaseError:
    """Say what helm said on stderr; its last lines hold the reason, warnings stand before it.

    A ReleaseUnavailableError, which a retry can help, when it could not reach the API server.
    """
    reason = without_tokens(_reason(errors))
    hint = f"helm -n {namespace} history {release}"
    if "dependencies" in reason or "dependency" in reason:
        hint = "helm dependency build CHART_FOLDER"
    passing = _UNREACHABLE.search(reason) and _ELSEWHERE not in reason
    kind = ReleaseUnavailableError if passing else ReleaseError
    return kind(f"helm failed: {what}", why=reason, next_command=hint)


def lacks_right(error: ReleaseError) -> bool:
    """Say whether helm failed because this account may not do what it asked for."""
    return _FORBIDDEN in error.why


def _reason(errors: str) -> str:
    """Return helm's error, which may be several lines, in one."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if line.startswith("Error: ")]
    words = lines[starts[-1] if starts else -1 :]
    return " ".join(words).removeprefix("Error: ") or "helm said nothing"


def killed(verb: str, number: int) -> ReleaseUnavailableError:
    """Say that a signal ended helm."""
    return ReleaseUnavailableError(
        f"helm failed: {verb}: it was ended by signal {number}",
        why="somebody ended it, or this machine ran out of memory",
        next_command="free -m",
    )
