"""What tells one cluster from another."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.dynamic.exceptions import ForbiddenError

from vllm_flows.cluster import Cluster


class Api:
    """An API server at an address, which lets its namespace kube-system be read or not."""

    def __init__(self, found: Exception | None = None) -> None:
        self.configuration = SimpleNamespace(host="https://10.0.0.1:6443")
        self._found = found

    def get(self, *_: Any, **given: Any) -> Any:
        assert given["name"] == "kube-system"
        if self._found:
            raise self._found
        return SimpleNamespace(data=json.dumps({"metadata": {"uid": "8d7e"}}))


def refused() -> ForbiddenError:
    error = SimpleNamespace(status=403, reason="Forbidden", body="", headers={})
    return ForbiddenError(error)


@pytest.mark.parametrize(
    ("api", "told"), [(Api(), "8d7e"), (Api(refused()), "https://10.0.0.1:6443")]
)
def test_a_cluster_is_told_by_its_own_uid_or_where_that_is_hidden_by_its_address(
    api: Any, told: str
):
    assert Cluster("vllm", "", api).identity() == told
