"""What a change does to what runs, on a real API server with real controllers and helm."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.integration.product.changing_models import (
    QWEN,
    REPOSITORY,
    change_port,
    history,
    phi,
    pods_of,
    versions,
)

if TYPE_CHECKING:
    from conftest import Product

MISTRAL = """\
- name: mistral
  modelURL: mistralai/Mistral-7B-Instruct-v0.3
  requestGPU: 2
  vllmConfig: {tensorParallelSize: 2, maxModelLen: %d}
"""


def test_models_that_change_do_so_one_after_the_other_and_others_keep_their_pods(
    product: Product,
):
    product.install(QWEN, phi(), MISTRAL % 4096)
    before = {name: pods_of(product, name) for name in ("qwen3", "phi4", "mistral")}
    longer = phi("main", "vllmConfig: {maxModelLen: 4096}")
    product.install(QWEN, longer, MISTRAL % 4096)
    assert pods_of(product, "qwen3") == before["qwen3"]
    assert pods_of(product, "mistral") == before["mistral"]
    between = pods_of(product, "phi4")
    assert not set(between) & set(before["phi4"])
    said = product.install(QWEN, phi(), MISTRAL % 8192)
    assert said.index("helm upgrade: mistral") < said.index("helm upgrade: phi4")
    assert said.index("mistral: answered in") < said.index("helm upgrade: phi4")
    assert [row["revision"] for row in history(product)] == [1, 2, 3, 4]
    values = json.loads(product.helm("get", "values", "vllm", "--revision", "3", "-o", "json"))
    lengths = {
        entry["name"]: entry["vllmConfig"].get("maxModelLen")
        for entry in values["servingEngineSpec"]["modelSpec"]
    }
    assert lengths == {"mistral": 8192, "phi4": 4096, "qwen3": None}
    assert pods_of(product, "qwen3") == before["qwen3"]
    assert not set(pods_of(product, "phi4")) & set(between)


def test_three_upgrades_without_a_change_write_nothing_not_even_a_lease(product: Product):
    product.install(QWEN, phi("main", "replicaCount: 2"))
    product.run("upgrade", "--yes")
    before = versions(product)
    for _ in range(2):
        said = product.run("upgrade", "--yes").stderr
        assert "nothing to change; all models answer" in said
        assert versions(product) == before
    assert len(history(product)) == 1


def test_a_saved_plan_is_done_and_refused_once_anything_moved_on(product: Product):
    product.models(phi())
    product.run("plan", "--out", "one.json")
    assert "phi4: answered in" in product.run("install", "--plan", "one.json").stderr
    product.models(phi("main", "vllmConfig: {maxModelLen: 4096}"))
    product.run("plan", "--out", "two.json")
    product.models(phi("main", "vllmConfig: {maxModelLen: 2048}"))
    before = versions(product)
    said = product.run("install", "--plan", "two.json", code=1).stderr
    assert "the plan that was agreed to is not what would happen now; nothing was changed" in said
    assert versions(product) == before
    product.models(phi("main", "vllmConfig: {maxModelLen: 4096}"))
    change_port(product)
    before = versions(product)
    product.run("install", "--plan", "two.json", code=1)
    assert versions(product) == before
    product.run("plan", "--out", "three.json")
    product.run("install", "--plan", "three.json")
    product.run("install", "--plan", "three.json", code=1)


def test_of_two_runs_at_once_one_does_it_and_the_other_names_it(product: Product):
    product.install(phi())
    product.hub("commit", repo=REPOSITORY, kind="weights")
    product.hub("rate", bytes_per_second=700_000)
    first, second = (product.start("install", "--yes") for _ in range(2))
    results = {}
    for process in (first, second):
        _, errors = process.communicate(timeout=150)
        results[process.returncode] = errors
    assert set(results) == {0, 5}
    assert "phi4: answered in" in results[0]
    assert re.search(r"@\S+ pid \d+ deploy", results[5])
    assert len(history(product)) == 2
