"""What was collected is in no text that leaves, in whatever form it stood there."""

from __future__ import annotations

import base64
import json
import pickle
import random
import string
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest

from tests.canaries import in_base64
from vllm_flows.redaction import Redactor
from vllm_flows.secret_forms import forms

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "JSON": json.dumps,
    "JSON with letters of other scripts": lambda text: json.dumps(text, ensure_ascii=False),
    "a repr": repr,
    "a repr of bytes": lambda text: repr(text.encode()),
    "a path": quote,
    "a whole path element": lambda text: quote(text, safe=""),
    "a query": quote_plus,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "hexadecimal digits": lambda text: text.encode().hex(),
}
ALPHABETS = (
    string.ascii_letters + string.digits,
    string.printable,
    string.ascii_letters + '"\\/+=%&\n\t {}$',
    "äöüßéñ漢字🔑" + string.ascii_lowercase,
)


def cases(count: int) -> Iterator[tuple[str, str, str]]:
    """Yield secrets, and what stands before and behind them; the same ones each time."""
    dice = random.Random(7)  # noqa: S311 -- only to be the same each time
    for number in range(count):
        alphabet = ALPHABETS[number % len(ALPHABETS)]
        secret = "".join(dice.choices(alphabet, k=dice.randint(8, 60))).strip()
        around = ["".join(dice.choices(string.ascii_letters, k=dice.randint(0, 5))) for _ in "ab"]
        if len(secret) >= 8:
            yield secret, *around


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_form_of_a_secret_is_left(encoding: str):
    encode = ENCODINGS[encoding]
    for secret, before, behind in cases(200):
        redactor = Redactor()
        redactor.collect([secret])
        text = f"{before} {encode(secret)} {behind}"
        assert redactor.redacted(text).count("***") >= 1
        inside = encode(secret).strip("\"'b")
        assert inside not in redactor.redacted(text)
        assert inside.encode() not in redactor.redacted_bytes(text.encode())


def test_no_secret_is_left_in_the_base64_of_something_longer_at_any_of_the_three_places():
    for secret, before, behind in cases(300):
        redactor = Redactor()
        redactor.collect([secret])
        whole = f"{before}{secret}{behind}".encode()
        part = in_base64(secret, len(before) % 3)
        for encoded in (base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
            shown = redactor.redacted(encoded.decode())
            assert part not in shown
            assert part.replace("+", "-").replace("/", "_") not in shown
            assert "***" in shown


def test_a_text_without_a_secret_is_the_same_object():
    redactor = Redactor()
    text = "llama3: ready"
    assert redactor.redacted(text) is text
    redactor.collect(["a-planted-canary"])
    assert redactor.redacted(text) is text


def test_short_values_stand_in_words_and_are_left_alone():
    redactor = Redactor()
    redactor.collect(["default", "", "   short   "])
    assert redactor.redacted("the default is short") == "the default is short"


def test_of_two_secrets_one_of_which_is_part_of_the_other_nothing_is_left():
    redactor = Redactor()
    redactor.collect(["planted-canary", "planted-canary-of-more"])
    assert redactor.redacted("a planted-canary-of-more b planted-canary") == "a *** b ***"


def test_blanks_around_a_value_are_no_part_of_it():
    redactor = Redactor()
    redactor.collect(["  planted-canary\n"])
    assert redactor.redacted("key=planted-canary!") == "key=***!"


def test_a_masked_pickle_can_be_read_and_holds_no_secret():
    for secret, before, behind in cases(200):
        redactor = Redactor()
        redactor.collect([secret])
        result = {"text": f"{before}{secret}{behind}", "raw": secret.encode(), "rows": [1, None]}
        data = redactor.masked(pickle.dumps(result))
        assert len(data) == len(pickle.dumps(result))
        found = pickle.loads(data)  # noqa: S301 -- our own
        assert found["rows"] == [1, None]
        assert secret not in found["text"]
        assert secret.encode() not in found["raw"]


def test_what_is_looked_for_is_never_so_short_that_it_stands_in_words():
    for secret, _, _ in cases(300):
        assert min(map(len, forms(secret))) >= 8
