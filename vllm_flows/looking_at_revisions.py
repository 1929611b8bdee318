"""One look at the tracked revisions of all models: the cluster and the Hub asked, and judged."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from vllm_flows.claims import weights_claims
from vllm_flows.errors import HubUnavailableError
from vllm_flows.hub import Hub
from vllm_flows.hub_revisions import ASKED_AT_ONCE, Tips, contents_of
from vllm_flows.models import Model, answers_prompts
from vllm_flows.observe import ENGINE_SELECTOR, deployed_models
from vllm_flows.observed import Access, WeightsClaim
from vllm_flows.overlap import held_models
from vllm_flows.refused_alike import refused_alike
from vllm_flows.revision_class import Change
from vllm_flows.revision_memory import Memory, Seen, Tip, Told, remembered, rules_of, tip_key
from vllm_flows.revision_store import read_stored
from vllm_flows.revisions import Contents, assess
from vllm_flows.session import Session
from vllm_flows.status import engine_words

_COMMIT_DIGITS = 40
_GONE = {Access.NO_REPOSITORY, Access.NO_REVISION, Access.DISABLED}


@dataclass(frozen=True)
class Look:
    """What was seen of the models, and what is known of the tips now."""

    seen: tuple[Seen, ...]
    memory: Memory


@dataclass(frozen=True)
class _Serving:
    """What the cluster says of one model; `held`: older pods of it are kept beside new ones."""

    commit: str
    held: bool
    repositories: frozenset[str]
    claim: WeightsClaim


def look_at_revisions(session: Session, models: Sequence[Model], repository: str = "") -> Look:
    """Compare what is served with where the revisions stand; nothing is written.

    With `repository` only the models of that one are looked at. The Hub's silence is part of what
    is seen, and no error.
    """
    memory = read_stored(session.cluster).memory
    chosen = [one for one in models if repository in {"", one.model_url}]
    serving = _serving(session)
    before = {
        one.name: _before_asking(one, serving.get(one.name), memory.told.get(one.name))
        for one in chosen
    }
    asked = [one for one in chosen if before[one.name].change is Change.NONE]
    hub = session.hub() if asked else None
    if hub is None:
        return Look(tuple(before.values()), memory)
    tips = Tips(hub, memory.tips, memory.quiet_until)
    tips.ask(asked)
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        judged = pool.map(
            lambda one: _judged(hub, one, before[one.name], serving[one.name], tips, memory), asked
        )
        found = before | {one.model: one for one in judged}
    known = {key: tip for key, tip in memory.tips.items() if key in set(map(tip_key, models))}
    memory = replace(memory, tips={**known, **tips.found}, quiet_until=tips.quiet_until)
    return Look(tuple(found.values()), memory)


def _serving(session: Session) -> dict[str, _Serving]:
    """Return what is served, by the model's name."""
    engines = session.cluster.find("Deployment", ENGINE_SELECTOR)
    held = held_models(engines)
    claims = weights_claims(session.cluster.find("PersistentVolumeClaim"))
    words = {
        str(one["metadata"]["labels"].get("model", "")): frozenset(engine_words(one))
        for one in engines
    }
    return {
        name: _Serving(
            one.revision, name in held, words[name], claims.get(name) or WeightsClaim(name, "0")
        )
        for name, one in deployed_models(engines).items()
        if one.revision
    }


def _before_asking(model: Model, serving: _Serving | None, told: Told | None) -> Seen:
    """Say what is known without the Hub; NONE when it has to be asked.

    An interrupted update leaves a commit that was not seen to answer: what was told of it goes on,
    wherever the revision stands by now. What stays whatever it answers keeps no other waiting.
    """
    seen = Seen(model.name, model.model_url, model.revision, rules=rules_of(model))
    if serving is None:
        return replace(seen, change=Change.NOT_DEPLOYED)
    unproven = serving.held or _is_other(model, serving)
    seen = replace(seen, served=serving.commit, runs=serving.commit, unproven=unproven)
    seen = replace(seen, stays=_stays(model, serving))
    if unproven and told and told.new == serving.commit and not seen.stays:
        return _begun(seen, told)
    if len(model.revision) == _COMMIT_DIGITS:
        return replace(seen, now=model.revision, change=Change.PINNED)
    if model.model_url not in serving.repositories:
        text = "models.yaml names another repository than the one that is served"
        return replace(seen, change=Change.HELD, reasons=(text,))
    if serving.claim.requested not in {"", model.revision}:
        text = f"what is served was brought as {serving.claim.requested[:_COMMIT_DIGITS]!r}"
        return replace(seen, change=Change.HELD, reasons=(text,))
    return seen


def _judged(
    hub: Hub, model: Model, seen: Seen, serving: _Serving, tips: Tips, memory: Memory
) -> Seen:
    key = tip_key(model)
    try:
        if key in tips.refused:
            return _refused(hub, model, seen)
        tip = tips.found.get(key)
        if tip is None:
            raise tips.silence or HubUnavailableError("the Hub was not asked")
        seen = replace(seen, now=tip.commit)
        if tip.commit == serving.commit:
            return _arrived(model, seen, tip, memory.told.get(model.name))
        if _is_other(model, serving) and not seen.stays:
            return _begun_untold(hub, model, seen, serving)
        told = remembered(memory, model, seen.served, seen.now)
        seen = replace(seen, refused=_why_not(hub, model, tip.commit, serving.claim, told))
        if told:
            return replace(seen, change=Change(told.change), reasons=told.reasons, files=told.files)
        return _assessed(hub, model, seen, serving, memory.tips.get(key), tip)
    except HubUnavailableError as error:
        return replace(seen, change=Change.UNKNOWN, reasons=(error.what,))


def _why_not(hub: Hub, model: Model, commit: str, claim: WeightsClaim, told: Told | None) -> str:
    """Return why a commit does not do; whether it is like one that did not is asked once."""
    if not claim.refused or commit in claim.refused:
        return claim.refused.get(commit, "")
    if told and told.refused is not None:
        return told.refused
    return refused_alike(hub, model, commit, claim)


def _arrived(model: Model, seen: Seen, tip: Tip, told: Told | None) -> Seen:
    if seen.unproven and told and told.new == tip.commit:
        return _begun(seen, told)
    return replace(seen, reasons=_called_otherwise(model, tip))


def _stays(model: Model, serving: _Serving) -> bool:
    """Say whether what serves stays whatever it answers, with no older pods beside it."""
    return model.on_failure == "keep" and not serving.held


def _begun(seen: Seen, told: Told) -> Seen:
    seen = replace(seen, served=told.old, now=told.new, reasons=told.reasons, files=told.files)
    return _to_be_asked(replace(seen, change=Change(told.change)))


def _to_be_asked(seen: Seen) -> Seen:
    """Return what begins an update: also where the engine's files are the same, or gone."""
    return seen if seen.to_roll_out else replace(seen, change=Change.CONFIGURATION)


def _begun_untold(hub: Hub, model: Model, seen: Seen, serving: _Serving) -> Seen:
    """Judge the way to what runs from what answered last, of which nothing was told.

    Its revision moved on meanwhile, and what is told of that may have to wait for somebody.
    """
    before = replace(serving, commit=serving.claim.served[0])
    begun = replace(seen, served=before.commit, now=serving.commit)
    found = _assessed(hub, model, begun, before, None, Tip(serving.commit))
    return _to_be_asked(found)


def _is_other(model: Model, serving: _Serving) -> bool:
    """Say whether another commit was the last that was seen to answer."""
    before = serving.claim.served[:1]
    return bool(before) and before != (serving.commit,) and answers_prompts(model)


def _refused(hub: Hub, model: Model, seen: Seen) -> Seen:
    """Say why the Hub refuses a revision, which takes more questions."""
    verdict = hub.verdict(model.name, model.model_url, model.revision)
    if not verdict.problems:  # it changed its mind
        return replace(seen, change=Change.UNKNOWN, now=verdict.commit)
    change = Change.GONE if verdict.access in _GONE else Change.UNKNOWN
    return replace(seen, change=change, reasons=(verdict.problems[0].what,))


def _assessed(
    hub: Hub, model: Model, seen: Seen, serving: _Serving, before: Tip | None, tip: Tip
) -> Seen:
    """Judge a change that was not seen before."""
    verdict = hub.verdict(model.name, model.model_url, tip.commit)
    new = contents_of(hub, model.model_url, tip.commit)
    if new is None:
        return _refused(hub, model, seen)
    old = _older(hub, model, serving, before)
    found = assess(model, old, new, verdict, _doubts(before, tip))
    reasons = (*found.reasons, *_called_otherwise(model, tip))
    return replace(seen, change=found.change, reasons=reasons, files=found.files)


def _called_otherwise(model: Model, tip: Tip) -> tuple[str, ...]:
    """Say when the repository was renamed: the Hub leads from the old name to the new one."""
    if tip.name in {"", model.model_url}:
        return ()
    return (f"the repository is called {tip.name} now",)


def _older(hub: Hub, model: Model, serving: _Serving, before: Tip | None) -> Contents:
    """Return what is known of the commit that is served: of the Hub, and of the volume's record."""
    commit, claim = serving.commit, serving.claim
    there = contents_of(hub, model.model_url, commit) or Contents()
    kept = claim.described.get(commit)
    gated = kept.gated if kept else None
    license_ = kept.license if kept else None
    return replace(
        there,
        blobs=claim.blobs.get(commit, {}),
        license=there.license if license_ is None else license_,
        # The gate is the repository's, not the commit's: what the Hub says of it is today's.
        gated=gated if gated is not None else before.gated if before else None,
    )


def _doubts(before: Tip | None, tip: Tip) -> list[str]:
    """Say when another repository answers to the name than the one that was there before."""
    if before and before.identity and tip.identity and before.identity != tip.identity:
        return ["another repository has taken the name of the one that was there"]
    return []
