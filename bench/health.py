"""A health check of 200 models, beside its own slowest model; 20 are broken in ten ways.

In one run on the sandbox: all are installed and checked while they are well, then two are broken in
each way, and all are checked again. Each has to be found and named, and no other. The figure is the
seconds of the whole check over those of the model that took longest in it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench._installations import MODEL, Bench, bench
from sandbox.agent.names import ADDRESS_ANNOTATION
from sandbox.hub.access import TOKEN_REFUSED

MODELS = 200
EACH = 2
_TRIES = 3
_GATED = "meta-llama/Llama-3.2-3B-Instruct"
_OPEN = "microsoft/Phi-3-mini-4k-instruct"


@dataclass(frozen=True)
class Models:
    """What runs in the bench's sandbox, and how it is broken."""

    made: Bench

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in the namespace."""
        command = ["kubectl", "-n", "vllm", *arguments]
        return subprocess.check_output(command, env=self.made.environ, text=True)

    def address(self, model: str) -> str:
        """Return where the model's engine really listens."""
        pods = json.loads(self.kubectl("get", "pods", "-l", f"model={model}", "-o", "json"))
        return str(pods["items"][0]["metadata"]["annotations"][ADDRESS_ANNOTATION])

    def spoil(self, fault: str) -> Callable[[str], None]:
        """Return what gives a model's engine one of the sandbox's faults."""

        def act(model: str) -> None:
            url = f"http://{self.address(model)}/_sandbox/fault"
            httpx.post(url, json={"fault": fault}, trust_env=False).raise_for_status()

        return act

    def cut(self, model: str) -> None:
        """Cut the largest file on the model's volume."""
        volume = self.kubectl("get", "pvc", f"weights-{model}", "-o", "jsonpath={.spec.volumeName}")
        path = self.kubectl("get", "pv", volume, "-o", "jsonpath={.spec.hostPath.path}")
        blobs = Path(path).glob("hub/models--*/blobs/*")
        os.truncate(max(blobs, key=lambda blob: blob.stat().st_size), 1000)

    def kill(self, model: str) -> None:
        """Kill the engine's process; it is started again."""
        port = self.address(model).rpartition(":")[2]
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "--port" in words and words[words.index("--port") + 1] == port:
                process.send_signal(signal.SIGKILL)

    def delete(self, model: str) -> None:
        """Delete the model's Deployment, as somebody might."""
        self.kubectl("delete", "deployment", f"vllm-{model}-deployment-vllm")

    def withdraw(self, _: str) -> None:
        """Let the token be one whose requests for access were refused."""
        command = [str(Path(sys.executable).with_name("vllm-flows")), "set-hf-token", "--stdin"]
        environ = self.made.environ
        subprocess.run(command, env=environ, input=TOKEN_REFUSED, text=True, check=True)

    def check(self) -> dict[str, Any]:
        """Check the health of all; return what was found."""
        command = [str(Path(sys.executable).with_name("vllm-flows")), "check", "-o", "json"]
        done = subprocess.run(
            command,
            cwd=self.made.folder,
            env=self.made.environ,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def main() -> None:
    """Break, check, print what was found and the figure."""
    count = int(sys.argv[1]) if sys.argv[1:] else MODELS
    names = [f"model-{number:03d}" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder, bench("health", Path(folder)) as made:
        made.environ["VLLM_API_KEY"] = "a-key-of-the-bench"
        models = Models(made)
        write(made, names)
        made.environ["VLLM_HF_TOKEN"] = made.environ["VLLM_SANDBOX_HF_TOKEN"]
        print(f"{count} models: installed in {made.ours('install', '--yes'):.0f} s", flush=True)
        del made.environ["VLLM_HF_TOKEN"]
        before = well(models)
        wanted = broken(models, names)
        found = models.check()
    report(wanted, found, before)


def well(models: Models) -> dict[str, Any]:
    """Check until all are green: a router that meets 200 engines at once takes its time."""
    for _ in range(_TRIES):
        found = models.check()
        print(f"while they are well: {found['state']} in {found['seconds']} s", flush=True)
        if found["state"] == "green":
            break
    return found


def write(made: Bench, names: Sequence[str]) -> None:
    """Write models.yaml; the last two models are gated."""
    blocks = [
        MODEL.format(name=name, repository=_GATED if name in names[-EACH:] else _OPEN)
        for name in names
    ]
    (made.folder / "models.yaml").write_text("".join(blocks))


def broken(models: Models, names: Sequence[str]) -> dict[str, str]:
    """Break two models in each way; return by name what is to be found of it."""
    ways: dict[str, Callable[[str], None]] = {
        "restarts": models.kill,
        "silent": models.spoil("silent"),
        "slow-first-token": models.spoil("slow-first-token"),
        "slow-tokens": models.spoil("slow-tokens"),
        "rubbish": models.spoil("rubbish"),
        "wrong-model": models.spoil("wrong-id"),
        "key-ignored": models.spoil("ignores-key"),
        "weights-damaged": models.cut,
        "not-deployed": models.delete,
        "access-lost": models.withdraw,
    }
    step, wanted = len(names) // len(ways), {}
    for number, (kind, act) in enumerate(ways.items()):
        # Spread over the list; those at its end are gated.
        end = (number + 1) * step
        for name in names[-EACH:] if kind == "access-lost" else names[end - EACH : end]:
            act(name)
            wanted[name] = kind
    return wanted


def report(wanted: dict[str, str], found: dict[str, Any], before: dict[str, Any]) -> None:
    """Print what was found of each, and the figure; ends with 1 when it is not what was wanted."""
    told = {
        one["model"]: [finding["kind"] for finding in one["findings"]]
        for one in found["models"]
        if one["state"] != "green"
    }
    for name, kind in wanted.items():
        print(f"{name}: {kind}: found {', '.join(told.get(name, ['nothing']))}")
    others = sorted(told.keys() - wanted.keys())
    missed = [name for name, kind in wanted.items() if kind not in told.get(name, ())]
    shown = [f"{name}: {', '.join(told[name])}" for name in others]
    print(f"missed: {', '.join(missed) or 'none'}; others: {'; '.join(shown) or 'none'}")
    slowest = max(found["models"], key=lambda one: one["seconds"])
    print(
        f"health: FIGURE {found['seconds'] / slowest['seconds']:.2f} times the seconds of its "
        f"slowest model for a check of {len(found['models'])} models ({found['seconds']:.0f} s, "
        f"slowest {slowest['model']} with {slowest['seconds']:.0f} s), {len(wanted)} broken "
        f"in {len(set(wanted.values()))} ways: {len(missed)} missed, {len(others)} others; while "
        f"all were well {before['seconds']:.0f} s"
    )
    if missed or others or before["state"] != "green":
        sys.exit(1)


if __name__ == "__main__":
    main()
