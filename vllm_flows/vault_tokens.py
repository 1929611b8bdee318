"""What Vault says of a token, and whether it will do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.errors import ConfigurationError, VllmFlowsError
from vllm_flows.sizes import human_seconds

WORK_SECONDS = 120
"""The longest that reading and writing a secret may take; a token has to last so long."""
SOON_SECONDS = 3600
_ROOT = "root"


@dataclass(frozen=True)
class Token:
    """A token as `auth/token/lookup-self` describes it; `seconds` is 0 for one without an end."""

    name: str
    policies: tuple[str, ...]
    seconds: int
    renewable: bool

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Token:
        """Read it from the answer's `data`."""
        policies = [*(data.get("policies") or ()), *(data.get("identity_policies") or ())]
        return cls(
            str(data.get("display_name") or "token"),
            tuple(str(one) for one in policies),
            int(data.get("ttl") or 0),
            bool(data.get("renewable")),
        )

    @property
    def is_root(self) -> bool:
        """Say whether it may do everything."""
        return _ROOT in self.policies

    @property
    def ends_within_work(self) -> bool:
        """Say whether it may end before the work is done."""
        return 0 < self.seconds < WORK_SECONDS

    @property
    def ends_soon(self) -> bool:
        """Say whether somebody should know that it ends."""
        return 0 < self.seconds < SOON_SECONDS

    def told(self) -> str:
        """Say whose it is, what it may, and until when."""
        end = f"ends in {human_seconds(self.seconds)}" if self.seconds else "has no end"
        renewed = ", can be renewed" if self.renewable and self.seconds else ""
        return f"token {self.name} (policies {', '.join(self.policies)}) {end}{renewed}"


def refused_root(token: Token, *, allowed: bool) -> VllmFlowsError | None:
    """Return why a root token is not used; None for any other, or where it is allowed."""
    if not token.is_root or allowed:
        return None
    return ConfigurationError(
        "this is a root token of Vault",
        why="it may do everything, and nothing here needs that",
        next_command="vault token create -policy=vllm-flows   (or VLLM_VAULT_ALLOW_ROOT=true)",
    )
