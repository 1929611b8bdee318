"""How a secret may stand in a text: as it is, escaped, quoted in an address, encoded. Pure."""

from __future__ import annotations

import json
from base64 import b64encode
from urllib.parse import quote, quote_plus

_BITS_OF_BYTE = 8
_BITS_OF_SIGN = 6


def forms(value: str) -> set[str]:
    """Return every form of a value that is looked for."""
    return {
        value,
        *_escaped(value),
        *_in_addresses(value),
        *_in_base64(value.encode()),
        value.encode().hex(),
    }


def _escaped(value: str) -> set[str]:
    """Return it as JSON and Python write it between quotation marks."""
    return {
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        repr(value.encode())[2:-1],
    }


def _in_addresses(value: str) -> set[str]:
    """Return it as it stands in a path or a query, the hexadecimal digits of either case."""
    found = {quote(value), quote(value, safe=""), quote_plus(value)}
    return found | {_lower_digits(one) for one in found}


def _lower_digits(quoted: str) -> str:
    first, *rest = quoted.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])


def _in_base64(data: bytes) -> set[str]:
    """Return it alone, and what never changes of it wherever it stands in something longer.

    Three bytes become four signs, so it may begin at three places; a sign at either end that also
    holds bits of its neighbours is no part of it.
    """
    found = {b64encode(data).decode()}
    for before in range(3):
        text = b64encode(bytes(before) + data).decode()
        first = -(-before * _BITS_OF_BYTE // _BITS_OF_SIGN)
        last = (before + len(data)) * _BITS_OF_BYTE // _BITS_OF_SIGN
        found.add(text[first:last])
    return found | {one.replace("+", "-").replace("/", "_") for one in found}
