"""The secrets that stand in a kubeconfig: collected before anybody can quote the file."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from vllm_flows.addresses import passwords_in
from vllm_flows.exec_plugin import collect_key
from vllm_flows.redaction import collect

_SECRET = {"token", "password", "id-token", "refresh-token", "access-token", "client-secret"}
_ADDRESS = {"server", "proxy-url"}
_NAME = re.compile(
    r"(token|secret|password|passwd|credential|(api|access|private)[-_]?key)$", re.IGNORECASE
)


def collect_kubeconfig(document: object) -> None:
    """Collect tokens, passwords and private keys of all users, and what their plugins are given."""
    for key, value in _texts(document):
        if key in _SECRET:
            collect(value)
        elif key in _ADDRESS:
            collect(*passwords_in(value))
        elif key == "client-key-data":
            _collect_key(value)
        elif key == "tokenFile":
            _collect_file(value)
    for plugin in _plugins(document):
        collect(*_given(plugin))


def _texts(document: object) -> Iterator[tuple[str, str]]:
    """Yield every text that has a key, at whatever depth."""
    for key, value in _children(document):
        if isinstance(value, str):
            yield key, value
        else:
            yield from _texts(value)


def _children(document: object) -> list[tuple[str, object]]:
    if isinstance(document, Mapping):
        return [(str(key), value) for key, value in document.items()]
    return [("", value) for value in document] if isinstance(document, list) else []


def _plugins(document: object) -> Iterator[Mapping[str, Any]]:
    users = document.get("users") if isinstance(document, Mapping) else None
    for item in users if isinstance(users, list) else []:
        user = item.get("user") if isinstance(item, Mapping) else None
        plugin = user.get("exec") if isinstance(user, Mapping) else None
        if isinstance(plugin, Mapping):
            yield plugin


def _given(plugin: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a plugin is given under a name that tells of a secret."""
    for one in plugin.get("env") or ():
        if isinstance(one, Mapping) and _NAME.search(str(one.get("name", ""))):
            yield str(one.get("value", ""))
    words = [*map(str, plugin.get("args") or ()), ""]
    for word, following in pairwise(words):
        option, given, value = word.partition("=")
        if option.startswith("-") and _NAME.search(option):
            yield value if given else following


def _collect_key(data: str) -> None:
    collect(data)
    try:
        collect_key(b64decode(data).decode())
    except (Error, ValueError):  # the package says what is wrong with it
        return


def _collect_file(name: str) -> None:
    try:
        collect(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # likewise
        return
