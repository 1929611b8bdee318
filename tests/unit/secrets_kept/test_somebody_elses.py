"""What somebody else makes is left alone, and who it is decides what to do next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.secrets_kept.conftest import World
from tests.unit.secrets_kept.stored import OURS, given, plain
from vllm_flows.credentials import API_KEY, Credential
from vllm_flows.errors import ConfigurationError, SecretStoreError
from vllm_flows.keeping import Keeper
from vllm_flows.secret_mode import Mode
from vllm_flows.secret_moving import moves


def foreign(world: World, keeper: Keeper) -> None:
    """Let somebody else's ExternalSecret of our name make the Secret."""
    keeper.store(API_KEY, given("theirs"))
    world.items["ExternalSecret", API_KEY.external]["metadata"]["labels"] = {}


@pytest.mark.parametrize("make", [lambda world, _: plain(world, "theirs", {}), foreign])
def test_what_somebody_else_makes_is_left_alone_and_said(
    world: World, keeper: Keeper, make: Callable[[World, Keeper], None]
):
    make(world, keeper)
    before = list(world.writes)
    assert not keeper.store(API_KEY, given("theirs"))
    for act in (
        lambda: keeper.store(API_KEY, given()),
        lambda: keeper.remove(API_KEY),
        lambda: moves(keeper, Mode.VAULT),
        lambda: moves(keeper, Mode.KUBERNETES),
    ):
        with pytest.raises(ConfigurationError, match="was not made by vllm-flows"):
            act()
    assert world.writes == before


def by_another_external_secret(world: World, keeper: Keeper) -> None:
    keeper.store(API_KEY, given("theirs"))
    del world.items["ExternalSecret", API_KEY.external]
    (owner,) = world.items["Secret", API_KEY.secret]["metadata"]["ownerReferences"]
    owner["name"] = "of-the-team"


def of_helm(world: World, _: Keeper) -> None:
    plain(world, "theirs", {"app.kubernetes.io/managed-by": "Helm"})


@pytest.mark.parametrize(
    ("make", "look", "item"),
    [
        (of_helm, "delete secret vllm-api-key", ""),
        (foreign, "describe externalsecret ", "externalsecret vllm-api-key-external-secret"),
        (by_another_external_secret, "describe externalsecret ", "externalsecret of-the-team"),
    ],
)
def test_the_next_command_fits_whoever_makes_it(
    world: World, keeper: Keeper, make: Callable[[World, Keeper], None], look: str, item: str
):
    make(world, keeper)
    with pytest.raises(ConfigurationError) as other_value:
        keeper.store(API_KEY, given())
    assert f"kubectl -n vllm {look}" in other_value.value.next_command
    assert item in other_value.value.next_command
    assert "unset VLLM_API_KEY" in other_value.value.next_command
    with pytest.raises(ConfigurationError) as typed:
        keeper.store(API_KEY, Credential("sk-new", "your input", stored=False))
    assert "unset" not in typed.value.next_command
    with pytest.raises(ConfigurationError) as removed:
        keeper.remove(API_KEY)
    deleted = f"kubectl -n vllm delete {item or 'secret vllm-api-key'}"
    assert deleted in removed.value.next_command


def test_a_secret_that_somebody_elses_external_secret_has_yet_to_make_is_said_to_be_that(
    world: World, keeper: Keeper
):
    foreign(world, keeper)
    del world.items["Secret", API_KEY.secret]
    with pytest.raises(SecretStoreError, match="has made no Secret yet"):
        keeper.store(API_KEY, given())


def test_what_a_person_made_may_be_the_only_copy_and_becomes_ours_by_a_label(
    world: World, keeper: Keeper
):
    plain(world, "theirs", {})
    for act in (
        lambda: keeper.store(API_KEY, given()),
        lambda: keeper.remove(API_KEY),
        lambda: moves(keeper, Mode.VAULT),
    ):
        with pytest.raises(ConfigurationError) as caught:
            act()
        assert caught.value.why == "it carries no label of its maker"
        label = "label secret vllm-api-key app.kubernetes.io/managed-by=vllm-flows   ("
        assert caught.value.next_command.startswith(f"kubectl -n vllm {label}")
        assert "delete" not in caught.value.next_command
    world.items["Secret", API_KEY.secret]["metadata"]["labels"] = dict(OURS)
    assert moves(keeper, Mode.VAULT)
    assert keeper.store(API_KEY, given())


def test_what_another_program_made_is_saved_before_it_is_deleted(world: World, keeper: Keeper):
    of_helm(world, keeper)
    with pytest.raises(ConfigurationError, match="its owner would make it again: Helm") as caught:
        moves(keeper, Mode.VAULT)
    assert caught.value.next_command.startswith("vllm-flows get-api-key > FILE, then remove it")
