"""Addresses as people may be shown them."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"//[^/\s]*@")


def without_credentials(text: str) -> str:
    """Return a text with `***` for the user and password of every address in it."""
    return _CREDENTIALS.sub("//***@", text)
