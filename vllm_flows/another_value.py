"""A value that Vault holds where another would go: others may use it. Functions of data. Pure."""

from __future__ import annotations

from vllm_flows.credentials import Credential
from vllm_flows.errors import AnotherValueError, ConfigurationError, VllmFlowsError
from vllm_flows.kept_secret import Kept


def is_same(one: str, other: str) -> bool:
    """Say whether two values are the same when they are used, which is without blanks around."""
    return one.strip() == other.strip()


def another_value(kept: Kept, credential: Credential, namespace: str) -> AnotherValueError:
    """Return the error that the value would replace another, with the ways to keep or replace."""
    place, setting = kept.place, f"VLLM_{kept.place.path_setting.upper()}"
    unset = f"unset {place.variable}" if credential.source == place.variable else ""
    own = f"export {setting}=…   (to keep this one at a path of its own), or\n"
    if kept.reads_there:
        return AnotherValueError(
            f"{kept.where} holds another {place.what} than {credential.source}",
            why=f"not only namespace {namespace} may use it: all who do would get this one",
            next_command=f"{unset}   (also in .env, to go on with Vault's), or\n{own}"
            f"vllm-flows {place.verb}   (to replace it for all)",
        )
    use = "vllm-flows move-secrets --to vault   (to use that one here), or\n"
    first = f"{unset}, also in .env, then " if unset else ""
    return AnotherValueError(
        f"{kept.where} holds another {place.what} already",
        why=f"namespace {namespace} does not use it: others may, and all who do would get this one",
        next_command=f"{f'{first}{use}' if kept.secret is None else ''}{own}"
        f"vllm-flows {place.verb} --yes   (to replace it for all)",
    )


def raise_for_variable(kept: Kept, value: str, source: str) -> None:
    """Raise ConfigurationError when the variable names another value than `source` has."""
    place, given = kept.place, kept.given
    if given is None or is_same(given, value):
        return
    raise ConfigurationError(
        f"{place.variable} holds another {place.what} than {source}",
        why="install goes by the variable, and would not go on with the one that is moved",
        next_command=f"unset {place.variable}, also in .env, then run this again",
    )


def not_foreseen(kept: Kept, error: VllmFlowsError) -> str:
    """Say as a note of the plan that Vault cannot be written now, as far as can be seen."""
    then = f"; next: {error.next_command}" if error.next_command else ""
    return (
        f"Secret {kept.place.secret} is to be written by way of Vault, which does not go now "
        f"({error.what}): install would stop there{then}"
    )
