"""The exec plugin of a kubeconfig: the program that says who we are, run with an end in sight.

As client-go runs it (`client.authentication.k8s.io`), but that nobody is asked anything: its
standard input is empty, and what it prints reaches no terminal. What it answers is collected before
anything can be said of it, and its own words are told only without what looks like a secret.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from vllm_flows.children import started
from vllm_flows.environments import environment_for_others
from vllm_flows.errors import ClusterError, ConfigurationError, MissingProgramError
from vllm_flows.redaction import collect, collect_lines, redacted
from vllm_flows.unseen_secrets import without_tokens

SECONDS = 60.0
"""How long a plugin may take: the slowest ask a server of their own, and some try again."""
SOON_SECONDS = 5.0
"""After how long who waits is told what for."""
_LONGEST_BYTES = 1 << 20
_LAST_LINES = 3
_LONGEST_WORDS = 400
_SHORTEST_KEY_LINE = 32
_log = logging.getLogger(__name__)  # whose warnings come on stderr, and in the log of a run
_BY_HAND = "kubectl cluster-info   (it runs the same program, which can ask you there)"


@dataclass(frozen=True)
class Login:
    """What a plugin answered: a token, or a certificate with its key. None: it does not expire."""

    token: str = field(repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)
    expires: datetime | None = None


def log_in(
    plugin: Mapping[str, Any],
    folder: str,
    cluster: Mapping[str, Any] | None = None,
    seconds: float = SECONDS,
) -> Login:
    """Run the plugin, as the kubeconfig in `folder` describes it, and return its answer.

    Raises MissingProgramError when there is no such program, ConfigurationError when the entry or
    the answer is none, and ClusterError when it fails or does not end in time.
    """
    if not plugin.get("command") or not plugin.get("apiVersion"):
        raise ConfigurationError(
            "the kubeconfig's exec entry is not complete",
            why="it has to have an apiVersion and a command",
            next_command="kubectl config view",
        )
    command = _command(str(plugin["command"]), folder)
    name = Path(command).name
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        words = [command, *map(str, plugin.get("args") or ())]
        code = _run(words, _environment(plugin, cluster), output, errors, seconds, plugin)
        answered = _beginning(output)
        if code is None:
            raise not_ended(name, seconds, errors)
        if code:
            _collect_anyhow(answered)
            raise _failed(f"{name} ended with exit code {code}", _beginning(errors))
    return login_from(answered, str(plugin["apiVersion"]), name)


def ended(
    process: subprocess.Popen[bytes],
    seconds: float,
    program: Callable[[], str],
    what: str = "",
    longest: float = 0.0,
) -> int | None:
    """Return the exit code of what is, or runs, a login program; None when it takes longer.

    Who waits is soon told for which `program` ("": there is none): `what` they wait for, where
    that is more than it; `longest` is told in the place of `seconds`.
    """
    soon = min(SOON_SECONDS, seconds)
    with suppress(subprocess.TimeoutExpired):
        return process.wait(soon)
    if name := program():
        of = f"{what} the login program {name} of the kubeconfig".strip()
        _log.warning("still waiting for %s (up to %g s)", of, longest or seconds)
    with suppress(subprocess.TimeoutExpired):
        return process.wait(seconds - soon)
    return None


def not_ended(name: str, seconds: float, errors: IO[bytes]) -> ClusterError:
    """Return the error that a login program took too long; `errors` has what it wrote so far."""
    return _failed(f"{name} did not end within {seconds:g} s", _beginning(errors))


def login_from(answer: str, version: str, name: str) -> Login:
    """Read a plugin's answer. Raises ConfigurationError, which never quotes it."""
    try:
        document = json.loads(answer)
    except ValueError:
        raise _no_answer(name, "what it printed is no JSON") from None
    status = document.get("status") if isinstance(document, dict) else None
    if not isinstance(status, dict):
        raise _no_answer(name, "its answer has no status")
    token, key = status.get("token"), status.get("clientKeyData")
    certificate = status.get("clientCertificateData")
    collect_key(str(key or ""))
    collect(str(token or ""))
    if document.get("apiVersion") != version:
        raise _no_answer(name, f"its apiVersion is not {version}, which the kubeconfig asks for")
    if not token and not (certificate and key):
        raise _no_answer(name, "it has no token, nor a certificate with its key")
    expires = _moment(status.get("expirationTimestamp"), name)
    return Login(str(token or ""), str(certificate or ""), str(key or ""), expires)


def collect_key(pem: str) -> None:
    """Collect a private key, and each of its lines."""
    lines = [line.strip() for line in pem.splitlines() if not line.startswith("-----")]
    collect_lines(line for line in lines if len(line) >= _SHORTEST_KEY_LINE)
    if "PRIVATE KEY" in pem:
        collect(pem)


def _command(command: str, folder: str) -> str:
    """Find the program as kubectl does: a path is one from where the kubeconfig lies."""
    return str(Path(folder) / command) if "/" in command else command


def _environment(plugin: Mapping[str, Any], cluster: Mapping[str, Any] | None) -> dict[str, str]:
    spec: dict[str, Any] = {"interactive": False}
    if plugin.get("provideClusterInfo") and cluster:
        extensions = {one["name"]: one["extension"] for one in cluster.get("extensions") or ()}
        own = extensions.get("client.authentication.k8s.io/exec")
        spec["cluster"] = {**cluster, **({"config": own} if own else {})}
    info = {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": spec}
    more = {str(one["name"]): str(one["value"]) for one in plugin.get("env") or ()}
    environ = environment_for_others(os.environ)
    return {**environ, **more, "KUBERNETES_EXEC_INFO": json.dumps(info)}


def _run(
    command: list[str],
    environ: Mapping[str, str],
    output: IO[bytes],
    errors: IO[bytes],
    seconds: float,
    plugin: Mapping[str, Any],
) -> int | None:
    """Run it and return its exit code; None when it had to be killed, and all it started."""
    try:
        with started(command, environ, output, errors) as process:
            return ended(process, seconds, lambda: Path(command[0]).name)
    except OSError as error:
        raise MissingProgramError(
            f"the login program {Path(command[0]).name} of the kubeconfig cannot be run",
            why=error.strerror or type(error).__name__,
            next_command=str(plugin.get("installHint") or "") or "kubectl config view --minify",
        ) from None


def _beginning(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_LONGEST_BYTES).decode("utf-8", "replace")


def _collect_anyhow(answer: str) -> None:
    """Collect what a program answered that then failed: its last words may hold the same."""
    with suppress(ValueError, ConfigurationError):
        document = json.loads(answer)
        login_from(answer, str(document["apiVersion"]) if isinstance(document, dict) else "", "")


def _failed(what: str, errors: str) -> ClusterError:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    # Before they are cut: of half a secret the value is not found.
    words = without_tokens(redacted(" ".join(lines[-_LAST_LINES:])))
    shown = "".join(sign if sign.isprintable() else "?" for sign in words)[-_LONGEST_WORDS:]
    return ClusterError(
        f"no login to the cluster: {what}",
        why=shown or "it said nothing; what it may ask for, such as a password, it is not given",
        next_command=_BY_HAND,
    )


def _no_answer(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"no login to the cluster: {name} gave no usable answer", why=why, next_command=_BY_HAND
    )


def _moment(text: object, name: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        raise _no_answer(name, "its expirationTimestamp is no time") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
