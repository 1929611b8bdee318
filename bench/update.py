"""Requests lost while a model is brought to another commit, beside the same change by raw helm.

A model with one replica, and a spare GPU: several clients ask it for completions through the router
the whole time. In turn, three times: ours to a new commit, then a raw `helm upgrade --wait` of the
same values with one more annotation, which replaces the pod too. Last, without a spare GPU, how
long nobody answered, which the plan announces.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench._installations import PROGRAM, Bench, bench

ROUNDS = 3
AT_LEAST = 2000
_CLIENTS = 8
_MODEL = "microsoft/Phi-4-mini-instruct"
_BODY = {"model": "phi4", "prompt": "hi", "max_tokens": 8}
_ENTRY = "- name: phi4\n  modelURL: microsoft/Phi-4-mini-instruct\n  requestGPU: {gpus}\n"


class Load:
    """Clients that ask all the time; `lost` has why each request that failed did."""

    def __init__(self, address: str) -> None:
        self.asked = 0
        self.lost: list[str] = []
        self._address = address
        self._done = threading.Event()
        self._lock = threading.Lock()

    def ask(self) -> None:
        """Ask until the load is over."""
        with httpx.Client(base_url=self._address, trust_env=False, timeout=60) as client:
            while not (self._done.is_set() and self.asked >= AT_LEAST):
                told = _told(client)
                with self._lock:
                    self.asked += 1
                    self.lost += [told] if told else []

    def end(self) -> None:
        """Let the clients end once enough was asked."""
        self._done.set()


def _told(client: httpx.Client) -> str:
    """Return why a completion is none; empty when it is one."""
    try:
        answer = client.post("/v1/completions", json=_BODY)
        if answer.is_success and answer.json()["choices"][0]["text"]:
            return ""
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return f"HTTP {answer.status_code}: {answer.text[:80]}"


@contextmanager
def load(address: str) -> Iterator[Load]:
    """Ask while the block runs, and until enough was asked."""
    made = Load(address)
    clients = [threading.Thread(target=made.ask) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield made
    finally:
        made.end()
        for client in clients:
            client.join()


@contextmanager
def router(made: Bench) -> Iterator[str]:
    """Forward a port to the router, which no change here replaces."""
    with subprocess.Popen(
        ["kubectl", "-n", "vllm", "port-forward", "service/vllm-router-service", ":80"],  # noqa: S607 -- the sandbox's
        env=made.environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout  # noqa: S101 -- a pipe was asked for
        line = process.stdout.readline()  # Forwarding from 127.0.0.1:40123 -> 8000
        try:
            yield f"http://{line.split()[2]}"
        finally:
            process.terminate()


def commit(made: Bench) -> None:
    """Put a new commit of the model on the Hub."""
    body = {"repo": _MODEL, "kind": "weights"}
    url = f"{made.environ['VLLM_HUB_ENDPOINT']}/_sandbox/commit"
    httpx.post(url, json=body, trust_env=False).raise_for_status()


def updated(made: Bench) -> tuple[int, int]:
    """Bring the model to a new commit under load; return how many requests there were, and lost."""
    commit(made)
    with router(made) as address, load(address) as heard:
        seconds = made.ours("install", "--yes")
        during = heard.asked
    made.keep_values()
    print(f"install: {during} requests in {seconds:.1f} s, {heard.asked} in all: {_shown(heard)}")
    return heard.asked, len(heard.lost)


def replaced_by_helm(made: Bench, number: int) -> tuple[int, int]:
    """Let raw helm replace the pod under load; return how many requests there were, and lost."""
    values = json.loads(made.output("helm", "-n", "vllm", "get", "values", "vllm", "-o", "json"))
    values["servingEngineSpec"]["modelSpec"][0]["podAnnotations"]["bench"] = str(number)
    (made.folder / "values.yaml").write_text(json.dumps(values))
    with router(made) as address, load(address) as heard:
        seconds = made.raw_upgrade()
        during = heard.asked
    print(f"helm: {during} requests in {seconds:.1f} s, {heard.asked} in all: {_shown(heard)}")
    return heard.asked, len(heard.lost)


def _shown(heard: Load) -> str:
    if not heard.lost:
        return "none lost"
    return f"{len(heard.lost)} lost, the first: {heard.lost[0]}"


def without_a_spare_gpu(made: Bench) -> None:
    """Let somebody else take all GPUs but the model's; print what was announced, and measured."""
    for node, gpus in (("gpu-node-1", 7), ("gpu-node-2", 8)):
        file = made.folder / f"{node}.json"
        file.write_text(json.dumps(_taker(node, gpus)))
        made.output("kubectl", "-n", "default", "apply", "-f", str(file))
    commit(made)
    plan = made.output(str(PROGRAM), "plan", "--allow-downtime")
    told = made.output(str(PROGRAM), "install", "--yes", "--allow-downtime")
    announced = re.search(r"phi4: (stop, then start[^\n]*)", plan)
    silent = re.search(r"^phi4 .*?(\S+ \S+)\s*$", told, re.MULTILINE)
    print(f"without a spare GPU the plan says: {announced[1] if announced else plan}")
    print(f"without a spare GPU nobody answered for {silent[1] if silent else told}")


def _taker(node: str, gpus: int) -> dict[str, object]:
    """Return a pod that holds GPUs of a node."""
    holds = {"nvidia.com/gpu": str(gpus)}
    container = {
        "name": "train",
        "image": "busybox",
        "command": ["sleep", "3600"],
        "resources": {"requests": holds, "limits": holds},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"train-{node}"},
        "spec": {"nodeName": node, "containers": [container]},
    }


def main() -> None:
    """Measure and print the figure."""
    with tempfile.TemporaryDirectory() as folder, bench("update", Path(folder)) as made:
        (made.folder / "models.yaml").write_text(_ENTRY.format(gpus=1))
        made.ours("install", "--yes")
        ours, theirs = [], []
        for number in range(ROUNDS):
            ours.append(updated(made))
            theirs.append(replaced_by_helm(made, number))
        without_a_spare_gpu(made)
    print(
        f"update: FIGURE {sum(lost for _, lost in ours)} of {sum(asked for asked, _ in ours)} "
        f"requests lost in {ROUNDS} updates with a spare GPU; by `helm upgrade --wait` "
        f"{sum(lost for _, lost in theirs)} of {sum(asked for asked, _ in theirs)}"
    )


if __name__ == "__main__":
    main()
