"""Whether a commit is to blame for a failure, and is not to be tried again by itself. Pure.

It is where nothing but the commit changed, and the failure is one that this commit would end in
again. No room, a volume, the router, an API key and options of models.yaml are not its fault. What
an engine makes of its options follows from the model's configuration too, so a commit with another
one is to blame for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm_flows.completions import KeyRefusedError, UnprotectedError
from vllm_flows.diagnosis_categories import Category
from vllm_flows.differences import entries
from vllm_flows.errors import NO_ANSWER, CompletionError, VllmFlowsError
from vllm_flows.going_back import WayBack
from vllm_flows.observed import DIGEST_ANNOTATION, REVISION_ANNOTATION, Description
from vllm_flows.planning import Decision
from vllm_flows.values import at_new_commit

_OF_THE_COMMIT = {
    Category.UNSUPPORTED_MODEL,
    Category.CODE_NOT_TRUSTED,
    Category.GPU_MEMORY,
    Category.HOST_MEMORY,
    Category.PROBE_KILL,
    Category.CRASH_LOOP,
    Category.LOADING,
    NO_ANSWER,
}
_OF_ITS_CONFIGURATION = {
    Category.CONTEXT_TOO_LONG,
    Category.TENSOR_PARALLEL,
    Category.ENGINE_CONFIGURATION,
    Category.KV_CACHE,
}
_OF_THE_KEY = (KeyRefusedError, UnprotectedError)


def held_against(run: Decision, model: str, served: str, error: VllmFlowsError) -> str:
    """Return why a commit that was tried beside or after `served` did not do.

    Empty where it is not to blame. Nothing but the commit was changed.
    """
    return reason(error) if _is_to_blame(error, _reconfigured(run, model, served)) else ""


def held_against_tried(run: Decision, way: WayBack, model: str, error: VllmFlowsError) -> str:
    """Return the same for a model that was changed, failed, and went back by this way."""
    chart = way.past.chart_version if way.past else run.desired.chart.version
    if not only_moved(run, model, way.values, chart):
        return ""
    return held_against(run, model, _mark(way.values, model), error)


def only_moved(run: Decision, model: str, before: Mapping[str, Any], chart_version: str) -> bool:
    """Say whether a model is to be what it was by the values `before`, at another commit."""
    tried = run.commit(model)
    moved = at_new_commit(before, model, tried, chart_version)
    wanted = run.desired.values
    alike = _mark(moved, model, DIGEST_ANNOTATION) == _mark(wanted, model, DIGEST_ANNOTATION)
    return alike and _mark(before, model) != tried


def reason(error: VllmFlowsError) -> str:
    """Return in one line what failed, and why."""
    first = error.why.partition("\n")[0]
    return f"{error.what}: {first}" if first else error.what


def _is_to_blame(error: VllmFlowsError, reconfigured: bool) -> bool:  # noqa: FBT001 -- of two facts
    if isinstance(error, CompletionError):
        return not (error.retryable or isinstance(error, _OF_THE_KEY))
    return error.category in _OF_THE_COMMIT or (
        reconfigured and error.category in _OF_ITS_CONFIGURATION
    )


def _reconfigured(run: Decision, model: str, served: str) -> bool:
    """Say whether the commit's configuration is known to be another than that of the served one."""
    before = run.claim(model).described.get(served, Description()).config
    now = run.desired.verdicts[model].config
    return bool(before and now) and before != now


def _mark(values: Mapping[str, Any], model: str, key: str = REVISION_ANNOTATION) -> str:
    return str(entries(values)[model]["podAnnotations"][key])
