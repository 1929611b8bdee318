"""What a weights claim says of itself: which commits are complete, which were served. Pure.

The record is kept in annotations. It may know less than the volume (then a Job looks, and fetches
nothing), and must never know more: a commit is taken from it before a Job may remove it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.models import Model, embeds
from vllm_flows.observed import (
    MODEL_LABEL,
    PROVEN_ANNOTATION,
    REFUSED_ANNOTATION,
    REQUESTED_ANNOTATION,
    SERVED_ANNOTATION,
    WEIGHTS_ANNOTATION,
    DeployedModel,
    Description,
    HubFile,
    Verdict,
    WeightsClaim,
)
from vllm_flows.repository_facts import DEEPEST, parse_configuration, plain

Object = Mapping[str, Any]

_BLOB_DIGITS = 12
"""Of each file's hash: enough to tell a repository's files apart, few enough for an annotation."""
_REMEMBERED = 10
"""As many as Helm keeps revisions; which of their weights stay is the volume's matter."""
_LONGEST_WHY = 200
"""Characters; the whole of it stands in the report of the run."""
_TOO_MANY = 2**63
"""Neither bytes of a volume nor numbers of a model reach it."""
_LEVELS_ABOVE = 2
"""Of the record around a configuration: the commits, and one commit's entry."""
_LARGEST_CONFIGURATION = 12_000
"""Characters of a config.json that is kept; most have 1,000 to 5,000. All annotations of an object
together may have 256 KiB."""


def weights_claims(claims: Iterable[Object]) -> dict[str, WeightsClaim]:
    """Return our volume claims by model name."""
    found = {}
    for item in claims:
        model = (item["metadata"].get("labels") or {}).get(MODEL_LABEL)
        if model:
            found[model] = _weights_claim(model, item)
    return found


def _weights_claim(model: str, item: Object) -> WeightsClaim:
    record = _record(item)
    return WeightsClaim(
        model=model,
        size=item["spec"]["resources"]["requests"]["storage"],
        complete={commit: entry["bytes"] for commit, entry in record.items()},
        blobs={commit: entry.get("blobs", {}) for commit, entry in record.items()},
        served=tuple(_annotations(item).get(SERVED_ANNOTATION, "").split()),
        requested=_annotations(item).get(REQUESTED_ANNOTATION, ""),
        answered=tuple(_annotations(item).get(PROVEN_ANNOTATION, "").split()),
        described={commit: _description(entry) for commit, entry in record.items()},
        refused=_refused(item),
        leaving="deletionTimestamp" in item["metadata"],
        manifest=item,
    )


def _refused(claim: Object) -> dict[str, str]:
    """Return what was refused; what is not of the shape that we write refuses nothing."""
    try:
        found = json.loads(_annotations(claim).get(REFUSED_ANNOTATION) or "{}")
    except (ValueError, RecursionError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {commit: plain(why) for commit, why in pairs if isinstance(why, str)}


def _annotations(claim: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = claim["metadata"].get("annotations") or {}
    return found


def has_record(claim: Object) -> bool:
    """Say whether a claim has a record: from its first Job on, until somebody takes it away."""
    return WEIGHTS_ANNOTATION in _annotations(claim)


def _record(claim: Object) -> dict[str, dict[str, Any]]:
    """Return the record; what is not of the shape that we write promises nothing."""
    text = _annotations(claim).get(WEIGHTS_ANNOTATION) or "{}"
    try:
        found = parse_configuration(text.encode(), DEEPEST + _LEVELS_ABOVE)
    except ValueError:
        return {}
    return {commit: entry for commit, entry in found.items() if _is_entry(entry)}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not _is_count(entry.get("bytes")):
        return False
    blobs = entry.get("blobs", {})
    return isinstance(blobs, dict) and all(map(_is_count, blobs.values()))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _TOO_MANY


def _description(entry: Mapping[str, Any]) -> Description:
    """Read what the record keeps of a commit; the shapes are those that `_kept` wrote."""
    config, parameters, code = (entry.get(key) for key in ("config", "parameters", "code"))
    license_, gated = entry.get("license"), entry.get("gated")
    counts = parameters.items() if isinstance(parameters, dict) else ()
    return Description(
        config=config if isinstance(config, dict) else {},
        parameters={plain(kind): count for kind, count in counts if _is_count(count)},
        custom_code=tuple(map(plain, code)) if isinstance(code, list) else (),
        license=plain(license_) if isinstance(license_, str) else None,
        gated=plain(gated) if isinstance(gated, str) else None,
    )


def _kept(verdict: Verdict) -> dict[str, Any]:
    """Return what is worth knowing of a commit later; what is too long to keep is left out."""
    terms = {"license": verdict.license, "gated": verdict.gated} if verdict.described else {}
    kept = {
        "config": dict(verdict.config),
        "parameters": dict(verdict.parameters),
        "code": list(verdict.custom_code),
    }
    return terms | (kept if len(json.dumps(kept)) <= _LARGEST_CONFIGURATION else {})


def blob_name(file: HubFile) -> str:
    """Return the name under which the record keeps a file: equal bytes, equal name."""
    return (file.sha256 or file.blob_id)[:_BLOB_DIGITS]


def record_with(claim: Object, verdict: Verdict, complete: Collection[str]) -> str:
    """Return the record once the verdict's commit is there beside the other `complete` ones."""
    record = {commit: entry for commit, entry in _record(claim).items() if commit in complete}
    record[verdict.commit] = {
        "files": len(verdict.files),
        "bytes": verdict.total_bytes,
        "blobs": {blob_name(file): file.size for file in verdict.files},
        **_kept(verdict),
    }
    return json.dumps(record, sort_keys=True)


def record_of(claim: Object, keep: Collection[str]) -> str:
    """Return the record with the commits of `keep` alone: others may be removed from now on."""
    record = {commit: entry for commit, entry in _record(claim).items() if commit in keep}
    return json.dumps(record, sort_keys=True)


@dataclass(frozen=True)
class Served:
    """What was seen to answer: a commit, models.yaml's word for it, the configuration's digest."""

    commit: str
    requested: str
    digest: str


def served_with(claim: WeightsClaim, served: Served) -> dict[str, str | None]:
    """Return the claim's annotations once this answers; None for one that goes."""
    return {
        SERVED_ANNOTATION: _first(served.commit, claim.served),
        REQUESTED_ANNOTATION: served.requested,
        PROVEN_ANNOTATION: _first(served.digest, claim.answered),
        **_refusing({one: why for one, why in claim.refused.items() if one != served.commit}),
    }


def refused_with(claim: WeightsClaim, commit: str, why: str) -> dict[str, str | None]:
    """Return the claim's annotations once this commit was tried and did not do."""
    others = {one: told for one, told in claim.refused.items() if one != commit}
    return _refusing({commit: why[:_LONGEST_WHY], **others})


def _refusing(refused: Mapping[str, str]) -> dict[str, str | None]:
    newest = dict(list(refused.items())[:_REMEMBERED])
    return {REFUSED_ANNOTATION: json.dumps(newest) if newest else None}


def _first(newest: str, before: Iterable[str]) -> str:
    return " ".join([newest, *(one for one in before if one != newest)][:_REMEMBERED])


def is_news(claim: WeightsClaim, served: Served) -> bool:
    """Say whether the claim does not yet remember that this was the last to answer."""
    remembered = Served(next(iter(claim.served), ""), claim.requested, claim.proven)
    return remembered != served


def is_unproven(model: Model, deployed: DeployedModel, claim: WeightsClaim) -> bool:
    """Say whether what is deployed was not seen to answer, and something else was before.

    A run that was killed after helm leaves such a model, however many replicas it has by now.
    """
    return not embeds(model) and claim.proven not in {"", deployed.digest}


def served_before(claim: WeightsClaim, running: Collection[str]) -> str:
    """Return the commit served before those that run now, empty when there was none."""
    return next((commit for commit in claim.served if commit not in running), "")


def missing_bytes(verdict: Verdict, claim: WeightsClaim | None) -> int:
    """Return the bytes that are to be fetched: files that no complete commit on the claim has."""
    if claim is None:
        return verdict.total_bytes
    if verdict.commit in claim.complete:
        return 0
    there = {name for blobs in claim.blobs.values() for name in blobs}
    return sum(file.size for file in verdict.files if blob_name(file) not in there)


def room_needed(verdict: Verdict, claim: WeightsClaim | None, running: Collection[str]) -> int:
    """Return the bytes of the verdict's commit and of those that run, shared files once."""
    if claim is None:
        return verdict.total_bytes
    wanted = {blob_name(file) for file in verdict.files}
    beside = {
        name: size
        for commit in running
        for name, size in claim.blobs.get(commit, {}).items()
        if name not in wanted
    }
    return verdict.total_bytes + sum(beside.values())
