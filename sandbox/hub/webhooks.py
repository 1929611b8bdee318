"""The Hub's webhooks: who wants to hear of which repository, and what they are sent.

The payload is the Hub's (version 3, huggingface_hub's `WebhookPayload`); the secret goes as it is
in the header `X-Webhook-Secret`. Simulated: a delivery is tried once, and its answer is not looked
at.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httpx

from sandbox.hub.repository import Commit, Repository

Document = dict[str, object]

_SECONDS = 10.0
_ID = "0" * 24


@dataclass(frozen=True)
class Webhook:
    """One that was made with `create_webhook`; `watched` are types and names."""

    number: int
    url: str
    watched: tuple[tuple[str, str], ...]
    domains: tuple[str, ...]
    secret: str | None

    def wants(self, repository: str) -> bool:
        """Say whether a change of the repository's content is sent there."""
        owner = repository.split("/", maxsplit=1)[0]
        names = {("model", repository), ("user", owner), ("org", owner)}
        return "repo" in self.domains and bool(names & set(self.watched))

    def describe(self) -> Document:
        """Return it as the Hub's API does."""
        return {
            "id": f"{self.number:024}",
            "url": self.url,
            "watched": [{"type": kind, "name": name} for kind, name in self.watched],
            "domains": list(self.domains),
            "secret": self.secret,
            "disabled": False,
        }


@dataclass
class Webhooks:
    """All of a Hub's, and the deliveries on their way."""

    made: list[Webhook] = field(default_factory=list)
    _deliveries: set[asyncio.Task[None]] = field(default_factory=set)

    def create(self, body: Document) -> Webhook:
        """Make one from what `create_webhook` sends. Raises KeyError when something is missing."""
        watched = body["watched"]
        domains = body.get("domains", ["repo"])
        assert isinstance(watched, list)  # noqa: S101 -- huggingface_hub sends lists
        assert isinstance(domains, list)  # noqa: S101 -- likewise
        made = Webhook(
            number=len(self.made) + 1,
            url=str(body["url"]),
            watched=tuple((item["type"], item["name"]) for item in watched),
            domains=tuple(domains),
            secret=None if body.get("secret") is None else str(body["secret"]),
        )
        self.made.append(made)
        return made

    def tell(self, repository: Repository, before: Commit, address: str) -> None:
        """Send everybody who wants it that main has moved; who is slow keeps nobody waiting."""
        for one in self.made:
            if one.wants(repository.sample.repo_id):
                document = payload(one, repository, before, address)
                task = asyncio.create_task(_deliver(one, document))
                self._deliveries.add(task)
                task.add_done_callback(self._deliveries.discard)


def payload(webhook: Webhook, repository: Repository, before: Commit, address: str) -> Document:
    """Return what is sent when main has moved from `before` to where it is now."""
    name = repository.sample.repo_id
    newest = repository.head.sha
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {
            "type": "model",
            "name": name,
            "id": _ID,
            "private": repository.private,
            "url": {"web": f"{address}/{name}", "api": f"{address}/api/models/{name}"},
            "headSha": newest,
            "owner": {"id": _ID},
        },
        "updatedRefs": [{"ref": "refs/heads/main", "oldSha": before.sha, "newSha": newest}],
        "webhook": {"id": f"{webhook.number:024}", "version": 3},
    }


async def _deliver(webhook: Webhook, document: Document) -> None:
    headers = {"X-Webhook-Secret": webhook.secret} if webhook.secret else {}
    async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as client:
        try:
            await client.post(webhook.url, json=document, headers=headers)
        except httpx.HTTPError:
            return  # nobody listens there
