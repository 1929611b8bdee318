from __future__ import annotations

import pickle

from vllm_flows import errors


def test_an_error_says_what_on_which_model_why_and_what_to_run_next():
    error = errors.AccessError("gated", why="no token", next_command="open it", model="llama3")
    assert str(error) == "llama3: gated\n  why:  no token\n  next: open it"


def test_further_lines_of_a_reason_stand_below_its_first():
    assert str(errors.BlockedError("two", why="a\nb")) == "two\n  why:  a\n        b"


def test_an_error_survives_the_way_between_two_processes():
    error = errors.TimedOutError(
        "late", why="slow", next_command="again", model="m", category="loading"
    )
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes
    assert type(copy) is errors.TimedOutError
    assert str(copy) == str(error)
    assert copy.category == "loading"


def test_every_error_has_a_documented_exit_code():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    for kind in kinds:
        assert kind.__name__ in (errors.__doc__ or "")
        assert f"exit {kind.exit_code:>2}" in (errors.__doc__ or "") or kind.retryable
