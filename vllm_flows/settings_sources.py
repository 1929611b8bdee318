"""Which settings are set, and from where: flag > environment > .env > default. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from pydantic import SecretStr

from vllm_flows.addresses import without_credentials
from vllm_flows.settings import ENV_FILE, OF_VAULT, PREFIX, Settings, of_vault, settings_in

ENVIRONMENT = "environment"
_FLAGS = {"namespace": "--namespace", "kube_context": "--context", "models_file": "--models"}
_STANDING_IN = "a variable of Vault's"
_ALIKE = 0.8


class SetSetting(NamedTuple):
    """A setting that is not left to its default.

    `text` is its value, "set" for a secret; `source` the flag, `environment` or `.env`.
    """

    variable: str
    text: str
    source: str


def set_settings(
    flags: Mapping[str, object],
    environment: Mapping[str, str | None],
    file: Mapping[str, str | None],
) -> list[SetSetting]:
    """Return what is set, in the order of the documentation, each from where it counts."""
    standing_in = {name: key for key, name in OF_VAULT.items()}
    layers: dict[str, Mapping[str, object]] = {
        _STANDING_IN: {**of_vault(file), **of_vault(environment)},
        ENV_FILE: settings_in(file),
        ENVIRONMENT: settings_in(environment),
        "flag": {name: value for name, value in flags.items() if value is not None},
    }
    found = {
        name: SetSetting(variable(name), _shown(name, value), source)
        for source, values in layers.items()
        for name, value in values.items()
    }
    for name, one in found.items():
        named = {"flag": _FLAGS.get(name, "flag"), _STANDING_IN: standing_in.get(name, "")}
        found[name] = one._replace(source=named.get(one.source, one.source))
    return [found[name] for name in Settings.model_fields if name in found]


def variable(name: str) -> str:
    """Return the variable of a setting."""
    return PREFIX + name.upper()


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Return variables that nearly are settings, and which; vLLM itself has others like them."""
    known = {variable(name) for name in Settings.model_fields}
    bare = [name.removeprefix(PREFIX) for name in known]
    found: dict[str, str] = {}
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in known:
            like = get_close_matches(name.removeprefix(PREFIX), bare, 1, _ALIKE)
            found |= {name: PREFIX + like[0]} if like else {}
    return found


def _shown(name: str, value: object) -> str:
    if SecretStr in getattr(Settings.model_fields[name].annotation, "__args__", ()):
        return "set" if str(value).strip() else "empty"
    return without_credentials(str(value)) or "empty"
