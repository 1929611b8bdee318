"""An error that shows a secret leaves as one that does not; all others leave as they are."""

from __future__ import annotations

import pickle
import traceback

import pytest
from kubernetes.client.exceptions import ApiException

from vllm_flows.clean_errors import RedactedError, cleaned, secrets_kept
from vllm_flows.errors import ClusterError
from vllm_flows.redaction import collect

CANARY = "planted-canary"


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    with pytest.raises(type(error)) as caught:
        raise error from cause
    return caught.value


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_an_error_of_ours_shows_none_be_it_collected_before_or_later():
    error = ClusterError(f"refused: {CANARY}", why=f"it said {CANARY}", next_command=CANARY)
    collect(CANARY)
    later = ClusterError(f"refused: {CANARY}", why=f"it said {CANARY}", next_command=CANARY)
    assert CANARY not in str(error)
    assert CANARY not in f"{later}{later!r}{later.what}{later.why}{later.next_command}"
    assert CANARY.encode() not in pickle.dumps(later)
    assert cleaned(error) is error


def test_an_error_without_a_secret_is_the_same_object_with_its_causes():
    collect(CANARY)
    cause = ValueError("odd")
    error = raised(KeyError("name"), cause)
    assert cleaned(error) is error
    assert error.__cause__ is cause


def test_another_s_error_that_shows_one_keeps_its_kind_its_words_and_where_it_was_raised():
    collect(CANARY)
    error = raised(ApiException(status=403, reason=f"no right for {CANARY}"))
    shown = cleaned(error)
    assert isinstance(shown, RedactedError)
    assert str(shown).startswith("ApiException: (403)")
    assert CANARY not in told(shown)
    assert "in raised" in told(shown)


def test_causes_that_show_one_are_replaced_in_an_error_that_does_not():
    collect(CANARY)
    deep = raised(OSError(f"cannot open {CANARY}"))
    error = raised(ClusterError("refused"), raised(ApiException(reason=CANARY), deep))
    assert CANARY in told(error)
    assert cleaned(error) is error
    assert CANARY not in told(error)
    assert "ApiException" in told(error)
    assert "OSError" in told(error)


def test_causes_that_go_round_in_a_circle_come_to_an_end():
    collect(CANARY)
    one, other = ValueError(CANARY), ValueError("odd")
    one.__context__, other.__context__ = other, one
    assert CANARY not in told(cleaned(other))


def test_notes_and_the_errors_of_a_group_are_looked_at_too():
    collect(CANARY)
    noted = ValueError("odd")
    noted.add_note(f"the key was {CANARY}")
    group = ExceptionGroup("several", [ValueError(CANARY)])
    assert CANARY not in told(cleaned(noted))
    assert CANARY not in told(cleaned(group))


def test_a_block_lets_no_secret_out_and_leaves_all_else_as_it_is():
    collect(CANARY)
    with pytest.raises(RedactedError) as caught, secrets_kept():
        raise ValueError(CANARY)
    assert CANARY not in told(caught.value)
    error = LookupError("odd")
    with pytest.raises(LookupError) as same, secrets_kept():
        raise error
    assert same.value is error
    with pytest.raises(KeyboardInterrupt), secrets_kept():
        raise KeyboardInterrupt


def test_a_function_can_be_such_a_block():
    collect(CANARY)

    @secrets_kept()
    def work(text: str) -> str:
        """Work."""
        if text == CANARY:
            raise ValueError(text)
        return text

    assert work("all") == "all"
    assert work.__doc__ == "Work."
    with pytest.raises(RedactedError):
        work(CANARY)
