"""The Hub asked while a person waits: once, for a few seconds, and its silence is no error."""

from __future__ import annotations

from dataclasses import dataclass, field

from vllm_flows.errors import HubUnavailableError
from vllm_flows.hub import Hub
from vllm_flows.hub_client import HubClient, RefusedError, SilentError
from vllm_flows.observed import Verdict
from vllm_flows.waiting import StoppableClock


@dataclass
class HubAdvice:
    """The Hub at an address, asked with a token or none, at most `seconds` for each answer.

    `silent` says that it did not answer; then it is not asked again.
    """

    endpoint: str
    token: str | None = field(repr=False)
    seconds: float = 5.0
    silent: bool = field(default=False, init=False)

    def search(self, text: str, limit: int) -> list[str]:
        """Return Hub ids in which the text occurs, the most used first; none when it is silent."""
        if self.silent or not text:
            return []
        client = HubClient(
            self.endpoint, self.token, self.seconds, StoppableClock(), self.seconds, attempts=1
        )
        try:
            return client.search(text, limit)
        except RefusedError:
            return []
        except SilentError:
            self.silent = True
            return []

    def look(self, repository: str, revision: str) -> Verdict | None:
        """Return what the Hub says of a repository; None when it is silent."""
        if self.silent:
            return None
        hub = Hub(
            self.endpoint,
            self.token,
            timeout_seconds=self.seconds,
            try_seconds=self.seconds,
            attempts=1,
        )
        try:
            return hub.verdict("", repository, revision)
        except HubUnavailableError:
            self.silent = True
            return None
