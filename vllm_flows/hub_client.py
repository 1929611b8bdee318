"""The Hub's answers, with the tries, time limits and refusals sorted out.

This and `hub` are the only modules that import huggingface_hub. Its 2.x versions speak HTTP
through httpx2; its errors are reached through `huggingface_hub.utils.httpx`, never through our
own httpx.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

from huggingface_hub import HfApi, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # not listed in its __all__
    build_hf_headers,
    hf_raise_for_status,
)
from huggingface_hub.utils import httpx as hub_http  # type: ignore[attr-defined]  # likewise

from vllm_flows.hub_refusals import Account, Refusal
from vllm_flows.hub_silence import Silence
from vllm_flows.repository_facts import plain
from vllm_flows.retrying import ATTEMPTS, TryAgainError, asked_wait, patiently, within
from vllm_flows.waiting import Clock

Result = TypeVar("Result")

_NOT_MODIFIED = 304
_UNAUTHORIZED = 401
_TOO_MANY_REQUESTS = 429
_TRY_LATER = {408, _TOO_MANY_REQUESTS}
_SERVER_ERRORS = 500
_PASSING = (hub_http.TimeoutException, hub_http.NetworkError, hub_http.RemoteProtocolError)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class RefusedError(Exception):
    """The Hub refuses, and asking again does not help."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class SilentError(Exception):
    """The Hub does not answer, or not as a Hub does; `silence` says how, without the token."""

    def __init__(self, silence: Silence) -> None:
        super().__init__(silence)
        self.silence = silence


def no_hub(how: str) -> SilentError:
    """Return the error that what answers at the Hub's address is something else."""
    return SilentError(Silence(f"what answers there is no Hub: {how}"))


@dataclass(frozen=True)
class HubClient:
    """Asks the Hub at one address with one token (or none); for many threads.

    Every method raises RefusedError for a refusal, and SilentError when the Hub does not answer
    after `attempts` tries, or what answers is no Hub. No try lasts longer than `try_seconds`, and
    no wait for the next byte longer than `timeout_seconds`.
    """

    endpoint: str
    token: str | None = field(repr=False)
    timeout_seconds: float
    clock: Clock
    try_seconds: float = 60.0
    attempts: int = ATTEMPTS

    def model_info(self, repository: str, revision: str) -> ModelInfo:
        """Return the repository's description at a revision, its `sha` a 40-digit commit."""

        def ask(api: HfApi) -> ModelInfo:
            info = api.model_info(
                repository,
                revision=revision,
                files_metadata=True,
                securityStatus=True,
                timeout=self.timeout_seconds,  # unset, this call waits for ever
            )
            if not _COMMIT.fullmatch(info.sha or ""):
                raise ValueError(f"no commit is named for {repository}")
            return info

        return self._ask(ask)

    def auth_check(self, repository: str) -> None:
        """Return when the token may read the repository's files."""
        self._ask(lambda api: api.auth_check(repository))

    def tip(self, repository: str, revision: str, etag: str) -> tuple[dict[str, Any], str] | None:
        """Return in a few words what a revision stands for, and that answer's ETag.

        None when it is still what it was in the answer that `etag` is of.
        """
        return self._ask(lambda _: self._tip(repository, revision, etag))

    def read(self, repository: str, commit: str, name: str, limit: int) -> bytes:
        """Return a file's bytes, at most `limit` and a few more: then it is longer than that."""
        url = hf_hub_url(repository, name, revision=commit, endpoint=self.endpoint)
        return self._ask(lambda _: self._read(url, limit))

    def search(self, text: str, limit: int) -> list[str]:
        """Return the ids of repositories in whose ids the text occurs, the most used first."""
        return self._ask(lambda _: self._search(text, limit))

    def account(self) -> Account:
        """Return whose token it is. Tried once: the Hub lets it be asked rarely."""
        try:
            return self._once(lambda api: _account(api.whoami()))
        except TryAgainError as error:
            raise _given_up(error) from error

    def answers(self) -> None:
        """Return when it is a Hub that answers, if only that it wants a token or fewer requests."""
        try:
            self._once(lambda _: json.loads(self._read(f"{self.endpoint}/api/whoami-v2", 1024)))
        except RefusedError as error:
            if error.refusal.status != _UNAUTHORIZED:
                raise
        except TryAgainError as error:
            if error.status != _TOO_MANY_REQUESTS:
                raise _given_up(error) from error

    def _search(self, text: str, limit: int) -> list[str]:
        # HfApi.list_models asks again on its own, for half a minute, and says so on stderr.
        url = f"{self.endpoint}/api/models"
        wanted: dict[str, str | int] = {"search": text, "sort": "downloads", "limit": limit}
        headers = build_hf_headers(token=self.token or False)
        response = get_session().get(url, params=wanted, headers=headers)
        hf_raise_for_status(response)
        return [plain(found["id"]) for found in response.json()][:limit]

    def _tip(self, repository: str, revision: str, etag: str) -> tuple[dict[str, Any], str] | None:
        # Of these alone: an answer that counts downloads and likes is another one every hour.
        wanted = {"expand": ["sha", "gated", "private", "disabled"]}
        url = f"{self.endpoint}/api/models/{repository}/revision/{quote(revision, safe='')}"
        headers = build_hf_headers(token=self.token or False)
        headers |= {"If-None-Match": etag} if etag else {}
        response = get_session().get(url, params=wanted, headers=headers)
        if response.status_code == _NOT_MODIFIED and etag:
            return None
        hf_raise_for_status(response)
        answer = response.json()
        if not _COMMIT.fullmatch(answer["sha"]):
            raise ValueError(f"no commit is named for {repository}")
        return answer, response.headers.get("ETag", "")

    def _read(self, url: str, limit: int) -> bytes:
        headers = build_hf_headers(token=self.token or False)
        data = b""
        with get_session().stream("GET", url, headers=headers) as response:
            hf_raise_for_status(response)
            for piece in response.iter_bytes():
                data += piece
                if len(data) > limit:
                    break
        return data

    def _ask(self, call: Callable[[HfApi], Result]) -> Result:
        try:
            return patiently(lambda: self._once(call), self.clock, self.attempts)
        except TryAgainError as error:
            raise _given_up(error) from error

    def _once(self, call: Callable[[HfApi], Result]) -> Result:
        return within(self.try_seconds, lambda: self._called(call))

    def _called(self, call: Callable[[HfApi], Result]) -> Result:
        # huggingface_hub's client waits for ever, and most of its calls take no timeout.
        get_session().timeout = self.timeout_seconds
        with self._sorted_out():
            return call(HfApi(endpoint=self.endpoint, token=self.token or False))

    @contextmanager
    def _sorted_out(self) -> Iterator[None]:
        """Turn huggingface_hub's errors into refusals, into tries to come, or into the end."""
        try:
            yield
        except HfHubHTTPError as error:
            raise self._not_an_answer(error.response, error.server_message or "") from error
        except _PASSING as error:
            raise TryAgainError(self._said(error)) from error
        except OfflineModeIsEnabled as error:
            raise SilentError(Silence(self._said(error), unasked=True)) from error
        except (hub_http.HTTPError, hub_http.InvalidURL, OSError) as error:
            raise SilentError(Silence(self._said(error))) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # What came was no JSON, or JSON that huggingface_hub can make nothing of.
            if (failed := _failed_answer(error)) is not None:
                raise self._not_an_answer(failed) from error
            raise no_hub(self._said(error)) from error
        except RecursionError as error:
            raise no_hub("JSON that is nested too deeply") from error

    def _not_an_answer(
        self, response: hub_http.Response, message: str = ""
    ) -> TryAgainError | RefusedError | SilentError:
        status, headers = response.status_code, response.headers
        if status in _TRY_LATER or status >= _SERVER_ERRORS:
            return TryAgainError(f"HTTP {status}", asked_wait(headers, datetime.now(UTC)), status)
        if _is_a_page(headers):
            return no_hub(f"HTTP {status} with a page of HTML")
        message = headers.get("X-Error-Message") or message
        return RefusedError(Refusal(status, headers.get("X-Error-Code") or "", self._said(message)))

    def _said(self, text: object) -> str:
        """Return a text of others as it may be shown: a line, without the token.

        An error that says nothing is called by its kind.
        """
        shown = str(text)
        if self.token:
            # Libraries quote a header that cannot be sent, with its line breaks escaped.
            for form in (self.token, self.token.encode("unicode_escape").decode()):
                shown = shown.replace(form, "***")
        return plain(shown) or (type(text).__name__ if isinstance(text, Exception) else "")


def _given_up(error: TryAgainError) -> SilentError:
    return SilentError(Silence(error.why, error.status, error.after))


def _is_a_page(headers: Mapping[str, str]) -> bool:
    """Say whether it is a proxy that refuses: the Hub sends pages to browsers alone."""
    said = any(headers.get(name) for name in ("X-Error-Code", "X-Error-Message"))
    return not said and "html" in headers.get("Content-Type", "").lower()


def _failed_answer(error: BaseException) -> hub_http.Response | None:
    """Return the refusal whose text huggingface_hub stumbled over, None when there was none."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, hub_http.HTTPStatusError):
            return behind.response
        behind = behind.__context__
    return None


def _account(answer: dict[str, Any]) -> Account:
    """Read `whoami`: only a fine-grained token says whether it may read gated repositories."""
    auth = answer.get("auth") or {}
    token = auth.get("accessToken") or {}
    fine_grained = token.get("fineGrained") or {}
    return Account(
        name=plain(answer.get("name") or "unknown"),
        reads_gated=fine_grained.get("canReadGatedRepos", True) is not False,
        role=plain(token.get("role") or ""),
        # Where the Hub says it, by huggingface.js (hub/src/lib/who-am-i.ts), now and before.
        expires=_moment(auth.get("expiresAt") or token.get("expiration")),
    )


def _moment(text: object) -> datetime | None:
    """Read a date of the Hub's (`2026-01-05T09:00:00.000Z`); None for what is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
