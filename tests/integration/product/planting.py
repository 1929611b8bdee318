"""Planted secrets of one namespace, what runs with them, and what a process shows of them."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import psutil
import yaml
from prefect import Flow
from pydantic import SecretStr

import flows
from tests.canaries import Canaries
from vllm_flows.settings import Settings

if TYPE_CHECKING:
    from conftest import Product

_PATIENCE = 600
NEEDLESS = {"helm", "kubectl", "log-in"}
"""Programs that have no business with our secrets."""
PLUGIN = """\
#!/bin/sh
echo "asking with $LOGIN_PASSWORD" >&2
printf '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", '
printf '"status": {"token": "%s", "expirationTimestamp": "%s"}}' "$(cat TOKEN)" \\
    "$(date -u -d "+4 seconds" +%FT%TZ)"
"""


def all_flows() -> dict[str, str]:
    """Return where every flow of this product is, by its name."""
    modules = [import_module(f"flows.{one.name}") for one in pkgutil.iter_modules(flows.__path__)]
    return {
        found.name: f"{module.__name__}:{name}"
        for module in modules
        for name, found in vars(module).items()
        if isinstance(found, Flow) and found.fn.__module__ == module.__name__
    }


@dataclass
class Story:
    """One namespace with planted secrets, and what ran in it."""

    product: Product
    canaries: Canaries
    environ: dict[str, str]
    seen: set[str] = field(default_factory=set)

    def run(self, *words: str, code: int = 0, stdin: str = "", **environ: str) -> None:
        """Run a verb; look through what it says."""
        done = self.product.run(*words, code=code, stdin=stdin, **(self.environ | environ))
        self.canaries.search(f"vllm-flows {' '.join(words)}", done.stdout + done.stderr)

    def flow(self, name: str, parameters: dict[str, Any], **environ: str) -> Running:
        """Start a flow as Prefect does, in a process that knows nothing of the command line."""
        module, _, function = all_flows()[name].partition(":")
        program = f"from {module} import {function} as flow; flow(**{parameters!r})"
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program],
            cwd=self.product.folder,
            env=self.product.environ | self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Running(f"flow {name} {sorted(environ)}", process, self.canaries)


@dataclass
class Running:
    """A flow at work."""

    name: str
    process: subprocess.Popen[str]
    canaries: Canaries

    def ended(self, *, well: bool) -> None:
        """Wait for its end and look through what it said."""
        said, _ = self.process.communicate(timeout=_PATIENCE)
        assert (self.process.returncode == 0) is well, said
        self.canaries.search(self.name, said)


def other_secrets() -> list[str]:
    """Return the variables of all secret settings but the two."""
    secret = [
        f"VLLM_{name.upper()}"
        for name, one in Settings.model_fields.items()
        if SecretStr in get_args(one.annotation)
    ]
    return [name for name in secret if name not in {"VLLM_HF_TOKEN", "VLLM_API_KEY"}]


def account(product: Product, name: str) -> str:
    """Make an account, one that may do anything if it is strong; return its token."""
    product.kubectl("create", "serviceaccount", name)
    if name == "strong":
        to = f"--serviceaccount={product.namespace}:{name}"
        binding = f"{name}-{product.namespace}"
        product.kubectl("create", "clusterrolebinding", binding, "--clusterrole=cluster-admin", to)
    return product.kubectl("create", "token", name, "--duration=24h").strip()


def with_plugin(product: Product, planted: dict[str, str]) -> Path:
    """Write a kubeconfig whose login comes from a program, and has to be renewed every moment."""
    token, program = product.folder / "token", product.folder / "log-in"
    token.write_text(planted["login"])
    program.write_text(PLUGIN.replace("TOKEN", str(token)))
    program.chmod(0o700)
    config = yaml.safe_load(product.sandbox.kubeconfig.read_text())
    given = [{"name": "LOGIN_PASSWORD", "value": planted["what the plugin is given"]}]
    entry = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(program),
        "env": given,
        "interactiveMode": "Never",
    }
    config["users"][0]["user"] = {"exec": entry}
    (product.folder / "kubeconfig").write_text(yaml.safe_dump(config))
    config["users"][0]["user"] = {"token": planted["login without rights"]}
    (product.folder / "weak").write_text(yaml.safe_dump(config))
    return product.folder / "kubeconfig"


def look_at(process: psutil.Process, story: Story) -> None:
    """Note the planted values that a process shows."""
    words = process.cmdline()
    text = " ".join(words)
    if found := story.canaries.names_in(text.encode()):
        story.canaries.hits.append(f"{found} among the arguments of {words[0]}")
    kind = next((Path(one).name for one in words[:2] if Path(one).name in NEEDLESS), "")
    if kind and str(story.product.folder) in process.environ().get("KUBECONFIG", ""):
        story.seen.add(kind)
        environ = process.environ()
        given = {"proxy", "VAULT_TOKEN", "what the plugin is given"}
        data = "\n".join(f"{key}={value}" for key, value in environ.items()).encode()
        names = [one for one in story.canaries.planted if one not in given]
        if found := story.canaries.names_in(data, names):
            story.canaries.hits.append(f"{found} in the environment of {kind}")
