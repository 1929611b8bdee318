"""What the simulated model says: words made from the request, the same every time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain, cycle, islice

_PHRASE = (
    "a plain made-up sequence of words that only depends on the prompt and on the model; "
    "nothing was computed and it means nothing at all"
)
_JSON = '{"|simulated|":| true|}'
"""Its tokens."""


def answer(
    name: str, revision: str, prompt: str, *, max_tokens: int, endless: bool
) -> Iterator[str]:
    """Yield at most `max_tokens` tokens, each a word with the space before it.

    The first words say that the answer is simulated, of which model and which revision.
    An `endless` answer goes on to `max_tokens`, another one ends by itself. Who asks for JSON gets
    some.
    """
    if "JSON" in prompt:
        yield from islice(_JSON.split("|"), max_tokens)
        return
    start = f"Simulated answer from {name} at revision {revision[:8]}:".split()
    words = _PHRASE.split()
    digest = hashlib.sha256(f"{name}\n{prompt}".encode()).digest()
    made_up = (words[byte % len(words)] for byte in (cycle(digest) if endless else digest))
    for index, word in enumerate(islice(chain(start, made_up), max_tokens)):
        yield f" {word}" if index else word


def count_tokens(text: str) -> int:
    """Return how many tokens a text counts as: one for each word, at least one."""
    return max(1, len(text.split()))
