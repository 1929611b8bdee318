"""What the shipped account misses: without the optional role a little, without a right its verb.

That it misses nothing, and has nothing too much, `test_every_verb` shows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.product.changing_models import QWEN
from tests.integration.product.least_privilege import ACCOUNT, Audit, as_account

if TYPE_CHECKING:
    from conftest import Product


def without(product: Product, verb: str, resource: str) -> None:
    """Take a right away from the shipped Role."""
    role = json.loads(product.kubectl("get", "role", ACCOUNT, "-o", "json"))
    rules: list[dict[str, Any]] = role["rules"]
    for rule in rules:
        if rule["resources"] == [resource] and verb in rule["verbs"]:
            rule["verbs"].remove(verb)
    path = product.folder / "role.json"
    path.write_text(json.dumps({**role, "rules": [rule for rule in rules if rule["verbs"]]}))
    product.kubectl("replace", "-f", str(path))


def test_the_role_alone_does_and_a_removal_that_it_does_not_allow_is_not_begun(
    product: Product,
):
    account = as_account(product, "access")
    account.models(QWEN)
    done = account.run("doctor", "-o", "json")
    found = {row["check"]: row for row in json.loads(done.stdout)}
    assert found["rights"]["state"] == "ok"
    assert found["cluster-wide rights"]["state"] == "warning"
    said = account.run("plan").stderr
    for unknown in (
        "whether a GPU is free, and how large it is, is not known",
        "which GPUs are taken is not known",
        "the StorageClass is not checked",
    ):
        assert unknown in said
    assert "qwen3: answered in" in account.install(QWEN)
    assert "nothing to change" in account.install(QWEN)
    assert [row["state"] for row in json.loads(account.run("status", "-o", "json").stdout)] == [
        "ready",
        "ready",
    ]
    without(product, "delete", "services")
    before = product.versions()
    said = account.run("uninstall", "--yes", code=1).stderr
    assert f"may not, in {product.namespace}: delete services" in said
    assert product.versions() == before
    missed = {one.partition("?")[0] for one in Audit(product).read().refused}
    assert missed == {
        "list /api/v1/nodes",
        "list /api/v1/pods",
        "list /api/v1/persistentvolumes",
        "get /api/v1/namespaces/kube-system",
        "list /apis/storage.k8s.io/v1/storageclasses",
        "get /apis/node.k8s.io/v1/runtimeclasses/nvidia",
    }


@pytest.mark.parametrize(
    ("verb", "resource", "words"),
    [
        ("create", "jobs", ["install", "--yes"]),
        ("watch", "pods", ["install", "--yes"]),
        ("list", "secrets", ["plan"]),
        ("get", "leases", ["unlock", "--yes"]),
        ("patch", "secrets", ["set-api-key", "--generate"]),
    ],
)
def test_a_right_that_is_missing_is_named_before_anything_is_written(
    product: Product, verb: str, resource: str, words: list[str]
):
    account = as_account(product, "access", "looking-around")
    account.models(QWEN)
    without(product, verb, resource)
    before = product.versions()
    said = account.run(*words, code=1).stderr
    assert resource in said
    assert f"{verb} {resource}" in said or f'cannot {verb} resource "{resource}"' in said
    assert "next: " in said
    assert product.versions() == before
    done = account.run("doctor", "-o", "json", code=1)
    (row,) = (one for one in json.loads(done.stdout) if one["check"] == "rights")
    assert row["found"].endswith(f"may not, in {product.namespace}: {verb} {resource}")
    first, _, _ = row["fix"].partition(" && ")
    product.kubectl(*first.split()[1:])
    account.run("doctor")
