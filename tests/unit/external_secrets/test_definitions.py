from __future__ import annotations

from typing import Any

from sandbox.external_secrets.definitions import custom_resources


def test_each_version_is_served_and_the_first_one_stored() -> None:
    for definition in custom_resources():
        versions = definition["spec"]["versions"]
        assert [(one["name"], one["storage"]) for one in versions] == [
            ("v1", True),
            ("v1beta1", False),
        ]
    older = custom_resources(["v1beta1"])[0]["spec"]["versions"]
    assert [(one["name"], one["storage"]) for one in older] == [("v1beta1", True)]


def test_only_the_clusters_store_has_no_namespace() -> None:
    scopes = {one["spec"]["names"]["plural"]: one["spec"]["scope"] for one in custom_resources()}
    assert scopes == {
        "externalsecrets": "Namespaced",
        "clustersecretstores": "Cluster",
        "secretstores": "Namespaced",
    }


def test_every_part_of_a_schema_has_a_type() -> None:
    def look(schema: dict[str, Any]) -> None:
        assert "type" in schema or schema.get("x-kubernetes-int-or-string")
        for part in schema.get("properties", {}).values():
            look(part)
        if "items" in schema:
            look(schema["items"])

    for definition in custom_resources():
        for version in definition["spec"]["versions"]:
            look(version["schema"]["openAPIV3Schema"])
