"""What `deployments/kubernetes` has is taken by an API server as it stands."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vllm_flows import rights

if TYPE_CHECKING:
    from conftest import Product

PAGE = Path(__file__).parents[3] / "docs" / "in-cluster.md"
FOLDERS = sorted(path.parent.name for path in rights.FILES.glob("*/kustomization.yaml"))


@pytest.fixture(scope="module")
def namespaces(shared_product: Product) -> Iterator[Product]:
    """Make the namespaces that the folders are for: a dry run makes none."""
    product = shared_product
    for folder, name in (("access", "vllm"), ("prefect", "prefect")):
        text = (rights.FILES / folder / "namespace.yaml").read_text()
        path = product.folder / f"{name}.yaml"
        path.write_text(text)
        product.kubectl("apply", "-f", str(path))
    yield product
    product.kubectl("delete", "namespace", "vllm", "prefect")


FILLED = {"name": "run", "namespace": "vllm", "labels": {}, "env": [], "command": ["true"]}


def filled(part: Any, values: dict[str, Any]) -> Any:
    """Return a part of the template with values in place of `{{ name }}`, as the worker does."""
    if isinstance(part, dict):
        return {key: filled(each, values) for key, each in part.items()}
    if isinstance(part, list):
        return [filled(each, values) for each in part]
    found = re.fullmatch(r"\{\{ (\w+) \}\}(.*)", part) if isinstance(part, str) else None
    if not found:
        return part
    return f"{values[found[1]]}{found[2]}" if found[2] else values[found[1]]


def dry_run(product: Product, *words: str) -> str:
    """Let the API server take something without keeping it; return all that was said."""
    done = subprocess.run(
        [product.sandbox.programs["kubectl"], *words, "--dry-run=server"],
        env=product.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_folder_is_taken_without_a_warning(namespaces: Product):
    for folder in FOLDERS:
        said = dry_run(namespaces, "apply", "-k", str(rights.FILES / folder))
        assert "server dry run" in said
        # Pod Security warns here of what `restricted` refuses, and the server of unknown fields.
        assert "Warning" not in said, said


def test_the_kustomization_of_the_page_is_taken_and_pins_every_image(namespaces: Product):
    (block,) = re.findall(r"^   ```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    folder = namespaces.folder / "mine"
    folder.mkdir()
    text = re.sub(r"^   ", "", block, flags=re.MULTILINE)
    # kustomize takes no absolute paths.
    up = "/".join([".."] * (len(folder.resolve().parts) - 1))
    text = text.replace("../vllm-flows/deployments/kubernetes", f"{up}{rights.FILES.resolve()}")
    (folder / "kustomization.yaml").write_text(text)
    (folder / "models.yaml").write_text("- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n")
    dry_run(namespaces, "apply", "-k", str(folder))
    made = namespaces.kubectl("kustomize", str(folder))
    images = re.findall(r"^\s*(?:- )?image: (.*)$", made, re.MULTILINE)
    assert len(images) == 4
    assert all("@sha256:" in one for one in images)


def test_the_job_of_a_run_is_taken_without_a_warning(namespaces: Product):
    text = (rights.FILES / "worker-of-jobs" / "base-job-template.json").read_text()
    template = json.loads(text)
    properties = template["variables"]["properties"].items()
    defaults = {key: one["default"] for key, one in properties if "default" in one}
    job = filled(template["job_configuration"]["job_manifest"], defaults | FILLED)
    path = namespaces.folder / "job.json"
    path.write_text(json.dumps(job))
    assert "Warning" not in dry_run(namespaces, "-n", "vllm", "create", "-f", str(path))


def test_what_pod_security_would_refuse_is_warned_of(namespaces: Product):
    for name in ("vllm", "prefect"):
        said = dry_run(namespaces, "-n", name, "create", "deployment", "loose", "--image=loose")
        assert "would violate PodSecurity" in said
