"""The node agent resolves a container's environment as a kubelet does."""

from __future__ import annotations

import pytest

from sandbox.agent.environment import ConfigError, expand, fields_of, resolve

FIELDS = {"metadata.namespace": "team", "metadata.name": "pod-1", "status.podIP": "10.244.0.2"}
SECRETS = {"keys": {"api": "s3cret", "other": "x"}}
CONFIGS = {"settings": {"LEVEL": "debug"}}


def resolved(container: dict[str, object]) -> dict[str, str]:
    return resolve(container, FIELDS, SECRETS.get, CONFIGS.get)


def secret_key(name: str, key: str, **more: object) -> dict[str, object]:
    reference = {"name": name, "key": key, **more}
    return {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": reference}}]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)/b", "1/b"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$A ${A}", "$A ${A}"),
        ("$(A)$(A)", "11"),
    ],
)
def test_references_expand_as_in_kubernetes(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_a_value_may_use_the_variables_before_it() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}]
    assert resolved({"env": env}) == {"A": "1", "B": "12"}


def test_values_come_from_fields_secrets_and_config_maps() -> None:
    env = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}},
        {"name": "LOG", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "LEVEL"}}},
    ]
    assert resolved({"env": env}) == {"IP": "10.244.0.2", "KEY": "s3cret", "LOG": "debug"}


def test_env_wins_over_env_from() -> None:
    container = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}],
        "env": [{"name": "P_LEVEL", "value": "info"}],
    }
    assert resolved(container) == {"P_LEVEL": "info"}


def test_a_missing_secret_is_told_in_the_kubelets_words() -> None:
    with pytest.raises(ConfigError, match=r'^secret "nope" not found$'):
        resolved(secret_key("nope", "api"))


def test_a_missing_key_is_told_in_the_kubelets_words() -> None:
    with pytest.raises(ConfigError, match=r"^couldn't find key nope in Secret team/keys$"):
        resolved(secret_key("keys", "nope"))


def test_a_missing_config_map_of_env_from_is_told() -> None:
    with pytest.raises(ConfigError, match=r'^configmap "nope" not found$'):
        resolved({"envFrom": [{"configMapRef": {"name": "nope"}}]})


def test_what_is_optional_may_be_missing() -> None:
    assert resolved(secret_key("nope", "api", optional=True)) == {}
    assert resolved(secret_key("keys", "nope", optional=True)) == {}
    assert resolved({"envFrom": [{"secretRef": {"name": "nope", "optional": True}}]}) == {}


def test_a_pod_tells_its_downward_fields() -> None:
    pod = {
        "metadata": {"name": "a", "namespace": "b", "uid": "c", "labels": {"model": "qwen"}},
        "spec": {"nodeName": "gpu-node-1"},
    }
    fields = fields_of(pod, "10.244.0.9")
    assert fields["status.podIP"] == "10.244.0.9"
    assert fields["spec.nodeName"] == "gpu-node-1"
    assert fields["metadata.labels['model']"] == "qwen"
