"""Every verb, as a person uses them one after the other: a model deployed, broken and repaired.

All of it is done by the account of `deployments/kubernetes`, with the rights that are shipped.

With VLLM_FLOWS_TRANSCRIPT=FILE what was typed and what came is written there.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cli.verbs import VERBS
from tests.integration.product.changing_models import made_chart
from tests.integration.product.least_privilege import Audit, as_account, granted
from tests.integration.product.watching import watched_processes
from tests.terminal import terminal

if TYPE_CHECKING:
    from conftest import Product

KEY = "planted-canary-of-an-api-key"
BROKEN = "  onFailure: retry\n  vllmConfig:\n    extraArgs: [--no-such-flag]\n"


@dataclass
class Story:
    """What was run so far, and what came."""

    product: Product
    told: list[str] = field(default_factory=list)
    verbs: set[str] = field(default_factory=set)

    def run(self, *words: str, code: int = 0, stdin: str = "", **environ: str) -> str:
        """Run a command in a pipe; return what came on stdout."""
        done = self.product.run(*words, code=code, stdin=stdin, **environ)
        self._tell(words, f"{done.stdout}{done.stderr}", code)
        return done.stdout

    def typed(self, *words: str, code: int = 0, **answers: str) -> str:
        """Run a command on a terminal and answer its questions, each by its first word."""
        with terminal(self.product, *words) as shown:
            for question, text in answers.items():
                shown.answer(question.replace("_", " "), f"{text}\n")
            assert shown.ended() == code, shown.seen
            self._tell(words, shown.seen.replace("\r", ""), code)
            return shown.seen

    def until(self, text: str, *words: str, **environ: str) -> Iterator[None]:
        """Run a command that goes on until Ctrl-C; yield once it said so."""
        with self.product.start(*words, **environ) as process:
            assert process.stderr
            said = ""
            while text not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            yield
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=60)
            self._tell(words, f"{said}^C\n{rest}", process.returncode)

    def _tell(self, words: tuple[str, ...], came: str, code: int) -> None:
        self.verbs.add(words[0])
        self.told.append(f"$ vllm-flows {' '.join(words)}\n{came.rstrip()}\n[exit code {code}]\n")


def test_every_verb_from_an_empty_folder_to_an_empty_cluster(product: Product):
    story, seen = Story(as_account(product, "access", "looking-around")), list[str]()

    def look_at(process: psutil.Process) -> None:
        words = " ".join(process.cmdline())
        if KEY in words:
            seen.append(words)

    with watched_processes(look_at):
        prepare(story)
        deploy(story)
        look(story)
        break_and_repair(story)
        maintain(story)
        with_prefect(story)
        remove(story)
    if place := os.environ.get("VLLM_FLOWS_TRANSCRIPT"):
        Path(place).write_text("\n".join(story.told))
    assert story.verbs == VERBS.keys()
    assert seen == []
    told = "".join(one for one in story.told if "get-api-key" not in one.splitlines()[0])
    assert "canary" not in told
    # All was allowed, and nothing that is allowed was for nothing.
    audit = Audit(product).read()
    assert audit.refused == []
    assert audit.unused("access", "looking-around", "deleting-namespace") == []


def prepare(story: Story) -> None:
    """Make models.yaml, and store token and key."""
    assert "complete" in story.run("completion", "bash")
    story.run("list-models", code=64)
    story.run("add-model", "phi4", "--model-url", "microsoft/Phi-4-mini-instruct")
    story.typed(
        *("add-model", "qwen3", "--model-url", "Qwen/Qwen3-4B"),
        GPUs="",
        Memory="",
        Volume="",
        Add_this="y",
    )
    assert [row["name"] for row in json.loads(story.run("list-models", "-o", "json"))] == [
        "phi4",
        "qwen3",
    ]
    story.run("validate")
    token = story.product.sandbox.hub_token
    story.run("set-hf-token", "--stdin", stdin=token)
    assert story.run("get-hf-token").strip() == token
    story.typed("set-api-key", API_key=KEY)
    assert story.run("get-api-key").strip() == KEY
    story.run("move-secrets", "--to", "kubernetes")
    story.run("doctor")


def deploy(story: Story) -> None:
    """Look at the plan, agree to it, and see the models answer."""
    story.run("plan", "--detailed-exitcode", code=2)
    story.run("status", code=6)
    assert "all models answer" in story.typed("install", Apply_this_plan="y")
    story.run("wait", "--timeout", "1m")


def look(story: Story) -> None:
    """Look at what runs, and use it."""
    assert {row["state"] for row in json.loads(story.run("status", "-o", "json"))} == {"ready"}
    story.run("status")
    assert json.loads(story.run("check", "-o", "json"))["state"] == "green"
    story.run("endpoints")
    story.run("list-api-models")
    assert "INFO" in story.run("logs", "qwen3", "--tail", "3")
    story.typed("logs", "--tail", "1", Number_of="1")
    story.run("router-logs", "--tail", "2")
    assert "Paris" not in story.run("test-completions", "qwen3", "Where is the Louvre?")
    for _ in story.until("http://127.0.0.1:", "port-forward", "0"):
        pass
    # Of another namespace, and an administrator's.
    story.run("device-plugin", "status", KUBECONFIG=str(story.product.sandbox.kubeconfig))
    assert {row["class"] for row in json.loads(story.run("check-revisions", "-o", "json"))} == {
        "none"
    }


def break_and_repair(story: Story) -> None:
    """Ask for what the engine does not know; what served comes back, and stays."""
    file = story.product.folder / "models.yaml"
    good = file.read_text()
    file.write_text(good.rstrip("\n") + "\n" + BROKEN)
    said = story.typed("upgrade", code=1, Apply_this_plan="y")
    assert "[engine-argument]" in said
    file.write_text(good)
    story.run("upgrade", "--yes")
    file.write_text(good.replace("requestMemory: 16Gi", "requestMemory: 20Gi"))
    story.run("upgrade", "--yes")
    story.run("rollback", "--yes")
    story.run("update", "qwen3", "--yes")
    story.run("status")


def maintain(story: Story) -> None:
    """Let a run die while another chart takes over what runs; take away what it left."""
    chart = made_chart(story.product.folder / "chart", "0.1.10")
    with story.product.watched("upgrade", VLLM_CHART=str(chart)) as run:
        run.until("Deployment vllm-phi4-deployment-vllm deleted without its pods")
        run.process.kill()
        run.process.wait()
    story.run("unlock", "--yes")
    story.run("prune", "--yes")


def with_prefect(story: Story) -> None:
    """Offer the flows in the Prefect UI."""
    story.run("deploy-flows", "--yes", VLLM_FLOWS_DIR=str(story.product.folder))
    for _ in story.until("Prefect UI: ", "serve"):
        pass
    for _ in story.until("/webhook", "webhook", "--port", "0", VLLM_WEBHOOK_SECRET=KEY):
        pass
    story.run("sandbox", "status")


def remove(story: Story) -> None:
    """Take one model off, then everything."""
    story.typed("remove-model", "phi4", Remove_phi4="y")
    story.run("upgrade", "--yes")
    story.run("delete-hf-token", "--yes")
    story.run("get-hf-token", code=1)
    story.run("delete-api-key", "--yes")
    name = story.product.namespace
    granted(story.product, "access", "deleting-namespace")
    story.typed("uninstall", "--delete-weights", "--delete-namespace", Type=name)
    assert name not in story.product.kubectl("get", "namespaces", "-o", "name")
