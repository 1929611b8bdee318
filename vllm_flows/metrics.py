"""What is told of runs as Prometheus metrics, and how data become their samples. Pure.

Every sample has the labels `namespace` and `flow`, and those that its metric names. Names and
labels are a stable contract: rules and dashboards of others hold on to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vllm_flows.errors import VllmFlowsError
from vllm_flows.health import Checked, Health, State
from vllm_flows.outage import Outage
from vllm_flows.revision_class import MOVED
from vllm_flows.revision_memory import Seen

_FAILED, _STOPPED = 1, 130
_NO_FAILURES = {0, 5, _STOPPED}
"""Exit codes of runs that came to their end, that another one locked out, or that were stopped."""


class Metric(NamedTuple):
    """A gauge, and the labels of its own that its samples have."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """One value, with the metric's labels in their order."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


Measured = dict[str, Sequence[Sample]]
"""What a run measured, by a word of its own: a later measurement takes the place of an earlier."""

ROLLOUT = "rollout"
"""The word for how models answered while they were replaced; each sample begins with its model."""


class Lasting(NamedTuple):
    """Samples that only others of the same name replace: of a `model`, or of the flow ("")."""

    name: str
    model: str
    samples: Sequence[Sample]


RUN_END = Metric("vllm_flows_run_end_timestamp_seconds", "When the last run ended")
RUN_SECONDS = Metric(
    "vllm_flows_run_duration_seconds", "How long the last run took, waiting included"
)
RUN_SUCCESS = Metric("vllm_flows_run_success", "1 when the last run came to its end, else 0")
RUN_EXIT_CODE = Metric(
    "vllm_flows_run_exit_code",
    "How the last run ended: 0 done, 1 failed, 4 timed out, 5 locked by another run, "
    "64 wrong configuration, 130 stopped",
)
RUN_FAILED = Metric(
    "vllm_flows_run_failed_timestamp_seconds",
    "When the last run ended that failed; no later run takes it away",
)
RUN_SUCCEEDED = Metric(
    "vllm_flows_run_succeeded_timestamp_seconds",
    "When the last run ended that came to its end; no later run takes it away",
)
MEASURED = Metric(
    "vllm_flows_measured_timestamp_seconds",
    "When the last run ended that measured something: all but the metrics of runs is of then",
)
MODELS = Metric("vllm_flows_models", "How many models are in the state", ("state",))
MODEL_STATE = Metric(
    "vllm_flows_model_state", "1 for the state that the model is in, else 0", ("model", "state")
)
READY = Metric("vllm_flows_model_replicas_ready", "Replicas that are ready", ("model",))
WANTED = Metric("vllm_flows_model_replicas_wanted", "Replicas that should be", ("model",))
FIRST_TOKEN = Metric(
    "vllm_flows_model_first_token_seconds", "How long the first token took", ("model",)
)
TOKENS_PER_SECOND = Metric(
    "vllm_flows_model_tokens_per_second", "Tokens per second of one answer", ("model",)
)
FINDINGS = Metric(
    "vllm_flows_findings",
    "What was found of the model, or of (router), (release), (hub), (volumes); the state is what "
    "it makes of it",
    ("model", "kind", "state"),
)
REQUESTS = Metric(
    "vllm_flows_rollout_requests", "Requests sent to the model while it was replaced", ("model",)
)
LOST = Metric("vllm_flows_rollout_requests_lost", "Of these, those without an answer", ("model",))
SILENT = Metric(
    "vllm_flows_rollout_silent_seconds", "How long nobody answered for it, in all", ("model",)
)
LONGEST_GAP = Metric(
    "vllm_flows_rollout_longest_gap_seconds", "How long nobody answered, at most", ("model",)
)
SLOWEST = Metric(
    "vllm_flows_rollout_slowest_answer_seconds", "How long an answer took, at most", ("model",)
)
UNMEASURED = Metric(
    "vllm_flows_rollout_not_measured_seconds",
    "How long the requests could not be sent: nobody knows whether it answered",
    ("model",),
)
ROLLOUT_END = Metric(
    "vllm_flows_rollout_end_timestamp_seconds",
    "When the run ended that replaced the model last: all metrics of its rollout are of then",
    ("model",),
)
REVISION_MOVED = Metric(
    "vllm_flows_model_revision_moved",
    "1 when its revision stands for another commit than the one that is served",
    ("model", "class", "update"),
)

METRICS = (
    *(RUN_END, RUN_SECONDS, RUN_SUCCESS, RUN_EXIT_CODE, RUN_FAILED, RUN_SUCCEEDED),
    *(MEASURED, MODELS, MODEL_STATE, READY, WANTED, FIRST_TOKEN, TOKENS_PER_SECOND, FINDINGS),
    *(REQUESTS, LOST, SILENT, LONGEST_GAP, SLOWEST, UNMEASURED, ROLLOUT_END),
    REVISION_MOVED,
)
"""All that there are."""

FLOWS = (
    *("deploy", "update", "rollback", "uninstall", "health", "watch", "prune", "unlock"),
    "device-plugin",
)
"""Whose runs are told."""


def exit_code(error: BaseException | None) -> int:
    """Return the exit code of a run that ended with this error, as the command line has it."""
    if error is None:
        return 0
    if isinstance(error, VllmFlowsError):
        return error.exit_code
    # What is no Exception is a signal, or Prefect's word for one.
    return _FAILED if isinstance(error, Exception) else _STOPPED


def outdated_by(flow: str, code: int) -> tuple[str, ...]:
    """Return the flows whose metrics are of something that is gone after a run of this flow."""
    return tuple(one for one in FLOWS if one != flow) if (flow, code) == ("uninstall", 0) else ()


def of_run(begin: float, end: float, code: int) -> list[Sample]:
    """Return what is told of every run; times in seconds since the epoch."""
    return [
        Sample(RUN_END, end),
        Sample(RUN_SECONDS, end - begin),
        Sample(RUN_SUCCESS, float(code == 0)),
        Sample(RUN_EXIT_CODE, code),
    ]


def of_measured(measured: Measured, end: float) -> list[Sample] | None:
    """Return all that a run measured but rollouts, with when; None where that is nothing."""
    found = [some for word, some in measured.items() if word != ROLLOUT]
    if not found:
        return None
    return [Sample(MEASURED, end), *(one for some in found for one in some)]


def lasting(measured: Measured, end: float, code: int) -> list[Lasting]:
    """Return what other runs of the flow leave as it is: each model's last rollout, how it ended.

    A run that another one locked out, or that was stopped, is neither a failure nor a success.
    """
    found = []
    if code not in _NO_FAILURES:
        found.append(Lasting("failed", "", [Sample(RUN_FAILED, end)]))
    if code == 0:
        found.append(Lasting("succeeded", "", [Sample(RUN_SUCCEEDED, end)]))
    rollouts = measured.get(ROLLOUT, ())
    for model in dict.fromkeys(one.labels[0] for one in rollouts):
        samples = [one for one in rollouts if one.labels[0] == model]
        found.append(Lasting(ROLLOUT, model, [*samples, Sample(ROLLOUT_END, end, (model,))]))
    return found


def of_health(health: Health) -> list[Sample]:
    """Return what a check of all models found; what could not be measured has no sample."""
    models = [one for one in health.checked if not one.shared]
    return [
        *(Sample(MODELS, count, (str(state),)) for state, count in health.counts().items()),
        *(sample for one in models for sample in _of_model(one)),
        *(sample for one in health.checked for sample in _findings(one)),
    ]


def _of_model(one: Checked) -> Iterable[Sample]:
    for state in State:
        yield Sample(MODEL_STATE, float(one.state is state), (one.name, str(state)))
    if one.ready or one.wanted:
        yield Sample(READY, one.ready, (one.name,))
        yield Sample(WANTED, one.wanted, (one.name,))
    if one.first_token_seconds is not None:
        yield Sample(FIRST_TOKEN, one.first_token_seconds, (one.name,))
    if one.tokens_per_second is not None:
        yield Sample(TOKENS_PER_SECOND, one.tokens_per_second, (one.name,))


def _findings(one: Checked) -> Iterable[Sample]:
    for (kind, state), count in Counter((each.kind, each.state) for each in one.findings).items():
        yield Sample(FINDINGS, count, (one.name, str(kind), str(state)))


def of_rollout(silence: Mapping[str, Outage]) -> list[Sample]:
    """Return how the models answered while they were replaced."""
    return [
        Sample(metric, value, (model,))
        for model, outage in silence.items()
        for metric, value in (
            (REQUESTS, outage.asked),
            (LOST, outage.lost),
            (SILENT, outage.seconds),
            (LONGEST_GAP, outage.longest),
            (SLOWEST, outage.slowest),
            (UNMEASURED, outage.not_measured_seconds),
        )
    ]


def of_revisions(seen: Iterable[Seen], policies: Mapping[str, str]) -> list[Sample]:
    """Return which revisions stand for another commit than the one that is served.

    `policies` are by model what models.yaml says of updates.
    """
    return [
        Sample(REVISION_MOVED, 1.0, (one.model, str(one.change), policies[one.model]))
        for one in seen
        if one.change in MOVED
    ]
