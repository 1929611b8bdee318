"""A real Pushgateway keeps what it is told, and forgets what it is told to forget.

It is built with Go, as the sandbox's programs are: a minute, once per machine.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sandbox import binaries, build, locks, ports
from sandbox.progress import silent
from vllm_flows.metrics import LOST, MODEL_STATE, RUN_EXIT_CODE, RUN_FAILED, Lasting, Sample
from vllm_flows.metrics_sink import Flow, Gateway
from vllm_flows.metrics_telling import told
from vllm_flows.settings import Settings

pytestmark = pytest.mark.timeout(900)

MODULE = Path(__file__).parent / "pushgateway"
PACKAGE = "github.com/prometheus/pushgateway"
VERSION = "1.11.1"
HEALTH = Flow("vllm", "health")
PASSWORD = "planted-canary@1"
LOGIN = "basic_auth_users: {me: $2a$04$7d6BM5/lor/f8djSthAg/OFyLoav6f14DylKWdSrGjRbol2XI.0S.}\n"
"""The hash is of that password, and a cheap one."""


@pytest.fixture(scope="session")
def program() -> Path:
    """Build it, if it is not there yet."""
    cache = binaries.cache_root()
    directory = cache / f"pushgateway-{VERSION}_{'-'.join(binaries.target())}"
    found = directory / "pushgateway"
    cache.mkdir(parents=True, exist_ok=True)
    with locks.held(cache / "lock", "getting the same programs", silent):
        if not found.is_file():
            directory.mkdir(exist_ok=True)
            build.build({"pushgateway": PACKAGE}, directory, cache, silent, MODULE)
    return found


@contextmanager
def serving(program: Path, *options: str) -> Iterator[str]:
    """Run one, and yield its address."""
    port = ports.unused()
    command = [str(program), f"--web.listen-address=127.0.0.1:{port}", *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as client:
                client.get(f"{address}/-/ready")
            yield address
        finally:
            process.terminate()


@pytest.fixture
def address(program: Path) -> Iterator[str]:
    with serving(program) as found:
        yield found


def scraped(address: str) -> dict[str, float]:
    """Return our samples, as Prometheus reads them."""
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line.startswith("vllm_flows_")]
    return {name: float(value) for name, value in pairs}


def down(*models: str) -> list[Sample]:
    return [Sample(MODEL_STATE, 1, (model, "down")) for model in models]


def labels(*more: str) -> str:
    """Return the labels as the gateway orders them."""
    return ",".join(
        sorted(['flow="health"', 'instance=""', 'job="vllm-flows"', 'namespace="vllm"', *more])
    )


def state(model: str) -> str:
    own = labels(f'model="{model}"', 'state="down"')
    return f"vllm_flows_model_state{{{own}}}"


RUN = f"vllm_flows_run_exit_code{{{labels()}}}"


def test_a_model_that_is_gone_disappears_and_a_run_without_findings_leaves_the_others(
    address: str,
):
    gateway = Gateway.at(address)
    gateway.tell(HEALTH, [Sample(RUN_EXIT_CODE, 0)], down("qwen", "llama3"))
    assert scraped(address) == {state("llama3"): 1, state("qwen"): 1, RUN: 0}
    gateway.tell(HEALTH, [Sample(RUN_EXIT_CODE, 0)], down("qwen"))
    assert scraped(address) == {state("qwen"): 1, RUN: 0}
    gateway.tell(HEALTH, [Sample(RUN_EXIT_CODE, 1)], None)
    assert scraped(address) == {state("qwen"): 1, RUN: 1}
    gateway.tell(HEALTH, [Sample(RUN_EXIT_CODE, 0)], [])
    assert scraped(address) == {RUN: 0}


def test_after_an_uninstall_nothing_is_left_but_its_own_run(address: str):
    gateway = Gateway.at(address)
    gateway.tell(HEALTH, [Sample(RUN_EXIT_CODE, 0)], down("qwen"))
    gateway.keep(HEALTH, Lasting("failed", "", [Sample(RUN_FAILED, 1)]))
    for model in ("qwen", "llama3"):
        gateway.keep(HEALTH, Lasting("rollout", model, [Sample(LOST, 1, (model,))]))
    assert len(scraped(address)) == 5
    said: list[str] = []
    with told(Settings(pushgateway=address), "uninstall", said.append):
        pass
    assert said == []
    found = scraped(address)
    assert len(found) == 5
    assert all('flow="uninstall"' in name for name in found)


@pytest.mark.parametrize(
    ("login", "refused"),
    [("me:planted-canary%401@", ""), ("me:wrong-canary@", "HTTP 401 Unauthorized"), ("", "HTTP")],
    ids=["right", "wrong", "none"],
)
def test_a_gateway_with_a_login_is_told_with_the_right_one_alone(
    program: Path, tmp_path: Path, login: str, refused: str
):
    (tmp_path / "web.yaml").write_text(LOGIN)
    said: list[str] = []
    with serving(program, f"--web.config.file={tmp_path / 'web.yaml'}") as address:
        settings = Settings(pushgateway=address.replace("//", f"//{login}"))
        with told(settings, "health", said.append):
            pass
        kept = httpx.get(f"{address}/metrics", auth=("me", PASSWORD)).text
    assert ("vllm_flows_run_success" in kept) == (not refused)
    assert len(said) == bool(refused)
    assert refused in "".join(said)
    assert "canary" not in "".join(said)
