"""May a new revision be rolled out now? The policies, as a table."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from vllm_flows.models import Model
from vllm_flows.revision_class import Change
from vllm_flows.update_policy import May, may_update
from vllm_flows.update_window import parse_window

THURSDAY = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
TOKYO = ZoneInfo("Asia/Tokyo")


def model(update: str, window: str | None = None) -> Model:
    return Model.model_validate(
        {"name": "m", "modelURL": "org/name", "update": update, "updateWindow": window}
        if window
        else {"name": "m", "modelURL": "org/name", "update": update}
    )


@pytest.mark.parametrize(
    ("update", "change", "answer"),
    [
        ("auto", Change.WEIGHTS, May.NOW),
        ("auto", Change.CONFIGURATION, May.NOW),
        ("auto", Change.DOCUMENTATION, May.NO),
        ("auto", Change.ASK, May.ASK),
        ("auto", Change.NONE, May.NO),
        ("auto", Change.GONE, May.NO),
        ("auto", Change.UNKNOWN, May.NO),
        ("auto", Change.PINNED, May.NO),
        ("auto", Change.NOT_DEPLOYED, May.NO),
        ("window", Change.WEIGHTS, May.WAIT),
        ("window", Change.ASK, May.ASK),
        ("window", Change.DOCUMENTATION, May.NO),
        ("approve", Change.WEIGHTS, May.ASK),
        ("approve", Change.CONFIGURATION, May.ASK),
        ("approve", Change.ASK, May.ASK),
        ("approve", Change.DOCUMENTATION, May.NO),
        ("never", Change.WEIGHTS, May.NO),
        ("never", Change.CONFIGURATION, May.NO),
        ("never", Change.ASK, May.NO),
    ],
)
def test_the_policy_and_the_class_decide(update: str, change: Change, answer: May):
    window = "Sun 02:00-05:00" if update == "window" else None
    assert may_update(model(update, window), change, THURSDAY, UTC).answer is answer


@pytest.mark.parametrize(
    ("update", "change", "answer"),
    [
        ("auto", Change.ASK, May.NOW),
        ("approve", Change.WEIGHTS, May.NOW),
        ("window", Change.ASK, May.WAIT),
        ("never", Change.ASK, May.NO),
        ("auto", Change.DOCUMENTATION, May.NO),
    ],
)
def test_who_agreed_is_not_asked_again_and_a_window_counts(
    update: str, change: Change, answer: May
):
    window = "Sun 02:00-05:00" if update == "window" else None
    found = may_update(model(update, window), change, THURSDAY, UTC, agreed=True)
    assert found.answer is answer


@pytest.mark.parametrize("change", [Change.WEIGHTS, Change.ASK])
def test_a_commit_that_did_not_do_is_not_rolled_out_whatever_the_policy(change: Change):
    for update in ("auto", "approve"):
        found = may_update(model(update), change, THURSDAY, UTC, "the answer has no text")
        assert found.answer is May.NO
        assert "did not do (the answer has no text)" in found.why
        assert "vllm-flows update m --again" in found.why


@pytest.mark.parametrize(
    ("window", "now", "zone", "until"),
    [
        ("Sun 02:00-05:00", "2026-11-26T12:00", UTC, "2026-11-29T02:00"),
        ("Sun 02:00-05:00", "2026-11-29T01:59", UTC, "2026-11-29T02:00"),
        ("Sun 02:00-05:00", "2026-11-29T02:00", UTC, None),
        ("Sun 02:00-05:00", "2026-11-29T04:59", UTC, None),
        ("Sun 02:00-05:00", "2026-11-29T05:00", UTC, "2026-12-06T02:00"),
        ("sunday 2:00 - 5:00", "2026-11-29T03:00", UTC, None),
        ("02:00-05:00", "2026-11-26T12:00", UTC, "2026-11-27T02:00"),
        ("02:00-05:00", "2026-11-26T12:00", TOKYO, "2026-11-26T17:00"),
        ("02:00-05:00", "2026-11-26T19:00", TOKYO, None),
        ("22:00-24:00", "2026-11-26T23:59", UTC, None),
        ("Sun 00:00-24:00", "2026-11-26T12:00", UTC, "2026-11-29T00:00"),
        ("Sun 00:00-24:00", "2026-11-29T23:59", UTC, None),
        ("Mon-Fri 22:00-02:00", "2026-11-28T01:00", UTC, None),
        ("Mon-Fri 22:00-02:00", "2026-11-29T01:00", UTC, "2026-11-30T22:00"),
        ("Fri-Mon 01:00-02:00", "2026-11-26T12:00", UTC, "2026-11-27T01:00"),
        ("Sat,Wed 01:00-02:00", "2026-11-26T12:00", UTC, "2026-11-28T01:00"),
        # The clocks of 2027-03-28 go from 02:00 to 03:00: that Sunday has no such hour.
        ("Sun 02:00-03:00", "2027-03-28T00:30", BERLIN, "2027-04-04T00:00"),
        ("Sun 01:30-03:30", "2027-03-28T00:30", BERLIN, None),
        ("Sun 02:30-02:45", "2027-03-28T00:00", BERLIN, "2027-04-04T00:30"),
        ("Sun 02:30-03:30", "2027-03-27T12:00", BERLIN, "2027-03-28T01:00"),
        ("Sun 02:30-05:00", "2027-03-28T00:59", BERLIN, "2027-03-28T01:00"),
        ("Sun 02:30-05:00", "2027-03-28T01:00", BERLIN, None),
        ("Sun 01:00-02:30", "2027-03-28T00:59", BERLIN, None),
        ("Sun 01:00-02:30", "2027-03-28T01:00", BERLIN, "2027-04-03T23:00"),
        # Those of 2027-10-31 go back from 03:00 to 02:00: the window is an hour longer.
        ("Sun 01:00-04:00", "2027-10-31T02:30", BERLIN, None),
    ],
)
def test_a_window_opens_at_its_hours_in_its_time_zone(
    window: str, now: str, zone: ZoneInfo, until: str | None
):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    found = may_update(model("window", window), Change.WEIGHTS, moment, zone)
    wanted = datetime.fromisoformat(until).replace(tzinfo=UTC) if until else None
    assert (found.answer, found.until) == (May.WAIT if until else May.NOW, wanted)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sun",
        "02:00",
        "Sun 2-5",
        "Sun 02:60-05:00",
        "24:30-02:00",
        "Sun 24:00-02:00",
        "24:00-24:00",
        "Sun, 02:00-05:00",
        "5:00-5:00",
        "Sun\N{EN DASH}Mon 01:00-02:00",
        "Sundae 01:00-02:00",
        "Su 01:00-02:00",
        "Sun \N{ARABIC-INDIC DIGIT ZERO}\N{ARABIC-INDIC DIGIT ONE}:00-02:00",
    ],
)
def test_what_is_no_window_is_refused_with_an_example(text: str):
    with pytest.raises(ValueError, match=r"write it as Sun 02:00-05:00|days are Mon"):
        parse_window(text)


def test_what_runs_already_needs_nobodys_word_and_no_window_to_be_asked():
    for one in (model("approve"), model("window", "Sun 02:00-05:00")):
        assert may_update(one, Change.ASK, THURSDAY, UTC, begun=True).answer is May.NOW
    assert may_update(model("never"), Change.ASK, THURSDAY, UTC, begun=True).answer is May.NO
