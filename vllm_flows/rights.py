"""The rights that this product needs, as data, and what it means that some are missing. Pure.

What a run, a plan and the read verbs ask of the API themselves, and what helm asks for the chart's
objects. The role `admin` of Kubernetes has all that is needed in the namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.doctor_findings import Finding, State

_WRITES = {"create", "patch", "update"}
_ROUTERS = {"serviceaccounts", "roles", "rolebindings"}
_VIEWER = "vllm-flows-viewer"
_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True)
class Right:
    """One verb on one resource, in the namespace or (`everywhere`) in the whole cluster."""

    verb: str
    group: str
    resource: str
    everywhere: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"

    def question(self, namespace: str) -> dict[str, Any]:
        """Return the SelfSubjectAccessReview that asks for it."""
        resource, _, subresource = self.resource.partition("/")
        attributes = {"verb": self.verb, "group": self.group, "resource": resource}
        attributes |= {"subresource": subresource} if subresource else {}
        attributes |= {} if self.everywhere else {"namespace": namespace}
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }


_IN_NAMESPACE: Mapping[tuple[str, str], str] = {
    ("", "secrets"): "get list create patch update delete",
    ("", "configmaps"): "get list create patch delete",
    ("", "services"): "get create patch delete",
    ("", "serviceaccounts"): "get create patch delete",
    ("", "persistentvolumeclaims"): "get list create patch delete",
    ("", "pods"): "get list watch patch delete",
    ("", "pods/log"): "get",
    ("", "pods/portforward"): "get create",
    ("", "events"): "list",
    ("apps", "deployments"): "get list create patch delete",
    ("apps", "replicasets"): "list patch delete",
    ("batch", "jobs"): "get list create patch delete",
    ("policy", "poddisruptionbudgets"): "get create patch delete",
    ("rbac.authorization.k8s.io", "roles"): "get create patch delete",
    ("rbac.authorization.k8s.io", "rolebindings"): "get create patch delete",
    ("coordination.k8s.io", "leases"): "get create update",
}
_EVERYWHERE: Mapping[tuple[str, str], str] = {
    ("", "nodes"): "list",
    ("", "pods"): "list",
    ("", "persistentvolumes"): "get",
    ("storage.k8s.io", "storageclasses"): "list",
    ("node.k8s.io", "runtimeclasses"): "get",
}


def _rights(table: Mapping[tuple[str, str], str], *, everywhere: bool) -> tuple[Right, ...]:
    return tuple(
        Right(verb, group, resource, everywhere)
        for (group, resource), verbs in table.items()
        for verb in verbs.split()
    )


NEEDED = _rights(_IN_NAMESPACE, everywhere=False)
"""Without one of these an install, or a verb that looks, ends with an error."""
HELPFUL = _rights(_EVERYWHERE, everywhere=True)
"""Without these the plan leaves out what it would say of GPUs, nodes and volumes."""
EXTERNAL_SECRETS = _rights(
    {("external-secrets.io", "externalsecrets"): "get create patch delete"}, everywhere=False
)
"""What it takes to set, delete and move secrets that are kept in Vault."""
NEW_NAMESPACE = (
    Right("create", "", "namespaces", everywhere=True),
    Right("patch", "", "namespaces", everywhere=True),
)
"""What it takes to make the namespace."""


def needed_to_write(*, router: bool) -> tuple[Right, ...]:
    """Return what a run that changes the release cannot do without; with or without a `router`.

    It is the router alone that the chart gives an account with rights of its own (0.1.8 to 0.1.12).
    """
    return tuple(
        right
        for right in NEEDED
        if right.verb in _WRITES
        and "/" not in right.resource
        and (router or right.resource not in _ROUTERS)
    )


def judge_needed(missing: Iterable[Right], namespace: str, user: str) -> Finding:
    """Judge the rights in the namespace; `user` is the account's name, "" when unknown."""
    lacking = list(missing)
    if not lacking:
        return Finding("rights", State.OK, f"all {len(NEEDED)} that are needed in {namespace}")
    fix = f"kubectl -n {namespace} create rolebinding vllm-flows --clusterrole=admin "
    text = f"{_who(user)} may not, in {namespace}: {_listed(lacking)}"
    if len(lacking) == len(NEEDED):
        text = f"{_who(user)} has none of the {len(NEEDED)} that are needed in {namespace}"
    return Finding("rights", State.PROBLEM, text, f"{fix}{_subject(user)}   (an administrator)")


def judge_helpful(missing: Iterable[Right], user: str) -> Finding:
    """Judge the rights beyond the namespace: without them a plan says less, and install works."""
    lacking = list(missing)
    if not lacking:
        return Finding("cluster-wide rights", State.OK, "may look at nodes, pods, classes, volumes")
    kinds = ",".join(
        f"{resource}.{group}" if group else resource for group, resource in _EVERYWHERE
    )
    fix = (
        f"kubectl create clusterrole {_VIEWER} --verb=get,list --resource={kinds} && kubectl "
        f"create clusterrolebinding {_VIEWER} --clusterrole={_VIEWER} {_subject(user)}"
        "   (an administrator)"
    )
    text = f"{_who(user)} may not, in all of the cluster: {_listed(lacking)}; plans say less"
    return Finding("cluster-wide rights", State.WARNING, text, fix)


def _who(user: str) -> str:
    return user or "this account"


def _subject(user: str) -> str:
    if user.startswith(_ACCOUNT):
        return f"--serviceaccount={user.removeprefix(_ACCOUNT)}"
    return f"--user={user or 'NAME'}"


def _listed(rights: Iterable[Right]) -> str:
    """Name rights in few words: `create, patch secrets; list pods`."""
    verbs: dict[str, list[str]] = {}
    for right in rights:
        verbs.setdefault(right.resource, []).append(right.verb)
    return "; ".join(f"{', '.join(several)} {resource}" for resource, several in verbs.items())
