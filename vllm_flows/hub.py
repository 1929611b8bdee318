"""The adapter to the Hugging Face Hub; the only module that imports huggingface_hub.

huggingface_hub 2.x speaks HTTP through httpx2; its errors are reached through
`huggingface_hub.utils.httpx`, never through our own httpx.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch

from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils import httpx as hub_http  # type: ignore[attr-defined]  # not listed

from vllm_flows.errors import AccessError, HubUnavailableError, VllmFlowsError
from vllm_flows.observed import HubFile, Verdict

_UNAUTHORIZED = 401
_FORBIDDEN = 403
_TRY_LATER = {408, 429}
_SERVER_ERRORS = 500

_OTHER_FORMATS = (
    "original/*",
    "*.gguf",
    "*.onnx",
    "onnx/*",
    "*.h5",
    "*.msgpack",
    "*.tflite",
    "*.ot",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class Hub:
    """The Hub at one address, asked with one token (or none)."""

    endpoint: str
    token: str | None = field(repr=False)
    token_source: str = ""
    timeout_seconds: float = 20.0

    def verdict(self, model: str, repository: str, revision: str) -> Verdict:
        """Ask whether this token may read the model, and which commit and files it would get.

        What the Hub refuses comes back as the verdict's `problem`. Raises HubUnavailableError
        when the Hub does not answer; asking again can help.
        """
        api = HfApi(endpoint=self.endpoint, token=self.token or False)
        # huggingface_hub's client waits for ever, and auth_check() takes no timeout.
        get_session().timeout = self.timeout_seconds
        try:
            api.auth_check(repository)
            info = api.model_info(
                repository, revision=revision, files_metadata=True, timeout=self.timeout_seconds
            )
        except HfHubHTTPError as error:
            problem = self._problem(error, model, repository, revision)
            return Verdict(model, repository, gated=_gate(error), problems=(problem,))
        except (hub_http.HTTPError, OSError) as error:
            raise self._unavailable(model, str(error)) from error
        return _granted(model, repository, info)

    def _problem(
        self, error: HfHubHTTPError, model: str, repository: str, revision: str
    ) -> VllmFlowsError:
        """Turn the Hub's refusal into an error with the page to open or the command to run."""
        status = error.response.status_code
        page = f"{self.endpoint}/{repository}"
        if isinstance(error, GatedRepoError):
            return self._gated(status, model, repository, page)
        if isinstance(error, RevisionNotFoundError):
            return AccessError(
                f"{repository} has no revision {revision!r}",
                why="it is neither a branch, nor a tag, nor a commit of that repository",
                next_command=f"open {page}/commits/main and set `revision` in models.yaml",
                model=model,
            )
        if status == _UNAUTHORIZED and self.token and not _not_found(error):
            return AccessError(
                f"the Hub does not accept the token of {self.token_source or 'this run'}",
                why="it is mistyped, expired or was revoked",
                next_command=f"make a new one at {self.endpoint}/settings/tokens, then "
                + self._how_to_set(),
                model=model,
            )
        # Without a token the Hub answers 401 for what it does not have as for what is private.
        if _not_found(error) or status == _UNAUTHORIZED:
            return AccessError(
                f"the Hub has no model {repository}",
                why="the id is misspelt, or the repository is private and this token cannot see it",
                next_command=f"open {page} and correct `modelURL` in models.yaml",
                model=model,
            )
        if status in _TRY_LATER or status >= _SERVER_ERRORS:
            raise self._unavailable(model, f"HTTP {status}") from error
        return AccessError(
            f"the Hub refuses {repository}",
            why=f"HTTP {status}: {error.server_message or ''}",
            next_command=f"open {page}",
            model=model,
        )

    def _how_to_set(self) -> str:
        if self.token_source.startswith("VLLM_"):
            return f"set {self.token_source} to it (or unset it and: vllm-flows set-hf-token)"
        return "vllm-flows set-hf-token"

    def _gated(self, status: int, model: str, repository: str, page: str) -> AccessError:
        if status == _FORBIDDEN:
            return AccessError(
                f"{repository} is gated and this token has no access to it",
                why="its license was not accepted with this account, or the request is pending",
                next_command=f"accept the license at {page}, then run this again",
                model=model,
            )
        return AccessError(
            f"{repository} is gated and there is no token",
            why="the Hub gives gated models only to accounts that accepted their license",
            next_command=f"accept the license at {page}, then: vllm-flows set-hf-token",
            model=model,
        )

    def _unavailable(self, model: str, why: str) -> HubUnavailableError:
        text = why.splitlines()[0] if why else "no answer"
        return HubUnavailableError(
            f"the Hub at {self.endpoint} does not answer",
            why=text.replace(self.token, "***") if self.token else text,
            next_command=f"curl -sSI {self.endpoint}",
            model=model,
        )


def _not_found(error: HfHubHTTPError) -> bool:
    return isinstance(error, RepositoryNotFoundError)


def _gate(error: HfHubHTTPError) -> str:
    """Say whether there is a gate; a refusal does not tell which kind."""
    return "yes" if isinstance(error, GatedRepoError) else "no"


def _granted(model: str, repository: str, info: ModelInfo) -> Verdict:
    card = info.card_data
    return Verdict(
        model=model,
        repository=repository,
        commit=info.sha or "",
        gated=str(info.gated) if info.gated else "no",
        license=str(getattr(card, "license", "") or "") if card else "",
        files=needed_files(_files(info)),
    )


def _files(info: ModelInfo) -> list[HubFile]:
    return [
        HubFile(
            name=sibling.rfilename,
            size=sibling.size or 0,
            sha256=sibling.lfs.sha256 if sibling.lfs else None,
        )
        for sibling in info.siblings or []
    ]


def needed_files(files: Iterable[HubFile]) -> tuple[HubFile, ...]:
    """Leave out what vLLM would not load: other formats, and pickles beside safetensors.

    Many repositories hold the same weights two or three times; vLLM takes safetensors first.
    Mistral's `consolidated*.safetensors` repeats `model*.safetensors` where both are there.
    """
    kept = [file for file in files if not _matches(file.name, _OTHER_FORMATS)]
    names = [file.name for file in kept]
    unneeded: tuple[str, ...] = ()
    if any(fnmatch(name, "*.safetensors") for name in names):
        unneeded += _PICKLES
    if any(fnmatch(name, "model*.safetensors") for name in names):
        unneeded += ("consolidated*.safetensors",)
    return tuple(file for file in kept if not _matches(file.name, unneeded))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
