"""Leading a container's paths and ports to what stands for them on this machine. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_BEFORE = r"(?<![\w./~:-])"
_BEFORE_IN_LIST = r"(?<![\w./~-])"
_AFTER = r"(?![\w.-])"


def rewrite_paths(text: str, places: Mapping[str, str]) -> str:
    """Replace every path at or below a mount path by the path on this machine.

    `places` maps mount paths to directories; the longest that fits wins. A path inside an
    address (`http://host/data`) is none, one in a list or after `=` is.
    """
    paths = sorted((path.rstrip("/") for path in places), key=len, reverse=True)
    if not paths:
        return text
    # In a URL a colon stands before the path's first slash only together with a second one.
    before = _BEFORE if "://" in text else _BEFORE_IN_LIST
    pattern = f"{before}({'|'.join(map(re.escape, paths))}){_AFTER}"
    known = {path.rstrip("/"): place for path, place in places.items()}
    return re.sub(pattern, lambda match: known[match[1]], text)


def wanted_ports(arguments: Sequence[str], declared: Sequence[int]) -> list[int]:
    """Return the declared container ports that the command line sets with `--port`."""
    given = {
        value
        for word, following in _pairs(arguments)
        for value in [_port_value(word, following)]
        if value and value.isdigit()
    }
    return [port for port in declared if str(port) in given]


def rewrite_network(arguments: Sequence[str], ports: Mapping[int, int]) -> list[str]:
    """Let a command line listen on 127.0.0.1 and on the ports that were assigned.

    `ports` maps container ports to local ones. Changed are `--port N`, `--port=N` and
    `--host 0.0.0.0` in both spellings; with no ports nothing changes.
    """
    if not ports:
        return list(arguments)
    changed: list[str] = []
    for word, before in zip(arguments, ["", *arguments], strict=False):
        if word.startswith("--port="):
            changed.append(f"--port={_local(word.removeprefix('--port='), ports)}")
        elif before == "--port":
            changed.append(_local(word, ports))
        elif before == "--host" and word in {"0.0.0.0", "::"}:  # noqa: S104 -- what is replaced
            changed.append("127.0.0.1")
        elif word in {"--host=0.0.0.0", "--host=::"}:
            changed.append("--host=127.0.0.1")
        else:
            changed.append(word)
    return changed


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(arguments, [*arguments[1:], ""], strict=False))


def _port_value(word: str, following: str) -> str:
    if word.startswith("--port="):
        return word.removeprefix("--port=")
    return following if word == "--port" else ""


def _local(port: str, ports: Mapping[int, int]) -> str:
    return str(ports.get(int(port), port)) if port.isdigit() else port
