"""External Secrets on the sandbox: what its users and vllm-flows see of the operator.

The Kubernetes API, its garbage collection and Vault's API are real; the controller is not.
"""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox import secret_store
from sandbox.state import SandboxState
from sandbox.vault import furnishing
from sandbox.vault.running import Keys

Object = dict[str, Any]

_numbers = itertools.count(1)
_PATIENCE = 30.0


@dataclass(frozen=True)
class Place:
    """A namespace of the sandbox, and the path in Vault that the shipped policy lets it read."""

    sandbox: SandboxState
    keys: Keys
    namespace: str

    @property
    def path(self) -> str:
        """Where the values are in Vault."""
        return "vllm/huggingface"

    def put(self, **values: str) -> None:
        """Write values to Vault."""
        self.keys.root().secrets.kv.v2.create_or_update_secret(self.path, values)

    def kubectl(self, *arguments: str, text: str = "", code: int = 0) -> str:
        """Run kubectl in this namespace and return what it prints."""
        done = subprocess.run(
            [
                *(self.sandbox.programs["kubectl"], "--kubeconfig", str(self.sandbox.kubeconfig)),
                *("-n", self.namespace, *arguments),
            ],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout if not code else done.stderr

    def apply(self, *objects: Object, code: int = 0) -> str:
        """Create or change objects."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return self.kubectl("apply", "-f", "-", text=json.dumps(listed), code=code)

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object; None when it is not there."""
        found = self.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(found) if found else None

    def values(self, name: str = "hf-token") -> dict[str, str] | None:
        """Return what a Secret holds; None without it."""
        found = self.get("secret", name)
        data = (found or {}).get("data", {})
        decoded = {key: base64.b64decode(value).decode() for key, value in data.items()}
        return decoded if found else None

    def condition(self, name: str = "hf-token-external-secret") -> tuple[str, str, str]:
        """Return status, reason and message of an ExternalSecret's condition Ready."""
        found = self.get("externalsecret", name) or {}
        for one in (found.get("status") or {}).get("conditions") or []:
            if one["type"] == "Ready":
                return one["status"], one["reason"], one["message"]
        return "", "", ""

    def events(self) -> str:
        """Return what the namespace's events say."""
        return self.kubectl(
            "get", "events", "-o", "jsonpath={range .items[*]}{.message}{'\\n'}{end}"
        )

    def force(self, name: str = "hf-token-external-secret") -> None:
        """Have an ExternalSecret read again now, as people do."""
        mark = f"force-sync={time.monotonic_ns()}"
        self.kubectl("annotate", "externalsecret", name, mark, "--overwrite")


@pytest.fixture
def place(vault_sandbox: SandboxState, vault: Keys) -> Iterator[Place]:
    """Give each test a namespace of its own, and nothing in Vault; all share the path."""
    made = Place(vault_sandbox, vault, f"es-{next(_numbers)}")
    vault.root().secrets.kv.v2.delete_metadata_and_all_versions(made.path)
    made.kubectl("create", "namespace", made.namespace)
    yield made
    vault.unseal()
    made.kubectl("delete", "externalsecret", "--all")
    made.kubectl("delete", "namespace", made.namespace, "--wait=false")


def external_secret(place: Place, **target: object) -> Object:
    """Return the ExternalSecret that makes the Secret `hf-token` of the namespace."""
    reference = {"key": place.path, "property": "token"}
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": "hf-token-external-secret", "namespace": place.namespace},
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": secret_store.STORE},
            "target": {"name": "hf-token"} | target,
            "data": [{"secretKey": "token", "remoteRef": reference}],
        },
    }


def until(happened: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + _PATIENCE
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def test_a_value_of_vault_becomes_a_secret_that_its_external_secret_owns(place: Place) -> None:
    place.put(token="hf_one")
    place.apply(external_secret(place))
    until(lambda: place.values() == {"token": "hf_one"})
    until(lambda: place.condition() == ("True", "SecretSynced", "secret synced"))
    secret = place.get("secret", "hf-token") or {}
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["controller"]) == ("ExternalSecret", True)
    assert secret["metadata"]["labels"]["reconcile.external-secrets.io/managed"] == "true"
    assert "secret created" in place.events()


def test_a_changed_value_comes_when_it_is_asked_for(place: Place) -> None:
    place.put(token="hf_one")
    place.apply(external_secret(place))
    until(lambda: place.values() == {"token": "hf_one"})
    place.put(token="hf_two")
    place.force()
    until(lambda: place.values() == {"token": "hf_two"})


def test_a_changed_value_comes_by_itself_after_the_refresh_interval(place: Place) -> None:
    place.put(token="hf_one")
    wanted = external_secret(place)
    wanted["spec"]["refreshInterval"] = "1s"
    place.apply(wanted)
    until(lambda: place.values() == {"token": "hf_one"})
    place.put(token="hf_two")
    until(lambda: place.values() == {"token": "hf_two"})


def test_a_secret_that_was_changed_or_deleted_by_hand_is_made_again(place: Place) -> None:
    place.put(token="hf_one")
    place.apply(external_secret(place))
    until(lambda: place.values() == {"token": "hf_one"})
    place.kubectl("patch", "secret", "hf-token", "-p", '{"stringData": {"token": "other"}}')
    until(lambda: place.values() == {"token": "hf_one"})
    place.kubectl("delete", "secret", "hf-token")
    until(lambda: place.values() == {"token": "hf_one"})


def test_what_vault_lacks_is_said_and_is_made_when_it_comes(place: Place) -> None:
    place.apply(external_secret(place))
    message = "could not get secret data from provider"
    until(lambda: place.condition() == ("False", "SecretSyncedError", message))
    until(lambda: f"(key: {place.path}), err: Secret does not exist" in place.events())
    place.put(other="x")
    place.force()
    until(lambda: 'cannot find secret data for key: "token"' in place.events())
    place.put(token="hf_late")
    until(lambda: place.values() == {"token": "hf_late"})


def test_a_sealed_vault_makes_the_store_unready_and_leaves_the_secret(place: Place) -> None:
    place.put(token="hf_one")
    place.apply(external_secret(place))
    until(lambda: place.values() == {"token": "hf_one"})
    place.keys.seal()
    place.force()
    until(lambda: place.condition()[0] == "False")
    until(lambda: store_condition(place) == ("False", "InvalidProviderConfig"))
    assert place.values() == {"token": "hf_one"}
    place.force()
    until(lambda: 'ClusterSecretStore "vault-secret-store" is not ready' in place.events())
    place.keys.unseal()
    until(lambda: store_condition(place) == ("True", "Valid"))
    place.force()
    until(lambda: place.condition()[0] == "True")


def test_deleting_it_takes_its_secret_with_it(place: Place) -> None:
    place.put(token="hf_one")
    place.apply(external_secret(place))
    until(lambda: place.values() == {"token": "hf_one"})
    place.kubectl("delete", "externalsecret", "hf-token-external-secret")
    until(lambda: place.values() is None)


def test_an_orphaned_secret_outlives_it_without_ever_being_away(place: Place) -> None:
    place.put(token="hf_one")
    place.apply(external_secret(place))
    until(lambda: place.values() == {"token": "hf_one"})
    first = (place.get("secret", "hf-token") or {})["metadata"]["uid"]
    place.apply(external_secret(place, creationPolicy="Orphan"))
    until(lambda: owners(place) == [])
    place.kubectl("delete", "externalsecret", "hf-token-external-secret")
    left = place.get("secret", "hf-token") or {}
    assert (left["metadata"]["uid"], place.values()) == (first, {"token": "hf_one"})


def test_deleting_it_with_orphans_leaves_the_secret(place: Place) -> None:
    place.put(token="hf_one")
    place.apply(external_secret(place))
    until(lambda: place.values() == {"token": "hf_one"})
    place.kubectl("delete", "externalsecret", "--all", "--cascade=orphan")
    until(lambda: owners(place) == [])
    assert place.values() == {"token": "hf_one"}


def test_a_plain_secret_is_taken_over(place: Place) -> None:
    place.kubectl("create", "secret", "generic", "hf-token", "--from-literal=token=plain")
    first = (place.get("secret", "hf-token") or {})["metadata"]["uid"]
    place.put(token="hf_one")
    place.apply(external_secret(place))
    until(lambda: place.values() == {"token": "hf_one"})
    until(lambda: owners(place) == ["hf-token-external-secret"])
    assert (place.get("secret", "hf-token") or {})["metadata"]["uid"] == first


def test_the_secret_of_another_one_is_refused(place: Place) -> None:
    place.put(token="hf_one")
    place.apply(external_secret(place))
    until(lambda: place.values() == {"token": "hf_one"})
    other = external_secret(place)
    other["metadata"]["name"] = "other"
    place.apply(other)
    message = "target is owned by another ExternalSecret"
    until(lambda: place.condition("other") == ("False", "SecretSyncedError", message))
    assert owners(place) == ["hf-token-external-secret"]


def test_merging_keeps_the_other_keys_of_a_secret(place: Place) -> None:
    place.put(token="hf_one")
    place.apply(external_secret(place, creationPolicy="Merge"))
    until(lambda: place.condition()[1] == "SecretMissing")
    place.kubectl("create", "secret", "generic", "hf-token", "--from-literal=mine=kept")
    place.force()
    until(lambda: place.values() == {"mine": "kept", "token": "hf_one"})
    assert owners(place) == []


def test_the_secret_goes_with_the_value_where_the_policy_says_so(place: Place) -> None:
    place.put(token="hf_one")
    place.apply(external_secret(place, deletionPolicy="Delete"))
    until(lambda: place.values() == {"token": "hf_one"})
    place.keys.root().secrets.kv.v2.delete_metadata_and_all_versions(place.path)
    place.force()
    until(lambda: place.values() is None)
    until(lambda: place.condition()[1] == "SecretDeleted")


@pytest.mark.parametrize("way", ["appRole", "kubernetes"])
def test_a_store_logs_in_as_it_is_told(place: Place, way: str) -> None:
    place.put(token="hf_one")
    wanted = secret_store.store(place.keys.address, f"by-{way.lower()}")
    wanted["spec"]["provider"]["vault"]["auth"] = {way: login(place, way)}
    external = external_secret(place)
    external["spec"]["secretStoreRef"]["name"] = wanted["metadata"]["name"]
    place.apply(wanted, external)
    until(lambda: place.values() == {"token": "hf_one"})
    place.kubectl("delete", "clustersecretstore", wanted["metadata"]["name"])


def test_a_store_with_a_wrong_credential_says_so(place: Place) -> None:
    place.kubectl("create", "secret", "generic", "bad", "--from-literal=token=hvs.wrong")
    wanted = secret_store.store(place.keys.address, "bad")
    reference = {"name": "bad", "namespace": place.namespace, "key": "token"}
    wanted["spec"]["provider"]["vault"]["auth"] = {"tokenSecretRef": reference}
    place.apply(wanted)
    until(lambda: store_condition(place, "bad") == ("False", "InvalidProviderConfig"))
    place.kubectl("delete", "clustersecretstore", "bad")


def test_a_store_trusts_the_authority_it_is_given_and_no_other(
    place: Place, tls_vault_server: Keys
) -> None:
    engine = tls_vault_server.root().secrets.kv.v2
    engine.create_or_update_secret(place.path, {"token": "hf_tls"})
    token = f"--from-literal=token={tls_vault_server.reader}"
    place.kubectl("create", "secret", "generic", "tls-token", token)
    wanted = secret_store.store(tls_vault_server.address, "tls")
    vault = wanted["spec"]["provider"]["vault"]
    vault["auth"]["tokenSecretRef"] |= {"name": "tls-token", "namespace": place.namespace}
    place.apply(wanted)
    until(lambda: store_condition(place, "tls") == ("False", "InvalidProviderConfig"))
    authority = Path(tls_vault_server.authority).read_bytes()
    vault["caBundle"] = base64.b64encode(authority).decode()
    external = external_secret(place)
    external["spec"]["secretStoreRef"]["name"] = "tls"
    place.apply(wanted, external)
    until(lambda: place.values() == {"token": "hf_tls"})
    place.kubectl("delete", "clustersecretstore", "tls")


def test_the_older_version_of_the_api_is_served_too(place: Place) -> None:
    place.put(token="hf_one")
    place.apply(external_secret(place) | {"apiVersion": "external-secrets.io/v1beta1"})
    until(lambda: place.values() == {"token": "hf_one"})


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("data", "no list"),
        ("data", [{"secretKey": "token"}]),
        ("target", {"creationPolicy": "Sometimes"}),
        ("secretStoreRef", {"kind": "Store", "name": "a"}),
    ],
)
def test_a_wrong_shape_is_refused(place: Place, field: str, wrong: object) -> None:
    made = external_secret(place)
    made["spec"][field] = wrong
    assert f"spec.{field}" in place.apply(made, code=1)


def owners(place: Place) -> list[str]:
    """Return who owns the Secret."""
    secret = place.get("secret", "hf-token") or {"metadata": {}}
    return [owner["name"] for owner in secret["metadata"].get("ownerReferences") or []]


def store_condition(place: Place, name: str = secret_store.STORE) -> tuple[str, str]:
    """Return status and reason of a store's condition."""
    found = place.get("clustersecretstore", name) or {}
    for one in (found.get("status") or {}).get("conditions") or []:
        return one["status"], one["reason"]
    return "", ""


def login(place: Place, way: str) -> Object:
    """Return how a store logs in, with what it takes put into the cluster."""
    if way == "kubernetes":
        account = {"name": furnishing.READER, "namespace": secret_store.NAMESPACE}
        return {"mountPath": "kubernetes", "role": furnishing.READER, "serviceAccountRef": account}
    role = place.keys.root().auth.approle
    made = role.generate_secret_id(furnishing.READER)["data"]["secret_id"]
    place.kubectl("create", "secret", "generic", "approle", f"--from-literal=secret-id={made}")
    return {
        "path": "approle",
        "roleId": role.read_role_id(furnishing.READER)["data"]["role_id"],
        "secretRef": {"name": "approle", "namespace": place.namespace, "key": "secret-id"},
    }
