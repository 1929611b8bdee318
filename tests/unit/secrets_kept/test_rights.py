"""Who may not do all of it to ExternalSecrets is told before Vault is written."""

from __future__ import annotations

import pytest

from tests.unit.secrets_kept.conftest import World, wanting
from tests.unit.secrets_kept.stored import PATH, given, plain
from vllm_flows import syncing
from vllm_flows.cluster import Cluster
from vllm_flows.credentials import API_KEY
from vllm_flows.errors import ClusterUnavailableError, NoRightError
from vllm_flows.keeping import Keeper
from vllm_flows.rights import Right
from vllm_flows.secret_mode import Mode
from vllm_flows.secret_moving import moves
from vllm_flows.syncing import Operator


@pytest.mark.parametrize("verb", ["get", "create", "patch"])
def test_a_key_is_not_written_to_vault_by_who_cannot_bring_it_to_the_secret(
    world: World, keeper: Keeper, verb: str
):
    world.denied = {verb}
    with pytest.raises(NoRightError, match="nothing was changed") as caught:
        keeper.store(API_KEY, given())
    assert f"may not {verb} externalsecrets in vllm" in caught.value.what
    assert "--serviceaccount=vllm:vllm-flows " in caught.value.next_command
    assert (world.kept, world.writes) == ({}, [])


def test_a_new_key_needs_no_right_to_make_what_is_there(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    world.denied = {"create", "delete"}
    assert keeper.store(API_KEY, given("sk-other"), anew=True)
    assert world.secret(API_KEY) == "sk-other"


@pytest.mark.parametrize("verb", ["get", "delete"])
def test_a_key_is_not_taken_from_vault_by_who_cannot_delete_the_rest(
    world: World, keeper: Keeper, verb: str
):
    keeper.store(API_KEY, given())
    world.denied = {verb}
    for act in (keeper.removable, keeper.remove):
        with pytest.raises(NoRightError, match=f"may not {verb} externalsecrets"):
            act(API_KEY)
    assert world.kept == {PATH: {"api-key": "sk-new"}}


def test_a_move_to_vault_is_refused_before_anybody_is_asked(world: World, keeper: Keeper):
    plain(world)
    world.denied = {"create"}
    with pytest.raises(NoRightError):
        moves(keeper, Mode.VAULT)


def test_a_move_to_plain_secrets_is_refused_to_who_cannot_delete_the_external_secret(
    world: World, keeper: Keeper
):
    keeper.store(API_KEY, given())
    world.denied = {"delete"}
    with pytest.raises(NoRightError, match="may not delete externalsecrets"):
        moves(keeper, Mode.KUBERNETES)


def test_plain_secrets_need_no_right_to_external_secrets(world: World, keeper: Keeper):
    world.denied = {"get", "create", "patch", "delete"}
    plainly = wanting(keeper, secrets="kubernetes")
    assert plainly.store(API_KEY, given())
    plainly.remove(API_KEY)
    assert world.secret(API_KEY) is None


def test_an_api_that_does_not_tell_stands_against_nothing(monkeypatch: pytest.MonkeyPatch):
    asked: list[Right] = []

    def silent(_: Cluster, rights: list[Right]) -> list[Right]:
        asked.extend(rights)
        raise ClusterUnavailableError("no answer")

    monkeypatch.setattr(syncing, "missing_rights", silent)
    nowhere: Cluster = Cluster("vllm", "", None)  # type: ignore[arg-type]  # nothing is asked of it
    Operator(nowhere, "v1").raise_if_refused(API_KEY.external, {"get", "create"})
    assert [(one.verb, one.name) for one in asked] == [("create", ""), ("get", API_KEY.external)]
