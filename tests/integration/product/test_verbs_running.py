"""The verbs for what runs, on one model with two replicas that all these tests share."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from sandbox.agent.processes import POD_VARIABLE
from tests.terminal import on_terminal

if TYPE_CHECKING:
    from conftest import Product

QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n  replicaCount: 2\n"
PHI = "- name: phi4\n  modelURL: microsoft/Phi-4-mini-instruct\n"
KEY = "planted-canary-of-an-api-key"
ROUTER, ENGINES = "environment=router", "model=qwen3"
PATIENCE = 60.0
INTERRUPTED = 130


@pytest.fixture(scope="module")
def running(shared_product: Product) -> Product:
    """Deploy one model, once; an API key protects it."""
    shared_product.install(QWEN, VLLM_API_KEY=KEY)
    return shared_product


class Talking:
    """A verb at work: its stdout and stderr as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout
        assert process.stderr
        self._out, self._err = process.stdout.fileno(), process.stderr.fileno()
        self._came = {self._out: "", self._err: ""}

    @property
    def output(self) -> str:
        """What came on stdout so far."""
        return self._came[self._out]

    @property
    def said(self) -> str:
        """What came on stderr so far."""
        return self._came[self._err]

    def until(self, holds: Callable[[], object]) -> None:
        """Read until it holds."""
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, (self.output, self.said)
            for pipe in select.select(list(self._came), [], [], 0.2)[0]:
                self._came[pipe] += os.read(pipe, 65536).decode()

    def until_said(self, text: str) -> None:
        """Read until it was said on stderr."""
        self.until(lambda: text in self.said)

    def interrupted(self) -> int:
        """Press Ctrl-C; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode


@contextmanager
def talking(product: Product, *arguments: str) -> Iterator[Talking]:
    with product.start(*arguments) as process:
        try:
            yield Talking(process)
        finally:
            if process.poll() is None:
                process.kill()


def pod_names(product: Product, selector: str) -> list[str]:
    return [pod["metadata"]["name"] for pod in product.objects("pods", selector)]


def ready_again(product: Product) -> None:
    """Wait until all is as the other tests expect it."""
    product.run("wait", "--timeout", "2m")


def kill_container(product: Product, pod: str) -> None:
    """Kill the process of a pod's container, as running out of memory does."""
    folder = product.sandbox.directory / "pods" / product.engine_pods()[pod]
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(POD_VARIABLE) == str(folder):
                process.kill()


def test_the_logs_of_all_replicas_are_shown_each_with_its_pod(running: Product):
    lines = running.run("logs", "--tail", "3").stdout.splitlines()
    assert len(lines) == 6
    assert {line.split("]")[0].lstrip("[") for line in lines} == set(pod_names(running, ENGINES))
    (line,) = running.run("logs", "qwen3", "--newest", "--tail", "1").stdout.splitlines()
    assert not line.startswith("[")
    assert running.run("router-logs", "--tail", "1").stdout.count("\n") == 1
    assert "progress" in running.run("logs", "qwen3", "--weights", "--tail", "all").stdout


def test_a_log_that_is_not_there_is_said_with_the_next_command(running: Product):
    running.models(QWEN, PHI)
    try:
        assert "next: vllm-flows install" in running.run("logs", "phi4", code=1).stderr
        assert "has no weights Job" in running.run("logs", "phi4", "--weights", code=1).stderr
        unknown = running.run("logs", "nobody", code=64).stderr
        assert "qwen3, phi4" in unknown
        assert "which MODEL" in running.run("logs", code=64).stderr
        both = running.run("logs", "qwen3", "-f", "--previous", code=64).stderr
        assert "exclude each other" in both
        code, shown = on_terminal(running, "1\n", "logs", "--tail", "1")
        assert code == 0
        assert "2  phi4" in shown
        assert "INFO" in shown
    finally:
        running.models(QWEN)


def test_following_goes_on_with_the_pod_that_replaces_another(running: Product):
    gone, stays = pod_names(running, ENGINES)
    with talking(running, "logs", "qwen3", "--follow", "--tail", "1") as verb:
        verb.until(lambda: f"[{gone}]" in verb.output and f"[{stays}]" in verb.output)
        running.kubectl("delete", "pod", gone, "--wait=false")
        verb.until_said(f"pod {gone} is gone")
        (new,) = set(pod_names(running, ENGINES)) - {gone, stays}
        verb.until(lambda: f"[{new}]" in verb.output)
        assert f"now also from pod {new}" in verb.said
        assert verb.interrupted() == INTERRUPTED
    ready_again(running)


def test_following_goes_on_when_a_container_starts_anew(running: Product):
    pod = pod_names(running, ENGINES)[0]
    with talking(running, "logs", "qwen3", "-f", "--tail", "0") as verb:
        verb.until(lambda: f"[{pod}]" in verb.output)
        kill_container(running, pod)
        verb.until_said(f"pod {pod} started anew; before: exit code 137")
        assert verb.interrupted() == INTERRUPTED
    ready_again(running)
    assert running.run("logs", "--previous", "--tail", "2").stdout.count("\n") == 2


def test_following_ends_without_a_word_when_nobody_reads_any_more(running: Product):
    with talking(running, "router-logs", "-f", "--tail", "1") as verb:
        verb.until(lambda: verb.output)
        assert verb.process.stdout
        verb.process.stdout.close()
        verb.process.wait(PATIENCE)
        assert verb.process.stderr
        assert verb.process.stderr.read() == ""


def test_the_api_and_the_models_file_are_compared(running: Product):
    running.models(QWEN, PHI)
    try:
        done = running.run("list-api-models", "-o", "json")
        qwen, phi = json.loads(done.stdout)
        assert (qwen["name"], qwen["listed"], qwen["source"]) == ("qwen3", True, "Qwen/Qwen3-4B")
        assert (phi["name"], phi["state"]) == ("phi4", "missing")
        assert "vllm-flows wait phi4" in done.stderr
    finally:
        running.models(QWEN)


def test_the_endpoints_are_shown_and_the_key_is_not(running: Product):
    done = running.run("endpoints", "-o", "json")
    router, qwen = json.loads(done.stdout)
    assert (router["readyPods"], router["wantedPods"], router["apiKey"]) == (1, 1, True)
    assert (qwen["readyPods"], qwen["wantedPods"], qwen["apiKey"]) == (2, 2, True)
    assert qwen["url"] == (
        f"http://vllm-qwen3-engine-service.{running.namespace}.svc.cluster.local"
    )
    assert "Bearer $VLLM_API_KEY" in done.stderr
    assert KEY not in done.stdout + done.stderr


@contextmanager
def forwarded(product: Product, *arguments: str) -> Iterator[tuple[Talking, httpx.Client]]:
    """Forward a free port; yield the verb and a client of it."""
    with talking(product, "port-forward", "0", *arguments) as verb:
        verb.until_said("/v1/models\n")
        (url,) = {
            word for word in verb.said.split() if word.startswith("http") and "/v1" not in word
        }
        headers = {"Authorization": f"Bearer {KEY}"}
        # Each question on a connection of its own: one that is kept may end with its pod.
        new_ones = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(
            base_url=url, headers=headers, trust_env=False, timeout=PATIENCE, limits=new_ones
        ) as client:
            yield verb, client


def question(**more: Any) -> dict[str, Any]:
    return {"model": "qwen3", "messages": [{"role": "user", "content": "Hi"}], **more}


ENDLESS = question(stream=True, ignore_eos=True, max_tokens=30_000)
CHAT = "/v1/chat/completions"


def test_a_port_forward_goes_on_when_the_router_pod_is_killed_in_the_middle_of_a_stream(
    running: Product,
):
    with forwarded(running) as (verb, client):
        (before,) = pod_names(running, ROUTER)
        with client.stream("POST", CHAT, json=ENDLESS) as answer:
            pieces = answer.iter_bytes()
            assert b"data: " in next(pieces)
            assert client.get("/v1/models").json()["data"][0]["id"] == "qwen3"
            running.kubectl("delete", "pod", before, "--grace-period=0", "--force")
            with pytest.raises(httpx.TransportError):
                for _ in pieces:
                    pass
        verb.until_said(f"pod {before} is no longer ready")
        reply = client.post(CHAT, json=question())
        assert reply.json()["model"] == "qwen3"
        (after,) = pod_names(running, ROUTER)
        verb.until_said(f"forwarding to pod {after}")
        assert KEY not in verb.said
        assert verb.interrupted() == INTERRUPTED
    ready_again(running)


def test_a_port_forward_reaches_an_engine_and_knows_a_port_that_is_taken(running: Product):
    with forwarded(running, "--model", "qwen3") as (verb, client):
        assert client.get("/v1/models").json()["data"][0]["root"] == "Qwen/Qwen3-4B"
        taken = running.run("port-forward", str(client.base_url.port), code=64).stderr
        assert "is taken" in taken
        free = int(taken.rsplit("port-forward ", 1)[1])
        socket.create_server(("127.0.0.1", free)).close()
        assert verb.interrupted() == INTERRUPTED


def test_a_model_is_asked_and_its_answers_are_shown_as_they_come(running: Product):
    done = running.run("test-completions", "qwen3", "Hello there")
    assert done.stdout.count("Simulated answer from qwen3") == 2
    assert done.stderr.count("tokens per second") == 2
    assert done.stderr.count("first token after") == 2
    (chat,) = json.loads(
        running.run("test-completions", "--chat-only", "--max-tokens", "3", "-o", "json").stdout
    )
    assert (chat["kind"], chat["tokens"], chat["cutAtMaxTokens"]) == ("chat", 3, True)


def test_a_refused_key_is_said_with_the_command_that_sets_one(running: Product):
    done = running.run("test-completions", code=1, VLLM_API_KEY="another-key-of-mine")
    assert "the API key was refused" in done.stderr
    assert "next: vllm-flows set-api-key" in done.stderr
    assert "another-key" not in done.stderr
    assert done.stdout == ""


@contextmanager
def nowhere_to_run(product: Product) -> Iterator[None]:
    """Let no new pod run in the block."""
    nodes = ("gpu-node-1", "gpu-node-2")
    product.kubectl("cordon", *nodes)
    try:
        yield
    finally:
        product.kubectl("uncordon", *nodes)


def test_waiting_says_each_change_and_ends_with_4_when_the_time_is_over(running: Product):
    with nowhere_to_run(running):
        running.kubectl("delete", "pod", "-l", ENGINES, "--wait=false")
        late = running.run("wait", "qwen3", "--timeout", "1s", code=4).stderr
    assert "qwen3: not ready after 1 s" in late
    assert "--timeout sets the limit" in late
    done = running.run("wait", "--timeout", "2m").stderr
    assert "qwen3: ready" in done
    assert "router: ready" in done
    assert "qwen3: answered in" in done
    nowhere = running.run("-n", "nowhere", "wait", code=1).stderr
    assert "next: vllm-flows --namespace nowhere install" in nowhere
