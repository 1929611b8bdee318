"""Addresses as people may be shown them."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

_CREDENTIALS = re.compile(r"//[^/\s]*@")
_LOGIN = r"([^/@\s]*@)?"


def is_address(text: str, *, login: bool = False) -> bool:
    """Say whether it is an address of HTTP; with `login` it may have user and password."""
    user = _LOGIN if login else ""
    return bool(re.fullmatch(rf"https?://{user}[A-Za-z0-9.\-]+(:\d{{1,5}})?(/[^\s]*)?", text))


def without_credentials(text: str) -> str:
    """Return a text with `***` for the user and password of every address in it."""
    return _CREDENTIALS.sub("//***@", text)


def passwords_in(address: str) -> tuple[str, ...]:
    """Return the password of an address, as it stands there and as it is meant; () without one."""
    try:
        password = urlsplit(address).password or ""
    except ValueError:
        return ()
    return (password, unquote(password)) if password else ()
