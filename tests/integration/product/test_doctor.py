"""The doctor and the verbs for secrets, on a real API server."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.hub.access import TOKEN_WITHOUT_SCOPE

if TYPE_CHECKING:
    from conftest import Product

MODELS = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"
CTRL_C = b"\x03"
_SECONDS = 60.0
_PAUSE_SECONDS = 0.2
"""Who was silent so long has asked its question."""


def findings(product: Product, code: int = 0, **environ: str) -> dict[str, dict[str, str]]:
    done = product.run("doctor", "-o", "json", code=code, **environ)
    return {row["check"]: row for row in json.loads(done.stdout)}


@pytest.fixture
def weak(product: Product) -> str:
    """Return a kubeconfig of an account that may do nothing, in a namespace that is there."""
    product.kubectl("create", "namespace", product.namespace)
    product.kubectl("create", "serviceaccount", "weak")
    config = json.loads(product.kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": product.kubectl("create", "token", "weak").strip()}
    path = product.folder / "weak.json"
    path.write_text(json.dumps(config))
    return str(path)


def allow(product: Product, name: str, verbs: str, resource: str) -> None:
    """Give the weak account a Role."""
    product.kubectl("create", "role", name, f"--verb={verbs}", f"--resource={resource}")
    account = f"--serviceaccount={product.namespace}:weak"
    product.kubectl("create", "rolebinding", name, f"--role={name}", account)


def test_on_a_cluster_that_has_everything_nothing_is_a_problem(product: Product):
    product.models(MODELS)
    canary = product.sandbox.hub_token
    found = findings(product, VLLM_HF_TOKEN=canary, VLLM_NAMSPACE="typo")
    assert {row["state"] for row in found.values()} == {"ok", "warning"}
    assert [name for name, row in found.items() if row["state"] == "warning"] == ["settings"]
    assert "VLLM_HF_TOKEN is set (environment)" in found["settings"]["found"]
    assert found["namespace"]["found"].endswith("install makes it")
    assert found["gpus"]["found"].startswith("16 on 2 of 2 nodes")
    assert found["hub token"]["found"].startswith("token of sandbox: fine-grained")
    assert canary not in json.dumps(found)
    assert product.namespace not in product.kubectl("get", "namespaces")
    table = product.run("doctor", VLLM_NAMSPACE="typo").stdout
    assert "what mends it:\nsettings: unset VLLM_NAMSPACE" in table


def test_without_rights_each_is_named_with_what_grants_it(product: Product, weak: str):
    product.models(MODELS)
    found = findings(product, code=1, KUBECONFIG=weak)
    states = {check: row["state"] for check, row in found.items()}
    assert states["cluster"] == states["helm"] == "ok"
    assert (states["rights"], states["cluster-wide rights"]) == ("problem", "warning")
    unseen = ("namespace", "gpus", "storage class", "runtime class", "release", "lock")
    assert {states[check] for check in unseen} == {"unknown"}
    for command in found["rights"]["fix"].removesuffix("   (an administrator)").split(" && "):
        product.kubectl(*shlex.split(command)[1:])
    found = findings(product, KUBECONFIG=weak)
    assert found["rights"]["state"] == "ok"
    assert found["release"]["found"] == "none yet"


def test_without_a_cluster_the_rest_is_told(product: Product):
    product.models(MODELS)
    config = json.loads(product.kubectl("config", "view", "--raw", "-o", "json"))
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    path = product.folder / "dead.json"
    path.write_text(json.dumps(config))
    found = findings(product, code=1, KUBECONFIG=str(path))
    assert found["cluster"]["state"] == "problem"
    assert found["lock"]["found"] == "not looked at: the cluster does not answer"
    assert {found[check]["state"] for check in ("models file", "helm", "chart", "hub")} == {"ok"}


def test_a_token_goes_round_and_the_hub_says_whose_it_is(product: Product):
    canary = product.sandbox.hub_token
    done = product.run("set-hf-token", "--stdin", stdin=canary)
    assert "token of sandbox: fine-grained" in done.stderr
    assert canary not in done.stderr
    assert product.run("get-hf-token").stdout == f"{canary}\n"
    assert json.loads(product.run("get-hf-token", "-o", "json").stdout) == {
        "name": "hf-token",
        "value": canary,
        "source": f"Secret hf-token in namespace {product.namespace}",
    }
    refused = product.run("set-hf-token", "--stdin", stdin="hf_unknown", code=1)
    assert "does not accept the token of standard input" in refused.stderr
    assert product.run("get-hf-token").stdout == f"{canary}\n"
    doubted = product.run("set-hf-token", "--stdin", stdin=TOKEN_WITHOUT_SCOPE)
    assert "warning: the token may not read gated repositories" in doubted.stderr
    silent = {"VLLM_HUB_ENDPOINT": "http://127.0.0.1:9"}
    unchecked = product.run("set-hf-token", "--stdin", stdin="hf_unknown", **silent)
    assert "warning: the token is not checked" in unchecked.stderr
    product.run("set-hf-token", "--stdin", "--no-check", stdin="hf_other")
    assert product.run("get-hf-token").stdout == "hf_other\n"


def test_a_key_is_made_when_none_is_given_and_one_that_is_there_is_not_replaced_unasked(
    product: Product,
):
    made = product.run("set-api-key").stdout
    assert len(made) > 40
    assert product.run("get-api-key").stdout == made
    product.run("set-api-key", code=64)
    assert product.run("get-api-key").stdout == made
    assert product.run("set-api-key", "--generate").stdout != made
    product.run("delete-api-key", code=64)
    deleted = product.run("delete-api-key", "--yes").stderr
    assert "vllm-flows install" in deleted
    assert "nothing to delete" in product.run("delete-api-key").stderr
    assert "no API key is stored" in product.run("get-api-key", code=1).stderr
    product.kubectl("create", "secret", "generic", "vllm-api-key", "--from-literal=api-key=theirs")
    for command in (["delete-api-key", "--yes"], ["set-api-key", "--generate"]):
        assert "not made by vllm-flows" in product.run(*command, code=64).stderr
    assert product.run("get-api-key").stdout == "theirs\n"


def test_each_right_to_secrets_that_is_missing_is_named(product: Product, weak: str):
    as_weak = {"KUBECONFIG": weak}
    allow(product, "lock", "get,create,update", "leases.coordination.k8s.io")
    allow(product, "look", "get", "namespaces")
    assert "cannot get" in product.run("get-api-key", code=1, **as_weak).stderr
    allow(product, "read", "get", "secrets")
    assert "cannot patch" in product.run("set-api-key", code=1, **as_weak).stderr
    allow(product, "change", "patch", "secrets")
    assert "cannot create" in product.run("set-api-key", code=1, **as_weak).stderr
    allow(product, "make", "create", "secrets")
    product.run("set-api-key", **as_weak)
    refused = product.run("delete-api-key", "--yes", code=1, **as_weak).stderr
    assert "cannot delete" in refused
    assert "next: vllm-flows doctor" in refused


def _own_terminal() -> None:
    """Make standard input the terminal that hidden input is read from, and Ctrl-C one that ends."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def typed(product: Product, keys: bytes, *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal, answer its question, return its code and what is shown."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [Path(sys.executable).with_name("vllm-flows"), *arguments],
        cwd=product.folder,
        env=product.environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_own_terminal,  # noqa: PLW1509 -- no thread runs in a test
    ) as process:
        os.close(theirs)
        try:
            shown = answered(ours, keys)
        finally:
            os.close(ours)  # which ends a command that still asks
    return process.returncode, shown


def answered(terminal: int, keys: bytes) -> str:
    """Read what is shown until the command ends; type once it asks.

    Ctrl-C is pressed until it is heard: one that comes before Python waits for input is not.
    """
    shown, end = b"", time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if select.select([terminal], [], [], _PAUSE_SECONDS)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:  # Linux says so when the command has ended
                break
        elif keys and shown.endswith(b": "):
            os.write(terminal, keys)
            keys = keys if keys == CTRL_C else b""
    return shown.decode()


def test_on_a_terminal_values_are_typed_unseen_and_questions_can_be_left(product: Product):
    canary = product.sandbox.hub_token
    code, shown = typed(product, f"{canary}\n".encode(), "set-hf-token")
    assert (code, canary in shown) == (0, False)
    assert product.run("get-hf-token").stdout == f"{canary}\n"
    assert typed(product, CTRL_C, "set-hf-token")[0] == 130
    code, shown = typed(product, b"\n", "set-api-key")
    assert code == 0
    assert product.run("get-api-key").stdout.strip() in shown
    assert typed(product, b"n\n", "delete-api-key")[0] == 1
    assert typed(product, CTRL_C, "delete-api-key")[0] == 130
    assert typed(product, b"y\n", "delete-api-key")[0] == 0
    product.run("get-api-key", code=1)
