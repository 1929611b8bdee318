"""Looking for planted values, in every form in which they may have left."""

from __future__ import annotations

import base64
import gzip
import json
import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

_SIGNS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"


def in_base64(value: str, before: int) -> str:
    """Return what base64 writes of a value behind so many bytes, told bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in bytes(before) + value.encode())
    groups = [(at, bits[at : at + 6]) for at in range(0, len(bits) - 5, 6)]
    return "".join(_SIGNS[int(group, 2)] for at, group in groups if at >= 8 * before)


def shapes(value: str) -> set[bytes]:
    """Return the forms of a value that are looked for."""
    encoded = {in_base64(value, before) for before in range(3)}
    for_addresses = {one.replace("+", "-").replace("/", "_") for one in encoded}
    return {one.encode() for one in {value, quote(value, safe=""), *encoded, *for_addresses}}


class Canaries:
    """Planted values by their names, and where one was found."""

    def __init__(self, planted: dict[str, str]) -> None:
        assert all(len(value) >= 8 for value in planted.values())
        self.planted = planted
        self._shapes = {name: shapes(value) for name, value in planted.items()}
        self.hits: list[str] = []
        self.searched: list[str] = []

    def names_in(self, data: bytes, names: Iterable[str] | None = None) -> list[str]:
        """Return the names of those that are in the data."""
        chosen = self._shapes if names is None else names
        return [one for one in chosen if any(shape in data for shape in self._shapes[one])]

    def search(self, where: str, text: str | bytes, names: Iterable[str] | None = None) -> None:
        """Note those that are in a text."""
        data = text.encode() if isinstance(text, str) else text
        self.searched.append(where)
        for name in self.names_in(data, names):
            at = min(data.find(shape) % len(data) for shape in self._shapes[name] if shape in data)
            self.hits.append(f"{name} in {where}: …{data[max(0, at - 80) : at + 30]!r}…")

    def search_files(self, folder: Path) -> None:
        """Look through all files below a folder, and what Prefect has packed into some of them."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                self.search(str(path), data)
                for number, part in enumerate(unpacked(data)):
                    self.search(f"{path} (result {number})", part)


def unpacked(data: bytes) -> Iterator[bytes]:
    """Yield what a file with a result of Prefect's has in base64, of which its lines are broken."""
    try:
        document = json.loads(data)
    except ValueError:
        return
    if isinstance(document, dict) and isinstance(document.get("result"), str):
        yield base64.b64decode(document["result"])


def of_release(secret: dict[str, Any]) -> bytes:
    """Return what helm keeps of a revision in one of its Secrets."""
    return gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"])))
