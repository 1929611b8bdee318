"""The Hub's verdict on a model: access, commit, license, files, configuration, code, scan.

How the Hub is asked is `hub_client`'s matter; what a refusal means is decided by `hub_refusals`,
which files are needed by `repository_files`, what they say by `repository_facts`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from huggingface_hub.hf_api import ModelInfo, RepoSibling

from vllm_flows.errors import AccessError
from vllm_flows.hub_client import HubClient, RefusedError, SilentError, no_hub
from vllm_flows.hub_refusals import (
    Account,
    Question,
    Reason,
    Refusal,
    access_of,
    explain,
    needs_account,
    reason_of,
)
from vllm_flows.hub_silence import explain_silence
from vllm_flows.observed import Access, Description, HubFile, Verdict
from vllm_flows.repository_facts import (
    code_elsewhere,
    custom_code,
    parse_configuration,
    plain,
    scan_of,
)
from vllm_flows.repository_files import needed_files
from vllm_flows.retrying import ATTEMPTS
from vllm_flows.waiting import Clock, StoppableClock

Known = Mapping[str, Description]

_CONFIGURATION = "config.json"
_TOKENIZER = "tokenizer_config.json"
LARGEST_CONFIGURATION = 4 * 1024**2
"""Bytes; real ones have some kilobytes."""


@dataclass
class _Remembered:
    """What `whoami` said, asked at most once: many threads ask at the same time."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    asked: bool = False
    account: Account | None = None


@dataclass(frozen=True)
class Hub:
    """The Hub at one address, asked with one token (or none); for many threads."""

    endpoint: str
    token: str | None = field(repr=False)
    token_source: str = ""
    timeout_seconds: float = 20.0
    try_seconds: float = 60.0
    attempts: int = ATTEMPTS
    clock: Clock = field(default_factory=StoppableClock, repr=False, compare=False)
    _remembered: _Remembered = field(
        default_factory=_Remembered, init=False, repr=False, compare=False
    )

    def verdict(
        self, model: str, repository: str, revision: str, known: Known = MappingProxyType({})
    ) -> Verdict:
        """Ask whether this token may read the model, and which commit and files it would get.

        `known` has descriptions by commit: a commit's files never change, and are not read twice.
        What the Hub refuses comes back as the verdict's `problems`, with what it tells all the
        same (of a gated repository: commit, license and files). Raises HubUnavailableError when
        the Hub does not answer after `attempts` tries, or what answers is no Hub.
        """
        question = self.question(model, repository, revision)
        try:
            return self._verdict(question, known)
        except SilentError as error:
            raise explain_silence(error.silence, question) from error

    def question(self, model: str, repository: str, revision: str) -> Question:
        """Return a question to this Hub, as errors tell it."""
        source = (self.token_source or "this run") if self.token else ""
        return Question(model, repository, revision, self.endpoint, source)

    def client(self) -> HubClient:
        """Return what puts the questions."""
        return HubClient(
            self.endpoint,
            self.token,
            self.timeout_seconds,
            self.clock,
            self.try_seconds,
            self.attempts,
        )

    def _verdict(self, question: Question, known: Known) -> Verdict:
        client = self.client()
        found = Verdict(question.model, question.repository)
        try:
            info = client.model_info(question.repository, question.revision)
            found = _described(found, info)
            if info.disabled:
                return _refused(found, Reason.DISABLED, question)
            if info.gated:
                client.auth_check(question.repository)
            return _configured(found, info, client, question, known.get(found.commit))
        except RefusedError as error:
            refusal, token = error.refusal, bool(self.token)
            account = self._account(client) if needs_account(refusal, token=token) else None
            reason = reason_of(refusal, account, token=token)
            return _refused(found, reason, question, refusal, account)

    def _account(self, client: HubClient) -> Account | None:
        """Return what the Hub knows of the token, asked once; None when it does not say."""
        with self._remembered.lock:
            if not self._remembered.asked:
                self._remembered.asked = True
                try:
                    self._remembered.account = client.account()
                except (RefusedError, SilentError):
                    self._remembered.account = None
            return self._remembered.account


def _refused(
    found: Verdict,
    reason: Reason,
    question: Question,
    refusal: Refusal | None = None,
    account: Account | None = None,
) -> Verdict:
    """Add the problem. Which kind a gate is, its refusal does not tell: then the strict kind."""
    refusal = refusal or Refusal(200)
    gated = "manual" if refusal.gated and found.gated == "no" else found.gated
    problem = explain(reason, question, refusal, account)
    return replace(found, gated=gated, access=access_of(reason), problems=(problem,))


def _described(found: Verdict, info: ModelInfo) -> Verdict:
    """Add what the Hub tells of a repository to everybody who may know that it is there."""
    return replace(
        found,
        commit=info.sha or "",
        gated=gate_of(info.gated),
        license=license_of(info),
        files=needed_files(files_of(info)),
        parameters=_parameters(info),
    )


def _configured(
    found: Verdict,
    info: ModelInfo,
    client: HubClient,
    question: Question,
    known: Description | None,
) -> Verdict:
    """Add what only those learn who may read the repository: its configuration, and its code."""
    problems: list[AccessError] = []
    doubts: list[AccessError] = []
    if known and known.config:
        config, code = dict(known.config), known.custom_code
    else:
        config, problems = _document(found, _CONFIGURATION, client, question)
        tokenizer, doubts = _document(found, _TOKENIZER, client, question)
        code = custom_code(found.repository, config, tokenizer)
    files = needed_files(found.files, code=bool(code))
    scan = scan_of(info.security_repo_status, files)
    missed = [
        f"its code lies in {repository}, which is not fetched: vLLM cannot run it offline"
        for repository in code_elsewhere(code)
    ]
    return replace(
        found,
        access=Access.GRANTED if info.gated or info.private else Access.OPEN,
        files=files,
        custom_code=code,
        unsafe_files=scan.unsafe,
        scanned=scan.told,
        config=config,
        problems=tuple(problems),
        notes=(*(str(doubt.what) for doubt in doubts), *missed, *scan.notes),
    )


def _document(
    found: Verdict, name: str, client: HubClient, question: Question
) -> tuple[dict[str, Any], list[AccessError]]:
    """Read a configuration; empty when there is none, or with the problem that it is none."""
    size = next((file.size for file in found.files if file.name == name), None)
    if size is None:
        return {}, []
    if size > LARGEST_CONFIGURATION:
        return {}, [_unreadable(found, name, f"it has {size} bytes", question)]
    data = client.read(found.repository, found.commit, name, LARGEST_CONFIGURATION)
    try:
        return parse_configuration(data[:LARGEST_CONFIGURATION]), []
    except ValueError as error:
        return {}, [_unreadable(found, name, plain(error), question)]


def _unreadable(found: Verdict, name: str, why: str, question: Question) -> AccessError:
    return AccessError(
        f"{found.repository} has a {name} that cannot be read",
        why=why,
        next_command=f"open {question.page}/blob/{found.commit}/{name}, and set another "
        "`revision` in models.yaml",
        model=found.model,
    )


def license_of(info: ModelInfo) -> str:
    """Return the license's id, or the name that its owner gave to one of his own."""
    said = getattr(info.card_data, "license", None)
    named = getattr(info.card_data, "license_name", None) if said == "other" else None
    return plain(named or said or "")


def gate_of(said: object) -> str:
    """Return the kind of gate; one that we do not know counts as the strict kind."""
    if not said:
        return "no"
    return "auto" if said == "auto" else "manual"


def _parameters(info: ModelInfo) -> dict[str, int]:
    """Return the numbers by data type; empty, as for other formats, when they cannot be read."""
    said = info.safetensors.parameters if info.safetensors else None
    if not isinstance(said, dict) or not all(_is_count(count) for count in said.values()):
        return {}
    return {plain(kind): count for kind, count in said.items()}


def files_of(info: ModelInfo) -> list[HubFile]:
    """Return the repository's files. Raises SilentError when one is not described as files are."""
    return [_file(sibling) for sibling in info.siblings or []]


def _file(sibling: RepoSibling) -> HubFile:
    name, size, blob_id = sibling.rfilename, sibling.size, sibling.blob_id
    sha256 = sibling.lfs.sha256 if sibling.lfs else None
    hashes = [blob_id] if sibling.lfs is None else [blob_id, sha256]
    if not all(isinstance(text, str) and text for text in (name, *hashes)) or not _is_count(size):
        raise no_hub(f"it describes the file {plain(name)} without its size and hash")
    return HubFile(name=name, size=size or 0, sha256=sha256, blob_id=blob_id or "")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
