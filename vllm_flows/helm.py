"""The adapter to Helm: the `helm` binary, version 3 or 4, as a subprocess.

Values go in by standard input. Every call has a finite timeout. Never `--atomic` or `--wait`:
readiness is judged by the orchestrator, which can tell a slow load from a dead one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

from vllm_flows.chart import CHART_NAME, Chart
from vllm_flows.errors import MissingProgramError, ReleaseError
from vllm_flows.names import RELEASE
from vllm_flows.observed import DIGEST_ANNOTATION, Release, ReleaseState

_READ_SECONDS = 60
_WRITE_SECONDS = 600
_HISTORY_MAX = 10
_ABSENT = "release: not found"
"""Helm 3 and 4 say so of a release that is not there; of other missing things they speak else."""


@dataclass(frozen=True)
class Helm:
    """Helm for one release in one namespace. Methods raise ReleaseError when helm fails."""

    namespace: str
    context: str

    def release(self) -> Release:
        """Return the release as it is now; state `absent` when there is none."""
        scope = self._scope()
        answer = self._run(["history", RELEASE, *scope, "--max", "1", "-o", "json"], check=False)
        if answer.returncode != 0:
            if _ABSENT in answer.stderr:
                return Release(ReleaseState.ABSENT)
            raise self._failure("read the release", answer.stderr)
        latest = json.loads(answer.stdout)[-1]
        values = self._run(["get", "values", RELEASE, *scope, "-o", "json"])
        return replace(
            release_from(latest, json.loads(values.stdout) or {}), namespace=self.namespace
        )

    def upgrade(self, chart: Chart, values: Mapping[str, Any]) -> int:
        """Install the release or bring it to `values`; return its new revision.

        The Kubernetes objects are written when this returns; nothing is waited for.
        """
        command = ["upgrade", "--install", RELEASE, chart.reference, *chart.arguments]
        options = ["--values", "-", "--history-max", str(_HISTORY_MAX)]
        self._run(
            [*command, *options, *self._scope()],
            stdin=json.dumps(values),
            seconds=_WRITE_SECONDS,
        )
        return self.release().revision

    def uninstall(self) -> bool:
        """Remove the release; return whether there was one."""
        answer = self._run(
            ["uninstall", RELEASE, *self._scope()], seconds=_WRITE_SECONDS, check=False
        )
        if answer.returncode != 0 and _ABSENT not in answer.stderr:
            raise self._failure("uninstall the release", answer.stderr)
        return answer.returncode == 0

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
    ) -> subprocess.CompletedProcess[str]:
        """Run helm to its end, also when this process is interrupted or killed meanwhile.

        A helm that dies while it writes leaves the release pending, and the next run stuck. So it
        has a session of its own, which Ctrl-C does not reach, and files instead of pipes, which
        do not break when their reader is gone.
        """
        program = _program()
        with _file(stdin) as given, _file() as output, _file() as errors:
            process = subprocess.Popen(
                [program, *arguments],
                stdin=given,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired as error:
                process.terminate()
                process.wait()
                raise self._failure(arguments[0], f"no end after {seconds} s") from error
            except BaseException:
                process.wait(seconds)
                raise
            answer = subprocess.CompletedProcess(arguments, code, _text(output), _text(errors))
        if check and answer.returncode != 0:
            raise self._failure(arguments[0], answer.stderr)
        return answer

    def _failure(self, what: str, errors: str) -> ReleaseError:
        """Say what helm said; its last line holds the reason, warnings stand before it."""
        lines = [line for line in errors.strip().splitlines() if line.strip()]
        reason = lines[-1].removeprefix("Error: ") if lines else "helm said nothing"
        hint = f"helm -n {self.namespace} history {RELEASE}"
        if "dependencies" in reason or "dependency" in reason:
            hint = "helm dependency build CHART_FOLDER"
        return ReleaseError(f"helm failed: {what}", why=reason, next_command=hint)


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


def release_from(latest: Mapping[str, Any], values: Mapping[str, Any]) -> Release:
    """Name the state of a release from the newest row of its history and its values."""
    name, _, version = str(latest["chart"]).rpartition("-")
    status = str(latest["status"])
    return Release(
        state=_state(name, status, values),
        revision=int(latest["revision"]),
        chart_version=version,
        status=status,
        values=values,
    )


def _state(chart: str, status: str, values: Mapping[str, Any]) -> ReleaseState:
    entries = (values.get("servingEngineSpec") or {}).get("modelSpec") or []
    ours = all(DIGEST_ANNOTATION in (entry.get("podAnnotations") or {}) for entry in entries)
    if chart != CHART_NAME or not (entries and ours):
        return ReleaseState.UNMANAGED
    if status == "deployed":
        return ReleaseState.DEPLOYED
    if status.startswith("pending") or status == "uninstalling":
        return ReleaseState.PENDING
    if status == "uninstalled":
        return ReleaseState.ABSENT
    return ReleaseState.FAILED
