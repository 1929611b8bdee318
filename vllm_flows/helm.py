"""The adapter to Helm: the `helm` binary, version 3 or 4, as a subprocess.

Values go in by standard input. Every call has a finite timeout. Never `--atomic` or `--wait`:
readiness is judged by the orchestrator, which can tell a slow load from a dead one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import IO, Any

import yaml

from vllm_flows.chart import Chart
from vllm_flows.children import started
from vllm_flows.differences import entries
from vllm_flows.environments import environment_for_others
from vllm_flows.errors import MissingProgramError, ReleaseError
from vllm_flows.going_back import Past
from vllm_flows.guarding import Guard, unguarded
from vllm_flows.helm_failures import failure, killed
from vllm_flows.helm_lock import HelmLock
from vllm_flows.helm_process import Run
from vllm_flows.names import RELEASE
from vllm_flows.observed import DIGEST_ANNOTATION, Release, ReleaseState
from vllm_flows.release_rules import LONGEST_HELM_SECONDS, release_from

# libyaml's parser where PyYAML has it: a manifest of 100 models takes the other one a second.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_READ_SECONDS = 60
_HISTORY_MAX = 10
_ABSENT = "release: not found"
"""Helm 3 and 4 say so of a release that is not there; of other missing things they speak else."""


@dataclass(frozen=True)
class Helm:
    """Helm for one release in one namespace. Methods raise ReleaseError when helm fails.

    Whatever writes calls `guard` first, which raises to prevent it. `place` is the namespace's uid,
    which tells it from those of other clusters. `name` is the release's.
    """

    namespace: str
    context: str
    guard: Guard = unguarded
    place: str = ""
    name: str = RELEASE

    def release(self) -> Release:
        """Return the release as it is now; state `absent` when there is none.

        Its values are those of the newest revision that helm finished, else of the newest.
        """
        rows = self._history()
        if rows is None:
            return Release(ReleaseState.ABSENT)
        done = next((row for row in reversed(rows) if row["status"] == "deployed"), rows[-1])
        values = self.values_at(int(done["revision"]))
        return replace(release_from(rows[-1], values, done), namespace=self.namespace)

    def _history(self) -> list[dict[str, Any]] | None:
        """Return the revisions that are kept, oldest first; None when there is no release."""
        wanted = ["history", self.name, "--max", str(_HISTORY_MAX), "-o", "json"]
        answer = self._run([*wanted, *self._scope()], check=False)
        if answer.returncode == 0:
            rows: list[dict[str, Any]] = json.loads(answer.stdout)
            return rows
        if _ABSENT in answer.stderr:
            return None
        raise self._failure("read the release", answer)

    def upgrade(
        self,
        chart: Chart,
        values: Mapping[str, Any],
        description: str = "",
        *,
        kinds: bool = False,
    ) -> int:
        """Install the release or bring it to `values`; return its new revision.

        The Kubernetes objects are written when this returns; nothing is waited for. Helm keeps the
        `description` with the revision; its own words when there is none. With `kinds` it first
        makes the kinds of objects that the chart brings, which takes rights in the whole cluster;
        vllm-stack's are for LoRA adapters, which nothing here uses.
        """
        command = ["upgrade", "--install", self.name, chart.reference, *chart.arguments]
        options = ["--values", "-", "--history-max", str(_HISTORY_MAX), *self._taking_over()]
        options += ["--description", description] if description else []
        options += [] if kinds else ["--skip-crds"]
        answer = self._run(
            [*command, *options, "-o", "json", *self._scope()],
            stdin=json.dumps(values),
            seconds=LONGEST_HELM_SECONDS,
            writes=True,
        )
        # Helm's own word: to read the release again might fail after a change that did not.
        return int(json.loads(answer.stdout)["version"])

    def roll_back(self, revision: int) -> None:
        """Bring the release back to an earlier revision, its chart too; as `upgrade` otherwise."""
        command = ["rollback", self.name, str(revision), "--history-max", str(_HISTORY_MAX)]
        self._run(
            [*command, *self._taking_over(), *self._scope()],
            seconds=LONGEST_HELM_SECONDS,
            writes=True,
        )

    def _taking_over(self) -> list[str]:
        """Return the options by which helm also writes fields that somebody else wrote last.

        Helm 3 always does. Helm 4 applies on the server, which refuses such fields unless forced;
        a release of Helm 3 it would go on applying by itself, and then takes no force at all.
        """
        return (
            [] if self.version().startswith("v3.") else ["--server-side=true", "--force-conflicts"]
        )

    def version(self, seconds: int = _READ_SECONDS) -> str:
        """Return helm's own version, as `v4.3.1`."""
        command = ["version", "--template", "{{.Version}}"]
        return self._run(command, seconds=seconds).stdout.strip()

    def described(self, chart: Chart, seconds: int = _READ_SECONDS) -> dict[str, Any]:
        """Return the chart's Chart.yaml, fetched from where it is."""
        command = ["show", "chart", chart.reference, *chart.arguments]
        answer = self._run(command, seconds=seconds)
        found: dict[str, Any] = yaml.safe_load(answer.stdout)
        return found

    def manifest(self, revision: int) -> list[dict[str, Any]]:
        """Return the objects of a revision as the chart rendered them; [] when it is not kept."""
        return _documents(self._kept("manifest", revision))

    def rendered(self, chart: Chart, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the objects that the release would consist of; nothing is written."""
        command = ["template", self.name, chart.reference, *chart.arguments, "--values", "-"]
        answer = self._run([*command, *self._scope()], stdin=json.dumps(values))
        return _documents(answer.stdout)

    def values_at(self, revision: int) -> dict[str, Any]:
        """Return the values that a revision was made with; {} when it is not kept any more."""
        found: dict[str, Any] = json.loads(self._kept("values", revision, "-o", "json") or "{}")
        return found or {}

    def _kept(self, what: str, revision: int, *options: str) -> str:
        """Return what helm keeps of a revision; "" when it does not keep it any more."""
        wanted = ["get", what, self.name, "--revision", str(revision), *options]
        answer = self._run([*wanted, *self._scope()], check=False)
        if answer.returncode == 0:
            return answer.stdout
        if _ABSENT in answer.stderr:
            return ""
        raise self._failure(f"read the release's {what}", answer)

    def past(self, model: str, digest: str) -> Past | None:
        """Return the newest revision whose entry of a model has this digest; None when not kept."""
        for past in self.pasts():
            annotations = entries(past.values).get(model, {}).get("podAnnotations") or {}
            if annotations.get(DIGEST_ANNOTATION) == digest:
                return past
        return None

    def pasts(self) -> Iterator[Past]:
        """Yield the revisions that are kept, the newest first; helm is run for each."""
        for row in reversed(self._history() or []):
            revision, chart = int(row["revision"]), str(row["chart"]).rpartition("-")[2]
            status, description = str(row["status"]), str(row.get("description") or "")
            yield Past(revision, chart, self.values_at(revision), status, description)

    def busy(self) -> bool:
        """Say whether a helm that this product started on this machine still writes."""
        return self._lock().held()

    def ending(self) -> str:
        """Return the command that ends the helm that is `busy`, and what that started."""
        return self._lock().ending()

    def left(self, release: Release) -> bool:
        """Say whether it was a helm of this product, on this machine, that left it unfinished."""
        unfinished = self._lock().unfinished()
        if unfinished is None:
            return False
        since, until = unfinished
        return since - 1 <= release.updated <= min(until, since + LONGEST_HELM_SECONDS)

    def _lock(self) -> HelmLock:
        return HelmLock.of(self.place or self.namespace)

    def uninstall(self) -> bool:
        """Remove the release; return whether there was one."""
        answer = self._run(
            ["uninstall", self.name, *self._scope()],
            seconds=LONGEST_HELM_SECONDS,
            check=False,
            writes=True,
        )
        if answer.returncode != 0 and _ABSENT not in answer.stderr:
            raise self._failure("uninstall the release", answer)
        return answer.returncode == 0

    def _failure(self, what: str, answer: subprocess.CompletedProcess[str]) -> ReleaseError:
        return failure(self.namespace, what, answer.stderr, self.name)

    def _scope(self) -> list[str]:
        context = ["--kube-context", self.context] if self.context else []
        return ["--namespace", self.namespace, *context]

    def _run(
        self,
        arguments: Sequence[str],
        *,
        stdin: str = "",
        seconds: int = _READ_SECONDS,
        check: bool = True,
        writes: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run helm; one that writes to its end, also when this process is interrupted or killed.

        A helm that dies while it writes leaves the release pending, and the next run stuck. So it
        has a session of its own, which Ctrl-C does not reach, and files instead of pipes, which
        do not break when their reader is gone. While it writes it holds the machine's helm lock.
        Who interrupts this process twice ends helm as well: it may hang.
        """
        program = _program()
        if writes:
            self.guard()
        lock = self._lock().taken() if writes else nullcontext()
        with lock as hold, _file(stdin) as given, _file() as output, _file() as errors:
            command, environ = [program, *arguments], environment_for_others(os.environ)
            inherited = (hold.descriptor,) if hold else ()
            with started(
                command, environ, output, errors, given, inherited, writes=writes
            ) as process:
                if hold:
                    hold.begun(process.pid)
                code = Run(process, arguments[0], self.context, errors, writes).code(seconds)
            answer = subprocess.CompletedProcess(arguments, code, _text(output), _text(errors))
            if hold:
                (hold.failed if code else hold.done)()
        if code < 0:
            raise killed(arguments[0], -code)
        if check and answer.returncode != 0:
            raise self._failure(arguments[0], answer)
        return answer


def _documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.load_all(text, _Loader) if document]


def _program() -> str:
    program = shutil.which("helm")
    if program is None:
        raise MissingProgramError(
            "helm is not installed",
            why="no program `helm` on PATH",
            next_command="open https://helm.sh/docs/intro/install/",
        )
    return program


def _file(content: str = "") -> IO[bytes]:
    """Return an unnamed file that holds `content`, ready to be read from its beginning."""
    made = tempfile.TemporaryFile()  # noqa: SIM115 -- the caller's `with` closes it
    made.write(content.encode())
    made.seek(0)
    return made


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
