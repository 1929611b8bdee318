"""What is asked of a cluster as such: its version, the rights of this account, what it serves.

With `cluster` this module imports the `kubernetes` package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from kubernetes.dynamic.exceptions import DynamicApiError

from vllm_flows.cluster import Cluster, Object, explained
from vllm_flows.errors import ClusterError
from vllm_flows.retrying import begun
from vllm_flows.rights import Right

_AT_ONCE = 4
_CONNECT_SECONDS = 5.0
_NOT_FOUND = 404
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_EXTERNAL_SECRETS = "external-secrets.io"


def ask(cluster: Cluster, path: str, question: Mapping[str, Any] | None = None) -> Object | None:
    """Return what the API says at a path that is no object's; None when it knows no such path.

    A `question`, such as a review of rights, is posted there; nothing is written. Raises
    ClusterError also when what answers is no Kubernetes API.
    """
    with explained(f"ask {path}"):
        try:
            response = cluster.api.request(
                "post" if question else "get",
                path,
                body=dict(question) if question else None,
                serialize=False,
                _request_timeout=(_CONNECT_SECONDS, cluster.read_seconds),
            )
            answer: Object = json.loads(response.data)
        except DynamicApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        except ValueError as error:
            raise _no_api(cluster) from error
    return answer


def address(cluster: Cluster) -> str:
    """Return the API server's address."""
    return str(cluster.api.configuration.host)


def server_version(cluster: Cluster) -> str:
    """Return the API server's version, as `v1.36.1`.

    Raises ClusterError as `ask` does, and when what answers has none.
    """
    answer = ask(cluster, "/version")
    if not isinstance(answer, dict) or "gitVersion" not in answer:
        raise _no_api(cluster)
    return str(answer["gitVersion"])


def _no_api(cluster: Cluster) -> ClusterError:
    return ClusterError(
        f"what answers at {address(cluster)} is no Kubernetes API",
        next_command="kubectl cluster-info",
    )


def user_name(cluster: Cluster) -> str:
    """Return the name of this account; "" where the API does not tell it (before 1.28)."""
    question = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = ask(cluster, _WHO, question) or {}
    return str(((answer.get("status") or {}).get("userInfo") or {}).get("username", ""))


def missing_rights(cluster: Cluster, rights: Sequence[Right]) -> list[Right]:
    """Return the rights that this account has not, in their order."""
    parts = [rights[first::_AT_ONCE] for first in range(_AT_ONCE)]
    answers: list[Future[list[Right]]] = [begun(partial(_missing, cluster, part)) for part in parts]
    missing = {right for answer in answers for right in answer.result()}
    return [right for right in rights if right in missing]


def _missing(cluster: Cluster, rights: Sequence[Right]) -> list[Right]:
    return [right for right in rights if not _has(cluster, right)]


def _has(cluster: Cluster, right: Right) -> bool:
    answer = ask(cluster, _REVIEWS, right.question(cluster.namespace)) or {}
    return bool((answer.get("status") or {}).get("allowed"))


def external_secrets_version(cluster: Cluster) -> str:
    """Return the version in which ExternalSecrets are served; "" when they are not."""
    group = ask(cluster, f"/apis/{_EXTERNAL_SECRETS}") or {}
    version = str((group.get("preferredVersion") or {}).get("version", ""))
    served = ask(cluster, f"/apis/{_EXTERNAL_SECRETS}/{version}") if version else None
    names = {item["name"] for item in (served or {}).get("resources") or ()}
    return version if "externalsecrets" in names else ""
