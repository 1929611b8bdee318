"""What to make of a request that says it is a webhook of the Hub's. Pure.

The Hub sends the secret as it is in `X-Webhook-Secret`, and JSON (huggingface_hub's
`WebhookPayload`). Nothing of that is believed but that something may have happened to a
repository: what did is asked of the Hub itself.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from vllm_flows.models import Model
from vllm_flows.repository_facts import parse_configuration

LARGEST_BODY = 64 * 1024
"""Bytes; those about commits have a kilobyte or two."""
SHORTEST_SECRET = 16

_DEEPEST = 20
_REFS = ("refs/heads/", "refs/tags/", "")


@dataclass(frozen=True)
class Judgement:
    """The status and words of the answer; `repository` is to be looked at, "" when none is."""

    status: HTTPStatus
    text: str
    repository: str = ""


def knows_secret(given: str | None, secret: str) -> bool:
    """Say whether a request came with the secret, in a time that tells nothing of it."""
    one, other = (hashlib.sha256(text.encode()).digest() for text in (given or "", secret))
    return hmac.compare_digest(one, other) and bool(given)


def refusal(headers: Mapping[str, str], secret: str) -> Judgement | None:
    """Judge what a request's headers say (their names in small letters); None lets it pass."""
    if not knows_secret(headers.get("x-webhook-secret"), secret):
        return Judgement(HTTPStatus.FORBIDDEN, "the secret is missing or wrong")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Judgement(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a webhook of the Hub's is JSON")
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length) > LARGEST_BODY:
        return too_large()
    return None


def too_large() -> Judgement:
    """Return the answer to a body beyond the bound."""
    return Judgement(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {LARGEST_BODY} bytes are read")


def judge(body: bytes, models: Collection[Model]) -> Judgement:
    """Judge what a request with the right secret says: who is to be looked at, or why nobody."""
    try:
        document = parse_configuration(body, _DEEPEST)
    except ValueError:
        return Judgement(HTTPStatus.BAD_REQUEST, "the body is no JSON object")
    scope, kind, name = (
        _text(document, *path) for path in (("event", "scope"), ("repo", "type"), ("repo", "name"))
    )
    if not (scope and kind and name):
        text = "event.scope, repo.type and repo.name are texts in a webhook of the Hub's"
        return Judgement(HTTPStatus.UNPROCESSABLE_ENTITY, text)
    ours = [model for model in models if model.model_url == name]
    if kind != "model" or scope.partition(".")[0] != "repo" or not ours:
        return _ignored("it is about no model of models.yaml")
    moved = list(_moved(document))
    if moved and not any(prefix + model.revision in moved for model in ours for prefix in _REFS):
        return _ignored("no revision that models.yaml names has moved")
    return Judgement(HTTPStatus.ACCEPTED, "the Hub is asked what has changed", name)


def replayed() -> Judgement:
    """Return the answer to a request that was seen before, byte by byte."""
    return _ignored("this webhook was seen before")


def _ignored(why: str) -> Judgement:
    return Judgement(HTTPStatus.OK, f"ignored: {why}")


def _text(document: Mapping[str, Any], *path: str) -> str:
    found: object = document
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""


def _moved(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the refs that are said to have moved; none when that is not told."""
    refs = document.get("updatedRefs")
    for one in refs if isinstance(refs, list) else ():
        if isinstance(one, Mapping) and isinstance(one.get("ref"), str):
            yield one["ref"]
