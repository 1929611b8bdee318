"""Which rules of the shipped Roles an account made use of, by the API server's audit log.

The log names requests. Three rights are looked at inside of one, and are told from it:
`create`, where applying an object made it; `create` of a port-forward, which newer API servers
want beside `get`; and whatever a Role gives away that the account writes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vllm_flows.rights import FILES

if TYPE_CHECKING:
    from conftest import Product

ACCOUNT = "vllm-flows"
_CREATED = 201
_ROLE = re.compile(r'of (?:Cluster)?Role "([^"]+)"')


@dataclass(frozen=True)
class Use:
    """A right as it was used: by which role, for what."""

    role: str
    verb: str
    group: str
    resource: str
    name: str = ""

    def of(self, rule: dict[str, Any]) -> bool:
        """Say whether a rule of its role gives it."""
        names = rule.get("resourceNames")
        return (
            self.group in rule["apiGroups"]
            and self.resource in rule["resources"]
            and self.verb in rule["verbs"]
            and (not names or self.name in names)
        )


@dataclass
class Audit:
    """What the account of a namespace asked of the API server."""

    product: Product
    refused: list[str] = field(default_factory=list)
    used: set[Use] = field(default_factory=set)
    _left: bool = False
    """It deleted its namespace, and with it the Role."""

    def read(self) -> Audit:
        """Read the whole log; return itself."""
        account = f"system:serviceaccount:{self.product.namespace}:{ACCOUNT}"
        for line in self.product.sandbox.audit_log.read_text().splitlines():
            event = json.loads(line)
            if event["user"]["username"] == account and "objectRef" in event:
                self._note(event)
        return self

    def unused(self, *folders: str) -> list[str]:
        """Return the rules and verbs of these folders that nothing made use of."""
        return [
            f"{role}: {verb} {' '.join(rule['resources'])} {rule.get('resourceNames', '')}"
            for role, rule in rules_of(self.product, folders)
            for verb in rule["verbs"]
            if not any(one.role == role and one.of({**rule, "verbs": [verb]}) for one in self.used)
        ]

    def _note(self, event: dict[str, Any]) -> None:
        what, verb = event["objectRef"], event["verb"]
        if event["annotations"]["authorization.k8s.io/decision"] != "allow":
            self.refused += [] if self._left else [f"{verb} {event['requestURI']}"]
            return
        self._left = self._left or (verb, what["resource"]) == ("delete", "namespaces")
        role = _ROLE.search(event["annotations"]["authorization.k8s.io/reason"])
        if role:  # Kubernetes' own roles let everybody ask what the API serves
            made = event.get("responseStatus", {}).get("code") == _CREATED
            self.used |= set(_uses(role[1], verb, what, made=made))


def _uses(role: str, verb: str, what: dict[str, str], *, made: bool) -> Iterator[Use]:
    resource = what["resource"] + (f"/{what['subresource']}" if "subresource" in what else "")
    group, name = what.get("apiGroup", ""), what.get("name", "")
    yield Use(role, verb, group, resource, name)
    if (verb == "patch" and made) or resource == "pods/portforward":
        yield Use(role, "create", group, resource, name)
    if resource == "roles" and verb in {"create", "patch"}:
        for given in ("get", "watch", "list", "patch"):  # the chart's Role for the router
            yield Use(role, given, "", "pods")


def granted(product: Product, *folders: str) -> None:
    """Apply folders of deployments/kubernetes to the product's namespace, as an administrator."""
    product.kubectl("apply", "-k", str(_overlay(product, folders)))


def rules_of(product: Product, folders: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each rule that these folders grant there, with its role's name."""
    made = product.kubectl("kustomize", str(_overlay(product, folders)))
    for item in yaml.safe_load_all(made):
        yield from ((item["metadata"]["name"], rule) for rule in item.get("rules", ()))


def _overlay(product: Product, folders: Iterable[str]) -> Path:
    """Write what docs/least-privilege.md tells to write for another namespace than `vllm`."""
    place = product.folder / "granted"
    place.mkdir(exist_ok=True)
    document: dict[str, Any] = {
        "namespace": product.namespace,
        "resources": [os.path.relpath(FILES / folder, place.resolve()) for folder in folders],
    }
    if "deleting-namespace" in folders:
        own = [{"op": "replace", "path": "/rules/0/resourceNames", "value": [product.namespace]}]
        target = {"kind": "ClusterRole", "name": "vllm-flows-deleter"}
        document["patches"] = [{"target": target, "patch": yaml.safe_dump(own)}]
    (place / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return place


def as_account(product: Product, *folders: str) -> Product:
    """Return the product as the shipped account, with the rights of these folders alone."""
    granted(product, *folders)
    config = json.loads(product.kubectl("config", "view", "--raw", "-o", "json"))
    token = product.kubectl("create", "token", ACCOUNT).strip()
    config["users"][0]["user"] = {"token": token}
    path = product.folder / "account.json"
    path.write_text(json.dumps(config))
    return dataclasses.replace(product, kubeconfig=path)
