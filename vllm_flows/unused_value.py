"""A key that Vault holds and the namespace does not use: a run must not take it for none."""

from __future__ import annotations

from vllm_flows.credentials import PLACES, Place
from vllm_flows.errors import ConfigurationError, VllmFlowsError
from vllm_flows.keeping import Keeper
from vllm_flows.kept_secret import Kept
from vllm_flows.secret_mode import Maker, StoreState

_OPEN = "what is installed without one is open to all who reach it"
_WITHOUT = "VLLM_SECRETS=kubernetes goes on without"


def note_of_unused(keeper: Keeper, place: Place) -> str:
    """Say that Vault holds a value which cannot be used, or that nobody knows; "" for neither.

    Where nothing in this cluster brings Vault's values, that is all. Else raises ConfigurationError
    when it holds one that the namespace does not use; and where Vault is used here and cannot be
    asked, what keeps from it.
    """
    kept = keeper.look(place)
    if not is_wanting(keeper, kept):
        return ""
    used = _is_used(keeper)
    if not kept.in_vault and not used:
        return _not_known(kept, kept.store.told()) if _leaves_open(kept) else ""
    try:
        value = keeper.held(kept)
    except VllmFlowsError as error:
        if used and not _brings_none(kept):
            raise _not_asked(kept, error) from None
        return _not_known(kept, error.what)
    if not value:
        return ""
    if kept.store.state is StoreState.NOT_SERVED and _brings_none(kept):
        return _told(not_used(kept, keeper.cluster.namespace))
    raise not_used(kept, keeper.cluster.namespace)


def is_wanting(keeper: Keeper, kept: Kept) -> bool:
    """Say whether the namespace has no such secret, and Vault may be where one is."""
    return kept.maker is Maker.NOBODY and keeper.settings.secrets != "kubernetes"


def may_be_in_vault(keeper: Keeper, kept: Kept) -> bool:
    """Say whether Vault is to be asked of a secret that the namespace has not."""
    return is_wanting(keeper, kept) and _is_used(keeper)


def not_used(kept: Kept, namespace: str) -> ConfigurationError:
    """Return the error that Vault holds one which the namespace does not use."""
    served = kept.store.state is not StoreState.NOT_SERVED
    using = (
        f"vllm-flows move-secrets --to vault   (then it is used; {_WITHOUT})"
        if served
        else f"VLLM_SECRETS=kubernetes vllm-flows {kept.place.verb}   (a plain one; {_WITHOUT})"
    )
    return ConfigurationError(
        f"{kept.in_vault_at} holds an {kept.place.what}, and namespace {namespace} does not use it",
        why=_OPEN if kept.in_vault and served else f"{kept.store.told()}; {_OPEN}",
        next_command=using,
    )


def _is_used(keeper: Keeper) -> bool:
    """Say whether somebody set Vault up for this namespace, and not only for the cluster.

    Of Vault's own variables only the address says so: the others may be there for others.
    """
    settings = keeper.settings
    of_vault = [name for name in settings.model_fields_set if name.startswith("vault_")]
    named = any(getattr(settings, name) for name in ("vault_address", *of_vault))
    named = named or settings.secrets == "vault"
    return named or any(keeper.look(one).maker is Maker.SYNCED for one in PLACES)


def _brings_none(kept: Kept) -> bool:
    """Say whether nothing is there to bring Vault's values, and nobody insists on these."""
    state = kept.store.state
    if kept.settings.secrets == "vault":
        return False
    return state is StoreState.NOT_SERVED or (state is StoreState.ABSENT and not _is_named(kept))


def _is_named(kept: Kept) -> bool:
    return "secret_store" in kept.settings.model_fields_set


def _leaves_open(kept: Kept) -> bool:
    """Say whether a store that cannot be used leaves open whether Vault is used here."""
    if kept.store.state is StoreState.ABSENT:
        return _is_named(kept)
    return kept.store.state in {StoreState.NOT_READY, StoreState.UNKNOWN}


def _told(error: VllmFlowsError) -> str:
    """Return an error as a note of the plan."""
    return f"{error.what}: {error.why}; next: {error.next_command}"


def _not_known(kept: Kept, why: str) -> str:
    return (
        f"whether Vault holds an {kept.place.what} is not known ({why}); {_OPEN}. {_WITHOUT} and "
        "says no more of it"
    )


def _not_asked(kept: Kept, error: VllmFlowsError) -> VllmFlowsError:
    """Return the error as one of a run that stops for it."""
    why = f"{error.why}; " if error.why else ""
    return type(error)(
        f"{error.what}: whether {kept.in_vault_at} holds an {kept.place.what} is not known",
        why=f"{why}{_OPEN}",
        next_command=f"{error.next_command}, or\n{_WITHOUT}",
    )
