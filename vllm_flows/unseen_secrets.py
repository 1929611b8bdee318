"""Secrets in the words of a program that nobody told us of, known by their looks. Pure.

By value only what was read can be taken out. A login program's last words may show a token that it
never answered with.
"""

from __future__ import annotations

import re

from vllm_flows.addresses import without_credentials

_NAMED = re.compile(
    r"""((?:token|password|passwd|secret|credentials?|authorization|api[_-]?key)["']?\s*[:=]\s*
    ["']?(?:bearer\s+|basic\s+)?|(?:bearer|basic)\s+)([^\s"']{8,})""",
    re.IGNORECASE | re.VERBOSE,
)
_QUERY = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]+")
_WORD = re.compile(r"(?<![\w/.:@-])(?!/)[\w+/=.~-]{20,}")
_MIXED = (re.compile(r"[a-z]"), re.compile(r"[A-Z]"), re.compile(r"[0-9]"))


def without_tokens(text: str) -> str:
    """Return the text with `***` for what is called a secret, and for what looks like one.

    That is a word of twenty signs or more with small letters, capitals and digits in it, which no
    name of Kubernetes has. Addresses and paths stay, without user, password and query.
    """
    shown = _NAMED.sub(r"\1***", _QUERY.sub(r"\1", without_credentials(text)))
    return _WORD.sub(lambda found: "***" if _is_mixed(found[0]) else found[0], shown)


def _is_mixed(word: str) -> bool:
    return all(kind.search(word) for kind in _MIXED)
