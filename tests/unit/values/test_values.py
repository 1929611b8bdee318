from __future__ import annotations

import json
from typing import Any

import pytest

from vllm_flows.models import Model
from vllm_flows.observed import DIGEST_ANNOTATION, REVISION_ANNOTATION
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, at_new_commit, release_values

SHA = "c" * 40


def rendered(*models: Model, api_key: str | None = None, **settings: object) -> dict[str, Any]:
    pinned = [PinnedModel(model, SHA) for model in models]
    return release_values(pinned, load_settings(**settings), api_key)


def entry_of(model: Model, **settings: object) -> dict[str, Any]:
    (entry,) = rendered(model, **settings)["servingEngineSpec"]["modelSpec"]
    assert isinstance(entry, dict)
    return entry


QWEN = Model(name="qwen", modelURL="Qwen/Qwen3-4B")


def test_the_api_id_is_the_name_and_the_commit_is_pinned():
    arguments = entry_of(QWEN)["vllmConfig"]["extraArgs"]
    assert arguments == ["--served-model-name", "qwen", "--revision", SHA]


def test_the_persons_own_arguments_come_last():
    model = Model(name="q", modelURL="o/q", vllmConfig={"extraArgs": ["--enforce-eager"]})
    assert entry_of(model)["vllmConfig"]["extraArgs"][-1] == "--enforce-eager"


def test_pods_carry_the_commit_and_the_digest_of_their_configuration():
    annotations = entry_of(QWEN)["podAnnotations"]
    assert annotations[REVISION_ANNOTATION] == SHA
    assert len(annotations[DIGEST_ANNOTATION]) == 16


def test_the_weights_are_mounted_read_only_and_the_engine_is_offline():
    entry = entry_of(QWEN)
    assert entry["extraVolumeMounts"][0]["readOnly"] is True
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in entry["env"]
    claim = entry["extraVolumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim == "weights-qwen"


def test_the_chart_makes_no_claim_of_its_own():
    assert "pvcStorage" not in entry_of(QWEN)


def test_prefix_caching_stays_on_unless_models_yaml_says_otherwise():
    assert entry_of(QWEN)["vllmConfig"]["enablePrefixCaching"] is True
    off = Model(name="q", modelURL="o/q", vllmConfig={"enablePrefixCaching": False})
    assert entry_of(off)["vllmConfig"]["enablePrefixCaching"] is False


def digest(model: Model, **settings: object) -> str:
    return str(entry_of(model, **settings)["podAnnotations"][DIGEST_ANNOTATION])


def test_scaling_changes_no_digest():
    assert digest(QWEN) == digest(QWEN.model_copy(update={"replica_count": 5}))


@pytest.mark.parametrize(
    "change", [{"model_tag": "v0.32.0"}, {"model_image": "mine/vllm"}, {"runtime_class": ""}]
)
def test_whatever_changes_the_pod_changes_the_digest(change: dict[str, object]):
    assert digest(QWEN) != digest(QWEN, **change)


def test_one_models_digest_does_not_depend_on_the_others():
    alone = rendered(QWEN)["servingEngineSpec"]["modelSpec"][0]
    other = Model(name="a", modelURL="o/a")
    together = rendered(other, QWEN)["servingEngineSpec"]["modelSpec"][1]
    assert alone == together


def test_the_order_in_models_yaml_does_not_matter():
    other = Model(name="a", modelURL="o/a")
    assert rendered(other, QWEN) == rendered(QWEN, other)


def test_the_api_key_is_a_reference_and_no_secret_is_in_the_values():
    values = rendered(QWEN, api_key="v1")
    reference = values["servingEngineSpec"]["vllmApiKey"]
    assert reference == {"secretName": "vllm-api-key", "secretKey": "api-key"}


def test_a_new_api_key_restarts_engines_and_router():
    old, new = (rendered(QWEN, api_key=version) for version in ("v1", "v2"))
    for values in ("servingEngineSpec", "routerSpec"):
        assert old[values] != new[values]
    digests = {
        values["servingEngineSpec"]["modelSpec"][0]["podAnnotations"][DIGEST_ANNOTATION]
        for values in (old, new)
    }
    assert len(digests) == 2


def test_a_key_whose_changes_cannot_be_seen_is_used_all_the_same():
    values = rendered(QWEN, api_key="")
    assert "vllmApiKey" in values["servingEngineSpec"]
    assert values["routerSpec"]["podAnnotations"] == {}


def test_settings_with_secrets_leave_no_trace_in_the_values(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_HF_TOKEN", "hf_canary")
    monkeypatch.setenv("VLLM_API_KEY", "key-canary")
    assert "canary" not in json.dumps(rendered(QWEN, api_key="v1"))


def test_without_an_api_key_the_chart_is_told_nothing_of_one():
    assert "vllmApiKey" not in rendered(QWEN)["servingEngineSpec"]


def test_the_router_gets_what_the_settings_say():
    router = rendered(QWEN, router_replicas=3, router_limit_memory="1Gi")["routerSpec"]
    assert router["replicaCount"] == 3
    assert router["resources"]["limits"] == {"memory": "1Gi"}
    assert router["routingLogic"] == "roundrobin"


def test_only_a_moving_tag_is_pulled_every_time():
    assert rendered(QWEN)["servingEngineSpec"]["imagePullPolicy"] == "Always"
    fixed = rendered(QWEN, model_tag="v0.32.0")
    assert fixed["servingEngineSpec"]["imagePullPolicy"] == "IfNotPresent"


def test_a_digest_is_what_engines_and_router_run():
    digest = f"sha256:{'0' * 64}"
    values = rendered(QWEN, model_tag=f"v1@{digest}", router_image=f"mine/router@{digest}")
    entry = values["servingEngineSpec"]["modelSpec"][0]
    assert (entry["repository"], entry["tag"]) == ("vllm/vllm-openai", f"v1@{digest}")
    assert values["servingEngineSpec"]["imagePullPolicy"] == "IfNotPresent"
    router = values["routerSpec"]
    assert (router["repository"], router["tag"]) == ("mine/router@sha256", "0" * 64)
    assert router["imagePullPolicy"] == "IfNotPresent"


def test_without_a_setting_the_routers_image_is_the_charts():
    assert not {"repository", "tag", "imagePullPolicy"} & rendered(QWEN)["routerSpec"].keys()


def test_a_longer_timeout_restarts_nothing():
    assert digest(QWEN, helm_timeout="10m") == digest(QWEN, helm_timeout="2h")


def test_values_survive_helm_which_keeps_them_as_json():
    values = rendered(QWEN, api_key="v1")
    assert json.loads(json.dumps(values)) == values


@pytest.mark.parametrize("key", [None, "mark"])
@pytest.mark.parametrize("settings", [{}, {"runtime_class": "", "model_tag": "v1"}])
def test_one_model_at_another_commit_is_what_the_same_models_and_settings_make_of_it(
    key: str | None, settings: dict[str, object]
):
    other = Model(name="other", modelURL="o/other")
    shared = load_settings(**settings)

    def made(commit: str) -> dict[str, Any]:
        pinned = [PinnedModel(QWEN, commit), PinnedModel(other, SHA)]
        return release_values(pinned, shared, key, "0.1.8")

    assert at_new_commit(made(SHA), "qwen", "d" * 40, "0.1.8") == made("d" * 40)
