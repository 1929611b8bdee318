"""The rights that this product needs, as data, and what it means that some are missing. Pure.

What a run, a plan and the read verbs ask of the API themselves, and what helm asks for the chart's
objects. `deployments/kubernetes` has the same as Roles, with the reason for each.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vllm_flows.doctor_findings import Finding, State

FILES = Path(__file__).parents[1] / "deployments" / "kubernetes"
"""The Roles, as they are shipped: in a clone, and in an installed package."""

_WRITES = {"create", "patch", "update"}
_RELEASED = {
    *("secrets", "deployments", "services", "poddisruptionbudgets"),
    *("serviceaccounts", "roles", "rolebindings"),
}
"""What the chart consists of."""
_ROLE, _VIEWER, _DELETER = "vllm-flows", "vllm-flows-viewer", "vllm-flows-deleter"
_SHIPPED_FOR = "vllm"
"""The namespace that the shipped `deleting-namespace` names."""
_ACCOUNT = "system:serviceaccount:"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.@_-]+")
_ADMINISTRATOR = "   (an administrator)"


@dataclass(frozen=True)
class Right:
    """One verb on one resource, in the namespace or (`everywhere`) in the whole cluster.

    With a `name`, on that object alone.
    """

    verb: str
    group: str
    resource: str
    everywhere: bool = False
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"

    def question(self, namespace: str) -> dict[str, Any]:
        """Return the SelfSubjectAccessReview that asks for it."""
        resource, _, subresource = self.resource.partition("/")
        attributes = {"verb": self.verb, "group": self.group, "resource": resource}
        attributes |= {"subresource": subresource} if subresource else {}
        attributes |= {"name": self.name} if self.name else {}
        attributes |= {} if self.everywhere else {"namespace": namespace}
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }


class _Rule(NamedTuple):
    """A rule of a Role, for one resource."""

    group: str
    resource: str
    verbs: str
    name: str = ""


_OPERATOR = "external-secrets.io"
_RBAC = "rbac.authorization.k8s.io"
_IN_NAMESPACE = (
    _Rule("", "namespaces", "get"),
    _Rule("", "secrets", "get list create patch update delete"),
    _Rule("apps", "deployments", "get list create patch delete"),
    _Rule("", "services", "get list create patch delete"),
    _Rule("policy", "poddisruptionbudgets", "get create patch delete"),
    _Rule("", "persistentvolumeclaims", "get list create patch delete"),
    _Rule("batch", "jobs", "get list create patch delete"),
    _Rule("", "configmaps", "get list create patch delete"),
    _Rule("", "pods", "list patch delete"),
    _Rule("apps", "replicasets", "list patch delete"),
    _Rule("", "pods/log", "get"),
    _Rule("", "events", "list"),
    _Rule("", "pods/portforward", "get create"),
    _Rule("coordination.k8s.io", "leases", "create"),
    _Rule("coordination.k8s.io", "leases", "get update", "vllm-flows"),
)
_OF_ROUTER = (
    _Rule("", "pods", "get watch"),
    _Rule("", "serviceaccounts", "create"),
    _Rule("", "serviceaccounts", "get patch delete", "vllm-router-service-account"),
    _Rule(_RBAC, "roles", "create"),
    _Rule(_RBAC, "roles", "get patch delete", "vllm-reader"),
    _Rule(_RBAC, "rolebindings", "create"),
    _Rule(_RBAC, "rolebindings", "get patch delete", "vllm-deployment-access-binding"),
)
_TO_FORESEE = (
    _Rule("", "pods", "create"),
    _Rule("", "resourcequotas", "list"),
)
_EVERYWHERE = (
    _Rule("", "nodes", "list"),
    _Rule("", "pods", "list"),
    _Rule("", "persistentvolumes", "list"),
    _Rule("storage.k8s.io", "storageclasses", "list"),
    _Rule("node.k8s.io", "runtimeclasses", "get"),
    _Rule("", "namespaces", "get", "kube-system"),
)
_EXTERNAL_SECRETS = (
    _Rule(_OPERATOR, "externalsecrets", "create"),
    _Rule(_OPERATOR, "externalsecrets", "get patch delete", "hf-token-external-secret"),
    _Rule(_OPERATOR, "externalsecrets", "get patch delete", "vllm-api-key-external-secret"),
)


def _rights(rules: Iterable[_Rule], *, everywhere: bool = False) -> tuple[Right, ...]:
    return tuple(
        Right(verb, rule.group, rule.resource, everywhere, rule.name)
        for rule in rules
        for verb in rule.verbs.split()
    )


NEEDED = _rights(_IN_NAMESPACE)
"""Without one of these an install, or a verb that looks, ends with an error."""
FOR_ROUTER = _rights(_OF_ROUTER)
"""Needed where there is a router.

It alone is given an account with rights of its own by the chart (0.1.8 to 0.1.12), to read and
label pods; and Kubernetes lets nobody give away a right that he has not.
"""
FORESEEING = _rights(_TO_FORESEE)
"""Without these the plan does not foresee what admission or a quota of the namespace refuses."""
HELPFUL = _rights(_EVERYWHERE, everywhere=True)
"""Without these the plan leaves out what it would say of GPUs, nodes and volumes."""
EXTERNAL_SECRETS = _rights(_EXTERNAL_SECRETS)
"""What it takes to set, delete and move secrets that are kept in Vault."""
NEW_NAMESPACE = (
    Right("create", "", "namespaces", everywhere=True),
    Right("patch", "", "namespaces", everywhere=True),
)
"""What it takes to make the namespace."""


def needed(*, router: bool) -> tuple[Right, ...]:
    """Return what is needed in the namespace; with or without a `router`."""
    return (*NEEDED, *FOR_ROUTER) if router else NEEDED


def needed_to_write(*, router: bool) -> tuple[Right, ...]:
    """Return what a run that changes the release cannot do without; with or without a `router`."""
    given = {right for right in FOR_ROUTER if right.resource == "pods"}
    return tuple(
        right
        for right in needed(router=router)
        if right in given or (right.verb in _WRITES and "/" not in right.resource)
    )


def needed_to_remove(*, router: bool) -> tuple[Right, ...]:
    """Return what helm cannot remove a release without, and does not name when it fails."""
    return tuple(
        right
        for right in needed(router=router)
        if right.verb == "delete" and right.resource in _RELEASED
    )


def judge_needed(missing: Iterable[Right], namespace: str, user: str) -> Finding:
    """Judge the rights in the namespace; `user` is the account's name, "" when unknown."""
    lacking = list(missing)
    if not lacking:
        return Finding("rights", State.OK, f"all that are needed in {namespace}")
    grave = [right for right in lacking if right not in FORESEEING]
    text = f"{_who(user)} may not, in {namespace}: {_listed(grave or lacking)}"
    if set(NEEDED) <= set(grave):
        text = f"{_who(user)} has none of the rights that are needed in {namespace}"
    fix = _granted(f"kubectl -n {namespace}", "access/role.yaml", "rolebinding --role", _ROLE, user)
    if not grave:
        return Finding("rights", State.WARNING, f"{text}; plans foresee less", fix)
    return Finding("rights", State.PROBLEM, text, fix)


def judge_helpful(missing: Iterable[Right], namespace: str, user: str) -> Finding:
    """Judge the rights beyond the namespace: without them a plan says less, and install works."""
    lacking = list(missing)
    if not lacking:
        return Finding("cluster-wide rights", State.OK, "may look at nodes, pods, classes, volumes")
    file = "looking-around/cluster-role.yaml"
    fix = _granted("kubectl", file, "clusterrolebinding --clusterrole", _VIEWER, user, of=namespace)
    text = f"{_who(user)} may not, in all of the cluster: {_listed(lacking)}; plans say less"
    return Finding("cluster-wide rights", State.WARNING, text, fix)


def granting_external_secrets(namespace: str, user: str) -> str:
    """Return the command that gives the account what `EXTERNAL_SECRETS` lists."""
    file, role = "external-secrets/role.yaml", f"{_ROLE}-external-secrets"
    return _granted(f"kubectl -n {namespace}", file, "rolebinding --role", role, user)


def deleting(namespace: str) -> Right:
    """Return what it takes to delete the namespace, which the API takes for an object in it."""
    return Right("delete", "", "namespaces", name=namespace)


def granting_deletion(namespace: str, user: str) -> str:
    """Return the command that lets the account delete this one namespace."""
    binding, file = "clusterrolebinding --clusterrole", "deleting-namespace/cluster-role.yaml"
    if namespace == _SHIPPED_FOR:
        return _granted("kubectl", file, binding, _DELETER, user, of=namespace)
    name = f"{_DELETER}-{namespace}"
    return (
        f"kubectl create clusterrole {name} --verb=get,delete --resource=namespaces "
        f"--resource-name={namespace} && kubectl create clusterrolebinding {name} "
        f"--clusterrole={name} {_subject(user)}   (an administrator; as "
        f"{FILES / file} has it for {_SHIPPED_FOR})"
    )


def _granted(kubectl: str, file: str, binding: str, role: str, user: str, *, of: str = "") -> str:
    """Return the commands that make a shipped role, and give it to the account.

    `of` is the namespace after which a binding in the whole cluster is named.
    """
    kind, option = binding.split()
    name = f"{role}-{of or _NOT_IN_NAMES.sub('-', user.rpartition(':')[2]) or 'NAME'}"
    return (
        f"{kubectl} apply -f {shlex.quote(str(FILES / file))} && "
        f"{kubectl} create {kind} {name} {option}={role} {_subject(user)}{_ADMINISTRATOR}"
    )


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
