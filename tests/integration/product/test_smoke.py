"""The proof of a model on a real API server: through the router, and at each replica."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from vllm_flows.models import Model
from vllm_flows.proof import prove_model
from vllm_flows.session import Session
from vllm_flows.settings import load_settings

if TYPE_CHECKING:
    from conftest import Product

QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"
PHI = "- name: phi4\n  modelURL: microsoft/Phi-4-mini-instruct\n"
MODEL = Model(name="qwen3", model_url="Qwen/Qwen3-4B", replica_count=2)

# Ready and listed, and yet no model: it answers without a text, or not at all.
ROTTEN_ENGINE = """
import http.server, json, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.reply({"data": [{"id": "qwen3"}]})
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        while "--mute" in sys.argv:
            time.sleep(60)
        self.reply({"model": "qwen3", "choices": [{"text": ""}]})
    def reply(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


def rotten_replica(product: Product, *arguments: str) -> dict[str, Any]:
    """Return a pod that counts as a replica of qwen3, and that the router does not meet."""
    engine = product.objects("pods", "model=qwen3")[0]
    container = {
        "name": "vllm",
        "image": engine["spec"]["containers"][0]["image"],
        "command": ["python3", "-c", ROTTEN_ENGINE, "--port", "8000", *arguments],
        "ports": [{"containerPort": 8000}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "rotten", "labels": {"model": "qwen3", "helm-release-name": "vllm"}},
        "spec": {
            "nodeName": engine["spec"]["nodeName"],
            "containers": [container],
            "tolerations": [{"operator": "Exists"}],
        },
    }


@contextmanager
def running(product: Product, pod: dict[str, Any]) -> Iterator[None]:
    """Run the pod while the block does."""
    path = product.folder / "pod.json"
    path.write_text(json.dumps(pod))
    name = pod["metadata"]["name"]
    product.kubectl("apply", "-f", str(path))
    try:
        product.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=50s")
        yield
    finally:
        product.kubectl("delete", "pod", name, "--wait")


def session_of(product: Product, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Open a session in this process."""
    for name, value in product.environ.items():
        monkeypatch.setenv(name, value)
    return Session.open(load_settings())


def test_every_replica_is_asked_with_the_key_and_without(product: Product):
    said = product.install(QWEN + "  replicaCount: 2\n", VLLM_API_KEY="first-key")
    (line,) = [line for line in said.splitlines() if "qwen3: answered in" in line]
    assert "first token after" in line
    assert "all 2 replicas" in line
    log = product.kubectl("logs", "-l", "model=qwen3", "--tail=-1", "--prefix")
    refused = [line for line in log.splitlines() if '"POST /v1/completions HTTP/1.1" 401' in line]
    pods = product.engine_pods()
    assert {pod for pod in pods for line in refused if pod in line} == set(pods)


def test_a_rotten_replica_that_the_router_hides_fails_the_run(product: Product):
    product.install(QWEN + "  replicaCount: 2\n")
    with running(product, rotten_replica(product)):
        done = product.run("install", "--yes", code=1)
    said = done.stderr
    assert "failed: replica rotten: the answer has no text" in done.stdout
    assert "replica rotten: the answer has no text" in said
    assert f"next: kubectl -n {product.namespace} logs rotten" in said
    assert "all 2 replicas" in product.run("install", "--yes").stderr


def test_a_replica_that_takes_a_request_and_never_answers_fails_the_run(product: Product):
    product.install(QWEN + "  replicaCount: 2\n")
    with running(product, rotten_replica(product, "--mute")):
        said = product.run("install", "--yes", code=1).stderr
    assert "replica rotten: no byte for 30 s" in said
    assert "why:  POST /v1/completions" in said
    assert f"next: kubectl -n {product.namespace} logs rotten" in said


def test_what_is_expected_of_a_model_can_be_said(product: Product):
    said = product.install(QWEN + "  smokeTest: {expect: Paris}\n", code=1)
    assert "the answer does not hold what smokeTest.expect asks for" in said
    said = product.install(QWEN + "  smokeTest: {expect: Simulated answer from qwen3}\n")
    assert "all models answer" in said
    assert "helm upgrade" not in said


def test_one_way_serves_all_checks_and_tells_who_is_alive(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    product.install(QWEN + "  replicaCount: 2\n", PHI)
    session = session_of(product, monkeypatch)
    phi = Model(name="phi4", model_url="microsoft/Phi-4-mini-instruct")
    with session.models_api() as api:
        answers = [prove_model(api, session, each, say=print) for each in (MODEL, phi)]
        assert [(answer.model, answer.replicas) for answer in answers] == [
            ("qwen3", 2),
            ("phi4", 1),
        ]
        assert api.alive("phi4")
        product.kubectl("scale", "deployment/vllm-phi4-deployment-vllm", "--replicas=0")
        product.kubectl("wait", "--for=delete", "pod", "-l", "model=phi4", "--timeout=50s")
        assert not api.alive("phi4")
        assert api.alive("qwen3")
