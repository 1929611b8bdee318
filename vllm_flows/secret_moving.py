"""Turning one way of keeping secrets into the other: what there is to do, and doing it.

Whoever is killed half-way loses nothing: the new place holds the value before the old one goes, and
the Secret that engines refer to stays all the while. Beginning again goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from vllm_flows import credentials, external_secrets
from vllm_flows.another_value import is_same, raise_for_variable
from vllm_flows.credentials import PLACES, Credential
from vllm_flows.errors import ConfigurationError
from vllm_flows.external_secrets import LEFT_METADATA
from vllm_flows.keeping import Keeper
from vllm_flows.kept_secret import Kept
from vllm_flows.secret_mode import Choice, Maker, Mode


class Step(StrEnum):
    """What is to be done with one secret."""

    NONE = "none"
    STORE = "store in vault"
    """The value goes to Vault, and an ExternalSecret takes the Secret over."""
    ATTACH = "attach"
    """Vault has a value, and the namespace none: an ExternalSecret makes the Secret."""
    RELEASE = "release"
    """The ExternalSecret goes, and leaves the Secret."""
    FINISH = "finish"
    """It went, and its marks are still on the Secret."""


@dataclass(frozen=True)
class Move:
    """One secret, and what is to be done with it."""

    kept: Kept
    step: Step
    text: str


def moves(keeper: Keeper, to: Mode) -> list[Move]:
    """Look at both secrets and return what there is to do, each as a sentence.

    Raises what stands against it: ConfigurationError, SecretStoreError, VaultError.
    """
    wanted = keeper.settings.secrets
    if wanted not in {"auto", to}:
        raise ConfigurationError(
            f"VLLM_SECRETS is {wanted}, and would move them back",
            next_command=f"set VLLM_SECRETS={to} (or unset it), also in .env, then run this again",
        )
    found = [keeper.look(place) for place in PLACES]
    for kept in found:
        if kept.maker is Maker.OTHER:
            raise credentials.not_ours(kept.owner, kept.place, keeper.cluster)
    return [
        _to_vault(keeper, one) if to is Mode.VAULT else _to_secret(keeper, one) for one in found
    ]


def _to_vault(keeper: Keeper, kept: Kept) -> Move:
    place, where = kept.place, kept.vault_place
    if kept.maker is Maker.SYNCED:
        return Move(kept, Step.NONE, f"Secret {place.secret} is made from Vault already")
    keeper.check(kept)
    held = keeper.held(kept)
    if kept.value is None:
        if held is None:
            return Move(kept, Step.NONE, f"no {place.what} is stored, here or in Vault")
        raise_for_variable(kept, held, f"Vault's {where}")
        text = f"ExternalSecret {place.external} makes Secret {place.secret} from Vault's {where}"
        return Move(kept, Step.ATTACH, text)
    if held is not None and not is_same(held, kept.value):
        raise _differ(kept, where)
    raise_for_variable(kept, kept.value, f"Secret {place.secret}")
    text = f"the {place.what} goes to Vault's {where}; ExternalSecret {place.external} then makes "
    return Move(kept, Step.STORE, f"{text}Secret {place.secret} from it")


def _to_secret(keeper: Keeper, kept: Kept) -> Move:
    place = kept.place
    if kept.maker is Maker.SYNCED:
        kept.operator.raise_if_refused(place.external, {"get", "delete"})
        if kept.value is None:
            raise kept.operator.not_synced(kept.external or {"metadata": {"name": place.external}})
        text = f"ExternalSecret {place.external} is deleted, and Secret {place.secret} stays"
        return Move(kept, Step.RELEASE, f"{text} as a plain one")
    if kept.secret is not None and external_secrets.is_left(kept.secret):
        return Move(kept, Step.FINISH, f"Secret {place.secret} becomes a plain one")
    if kept.secret is not None:
        return Move(kept, Step.NONE, f"Secret {place.secret} is a plain one already")
    return Move(
        kept, Step.NONE, f"no {place.what} is stored in namespace {keeper.cluster.namespace}"
    )


def _differ(kept: Kept, where: str) -> ConfigurationError:
    place, verb = kept.place, kept.place.verb
    get, mount, path = verb.replace("set-", "get-"), *where.split("/", 1)
    return ConfigurationError(
        f"Vault's {where} and Secret {place.secret} hold different values",
        why="which of them counts is yours to say, and the other one's users have to know",
        next_command=f"vllm-flows {get} | VLLM_SECRETS=vault vllm-flows {verb} --stdin --yes   "
        f"(the Secret's counts), or\nvault kv get -mount={mount} -field={place.key} {path} | "
        f"VLLM_SECRETS=vault vllm-flows {verb} --stdin   (Vault's counts)",
    )


def perform(keeper: Keeper, steps: Sequence[Move]) -> None:
    """Do what `moves` returned, one secret after the other; says what it did."""
    for one in steps:
        _perform(keeper, one)
    made_plain = any(one.step in {Step.RELEASE, Step.FINISH} for one in steps)
    if made_plain and keeper.settings.secrets == "auto":
        keeper.say("VLLM_SECRETS=kubernetes, also in .env, keeps plain what is set anew later")


def _perform(keeper: Keeper, move: Move) -> None:
    kept, place = move.kept, move.kept.place
    match move.step:
        case Step.STORE:
            credential = credentials.stored(keeper.cluster, place)
            keeper.bring(_in_vault(kept), credential)
            keeper.say(f"Secret {place.secret} is made from Vault now")
        case Step.ATTACH:
            keeper.attach(_in_vault(kept), keeper.held(kept) or "")
            keeper.say(f"Secret {place.secret} is made from Vault now")
        case Step.RELEASE:
            kept.operator.remove(place.external, keeper.say, keeper.clock, alone=True)
            _finish(keeper, kept)
        case Step.FINISH:
            _finish(keeper, kept)
        case Step.NONE:
            keeper.say(move.text)


def _in_vault(kept: Kept) -> Kept:
    return replace(kept, choice=Choice(Mode.VAULT, "move-secrets"))


def _finish(keeper: Keeper, kept: Kept) -> None:
    """Make the Secret that was left one of ours, with the value that it holds."""
    place = kept.place
    found = credentials.stored(keeper.cluster, place)
    again = Credential(found.value, found.source, stored=False)
    credentials.store(keeper.cluster, place, again)
    keeper.cluster.merge("Secret", place.secret, {"metadata": LEFT_METADATA})
    keeper.say(
        f"Secret {place.secret} is a plain one now; Vault was not asked, and keeps what it has"
    )
