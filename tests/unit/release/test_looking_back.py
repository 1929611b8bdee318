"""What keeps a rollback from being tried at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from vllm_flows.errors import ConfigurationError, ReleaseError
from vllm_flows.going_back import Past
from vllm_flows.looking_back import look_back
from vllm_flows.models import Model
from vllm_flows.observed import Release, ReleaseState, WeightsClaim
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values
from vllm_flows.weights_manifests import weights_claim

OLD, NEW = "a" * 40, "b" * 40


@dataclass
class Cluster:
    """A fake: a release of two revisions, one claim with both commits, a Secret or none."""

    state: ReleaseState = ReleaseState.DEPLOYED
    secrets: set[str] = field(default_factory=set)
    key: str | None = None

    def release(self) -> Release:
        return Release(self.state, 2)

    def pasts(self) -> list[Past]:
        model = Model(name="qwen", modelURL="org/q")
        return [
            Past(
                number,
                "0.1.8",
                release_values([PinnedModel(model, commit)], load_settings(), self.key),
                "superseded",
            )
            for number, commit in ((2, NEW), (1, OLD))
        ]

    def find(self, _kind: str) -> list[dict[str, Any]]:
        made = weights_claim(Model(name="qwen", modelURL="org/q"), load_settings())
        note = f'{{"{OLD}": {{"bytes": 1}}}}'
        metadata = {**made["metadata"], "annotations": {"vllm-flows.io/weights": note}}
        return [{**made, "metadata": metadata}]

    def get(self, _kind: str, name: str) -> dict[str, Any] | None:
        return {} if name in self.secrets else None


def look(cluster: Cluster) -> Any:
    session: Any = SimpleNamespace(helm=cluster, cluster=cluster, settings=load_settings())
    return look_back(session, 1)


def test_the_way_is_found_with_the_claims_that_it_takes():
    way, claims = look(Cluster())
    assert way.target.revision == 1
    assert isinstance(claims["qwen"], WeightsClaim)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (ReleaseState.UNMANAGED, "not made by vllm-flows"),
        (ReleaseState.UNINSTALLING, "removal was interrupted"),
    ],
)
def test_a_release_in_no_state_for_it_is_refused(state: ReleaseState, told: str):
    with pytest.raises(ReleaseError, match=told):
        look(Cluster(state))


def test_a_revision_that_wants_an_api_key_is_refused_when_there_is_none():
    with pytest.raises(ConfigurationError, match="wants an API key"):
        look(Cluster(key="version"))
    way, _ = look(Cluster(key="version", secrets={"vllm-api-key"}))
    assert way.target.revision == 1
