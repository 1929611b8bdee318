"""Deciding: what goes into the plan, and what of it is shown and checked, twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows import deciding
from vllm_flows import planning
from vllm_flows.credentials import API_KEY, Credential, Place
from vllm_flows.differences import entries
from vllm_flows.errors import (
    AnotherValueError,
    BlockedError,
    HubUnavailableError,
    NoRightError,
    StalePlanError,
)
from vllm_flows.hub import Hub
from vllm_flows.models import Model
from vllm_flows.observed import (
    DIGEST_ANNOTATION,
    Access,
    ClusterState,
    DeployedModel,
    HubFile,
    Release,
    ReleaseState,
    Verdict,
    WeightsClaim,
)
from vllm_flows.plan import Plan
from vllm_flows.planning import Aim, Decision, asking_hub, decide
from vllm_flows.report import plan_notes
from vllm_flows.secret_mode import Maker
from vllm_flows.settings import load_settings

QWEN = Model(name="qwen", modelURL="org/qwen")
LLAMA = Model(name="llama", modelURL="org/llama")
COMMIT = "a" * 40
EMPTY = ClusterState(Release(ReleaseState.ABSENT))


def verdict(model: Model = QWEN, **fields: Any) -> Verdict:
    files = (HubFile("model.safetensors", 1000),)
    return Verdict(model.name, model.model_url, COMMIT, files=files, **fields)


def session(
    api_key: Credential | None = None,
    token: Credential | None = None,
    refusal: NoRightError | None = None,
) -> Any:
    return SimpleNamespace(
        settings=load_settings(),
        api_key=lambda: api_key,
        token=lambda: token,
        refusal=lambda: refusal,
        cluster=SimpleNamespace(get=lambda *_: {"data": {"key": "a2V5"}}),
        keeper=lambda _: SimpleNamespace(
            settings=load_settings(), look=lambda _: SimpleNamespace(maker=Maker.US)
        ),
    )


def test_a_yes_to_downtime_reaches_the_plan():
    for yes in (True, False):
        made = decide(session(), Aim([QWEN], allow_downtime=yes), [verdict()], EMPTY)
        assert made.desired.allow_downtime is yes


def test_who_may_not_write_what_changes_is_told_before_anything_is_written():
    poor = session(refusal=NoRightError("jane may not, in vllm: create roles"))
    aim = Aim([QWEN])
    made = decide(poor, aim, [verdict()], EMPTY)
    for decision in (made, made.with_downtime()):
        with pytest.raises(NoRightError, match="create roles"):
            decision.check(aim)


def test_who_only_asks_needs_no_right_to_write():
    class Poor(SimpleNamespace):
        def refusal(self) -> None:
            raise AssertionError("nothing is to be written")

    poor: Any = Poor(**{**vars(session()), "settings": load_settings()})
    values = decide(session(), Aim([QWEN]), [verdict()], EMPTY).desired.values
    digest = entries(values)["qwen"]["podAnnotations"][DIGEST_ANNOTATION]
    serving = ClusterState(
        Release(ReleaseState.DEPLOYED, 1, "0.1.8", "deployed", values),
        {"qwen": DeployedModel("qwen", 1, 1, COMMIT, digest)},
        {"qwen": WeightsClaim("qwen", "50Gi", {COMMIT: 1}, answered=(digest,))},
        router=True,
    )
    assert decide(poor, Aim([QWEN]), [verdict()], serving).plan.refusal is None


def test_a_vault_that_cannot_be_asked_for_a_key_is_a_note_of_the_plan(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(planning, "note_of_unused", lambda *_: "whether Vault holds one is open")
    plan = decide(session(), Aim([QWEN]), [verdict()], EMPTY).plan
    assert "note: whether Vault holds one is open" in plan_notes(plan)
    monkeypatch.setattr(planning, "notes_of_going", lambda *_: ())
    key = Credential("canary", "VLLM_API_KEY", stored=True)
    assert "Vault" not in str(decide(session(key), Aim([QWEN]), [verdict()], EMPTY).plan.notes)


def test_a_plan_foresees_what_keeps_a_key_from_vault():
    key, maker = Credential("canary", "VLLM_API_KEY", stored=False), Maker.SYNCED
    kept = SimpleNamespace(in_vault=True, maker=maker, vault_place="secret/vllm/api-key")
    found: list[str] = ["Vault is sealed"]

    def foresee(_kept: object, credential: Credential) -> str:
        assert credential is key
        if not found:
            raise AnotherValueError("Vault holds another")
        return found.pop()

    able = session(key)
    able.keeper = lambda _: SimpleNamespace(look=lambda _: kept, foresee=foresee)
    made = decide(able, Aim([QWEN]), [verdict()], EMPTY)
    assert made.plan.notes[-1] == "Vault is sealed"
    assert made.by_vault == {"vllm-api-key": "secret/vllm/api-key"}
    with pytest.raises(AnotherValueError):
        decide(able, Aim([QWEN]), [verdict()], EMPTY)


def test_the_engines_are_made_for_the_api_key_in_use(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planning, "notes_of_going", lambda *_: ())
    keys = [Credential(f"canary-{n}", "VLLM_API_KEY", stored=True) for n in ("one", "two")]
    made = [decide(session(key), Aim([QWEN]), [verdict()], EMPTY) for key in (*keys, None)]
    values = [str(one.desired.values) for one in made]
    assert len(set(values)) == 3
    assert not any("canary" in text for text in values)
    assert [one.api_key for one in made] == [*keys, None]


def test_a_plan_says_of_what_is_stored_that_it_will_not_stay(monkeypatch: pytest.MonkeyPatch):
    asked: list[Place] = []

    def going(_: object, places: list[Place]) -> tuple[str, ...]:
        asked.extend(places)
        return ("it is being deleted",)

    monkeypatch.setattr(planning, "notes_of_going", going)
    made = decide(
        session(Credential("a", "Secret x", stored=True)), Aim([QWEN]), [verdict()], EMPTY
    )
    assert made.plan.notes[-1] == "it is being deleted"
    assert asked == [API_KEY]


@dataclass
class FakeHub:
    """A fake: silent about some models; it notes what was known of each."""

    silent: set[str]
    known: dict[str, object] = field(default_factory=dict)

    def verdict(
        self, model: str, _repository: str, _revision: str, known: Mapping[str, Any]
    ) -> Verdict:
        self.known[model] = known
        if model in self.silent:
            raise HubUnavailableError("the Hub does not answer", model=model)
        return verdict(QWEN if model == "qwen" else LLAMA)


def test_a_hub_that_is_silent_about_one_model_has_verdicts_of_the_others_in_order():
    hub = FakeHub({"qwen"})
    with asking_hub(cast("Hub", hub), [QWEN, LLAMA], {}) as verdicts:
        first, second = verdicts
    assert (first.model, first.access) == ("qwen", Access.SILENT)
    assert first.problems[0].what == "the Hub does not answer"
    assert (second.model, second.access) == ("llama", Access.OPEN)


def test_what_the_claims_remember_spares_the_hub_questions():
    hub, remembered = FakeHub(set()), {COMMIT: object()}
    with asking_hub(cast("Hub", hub), [QWEN, LLAMA], {"qwen": cast("Any", remembered)}) as asked:
        list(asked)
    assert hub.known == {"qwen": remembered, "llama": {}}


@dataclass
class Shown:
    """What was shown and said, and what the cluster is like when it is looked at."""

    state: ClusterState = EMPTY
    plans: list[Plan] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    found = Shown()
    monkeypatch.setattr(deciding, "observe_cluster", lambda _session: found.state)
    monkeypatch.setattr(deciding, "show_plan", found.plans.append)
    monkeypatch.setattr(deciding, "say", found.said.append)
    return found


REFUSED = replace(verdict(), files=())
"""A repository without weights: its model is blocked."""


def decided(expected: str | None = None, seen: Verdict | None = None) -> Decision:
    return deciding.decided(session(), Aim([QWEN], expected=expected), [seen or verdict()])


def again(before: Decision, expected: str | None = None, seen: Verdict | None = None) -> Decision:
    aim = Aim([QWEN], expected=expected)
    return deciding.decided_again(session(), aim, [seen or verdict()], before)


def test_a_plan_is_shown_before_it_is_refused(shown: Shown):
    with pytest.raises(BlockedError):
        decided(seen=REFUSED)
    with pytest.raises(StalePlanError):
        decided(expected="another")
    assert len(shown.plans) == 2


def test_a_plan_that_is_the_same_under_the_lock_is_not_shown_again(shown: Shown):
    before = decided()
    assert again(before, before.fingerprint).fingerprint == before.fingerprint
    assert (len(shown.plans), shown.said) == (1, [])


def test_what_changed_until_the_lock_was_taken_is_decided_and_shown_anew(shown: Shown):
    before = decided()
    shown.state = ClusterState(Release(ReleaseState.FAILED, 2, "0.1.8", "failed"))
    after = again(before)
    assert after.state is shown.state
    assert shown.plans == [before.plan, after.plan]
    assert shown.said == ["the cluster has changed meanwhile"]


def test_what_changed_until_the_lock_was_taken_is_not_done_where_another_plan_was_agreed_to(
    shown: Shown,
):
    before = decided()
    shown.state = ClusterState(Release(ReleaseState.FAILED, 2, "0.1.8", "failed"))
    with pytest.raises(StalePlanError):
        again(before, before.fingerprint)


def test_a_model_that_is_blocked_by_then_stops_the_run_before_it_writes(shown: Shown):
    before = decided()
    with pytest.raises(BlockedError):
        again(before, seen=REFUSED)
    assert len(shown.plans) == 2
