"""Looks at every prerequisite, at the same time where it waits, and tells of each.

A question that fails or takes too long is a finding of its own, and hides no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait

from vllm_flows import doctor_questions as questions
from vllm_flows.cluster import Cluster
from vllm_flows.cluster_questions import address, server_version
from vllm_flows.doctor_cluster import judge_reached, judge_unreached
from vllm_flows.doctor_findings import Finding, Question, failed, late, not_asked
from vllm_flows.errors import ClusterError, ConfigurationError
from vllm_flows.retrying import TryAgainError, begun, within
from vllm_flows.settings import Settings, usable_settings

SECONDS = questions.SECONDS + 1.0
"""How long an answer is waited for; what takes longer is unknown."""

ORDER = (
    "settings",
    "models file",
    "cluster",
    "namespace",
    "rights",
    "cluster-wide rights",
    "helm",
    "chart",
    "gpus",
    "device plugin",
    "runtime class",
    "storage class",
    "hub",
    "hub token",
    "secrets",
    "external secrets",
    "vault",
    "prefect",
    "release",
    "lock",
)
"""All checks, as they are shown."""


def examine(flags: Mapping[str, object], *others: Question) -> list[Finding]:
    """Ask all questions, and the `others`; return a finding for each check, in their order.

    `flags` are the settings that the command line gave. Takes no longer than twice `SECONDS`, but
    for a login program of the kubeconfig, which has its own time.
    """
    settings = usable_settings(**flags)
    at_once = _begun([*questions.of_this_machine(settings, flags), *others])
    cluster, reached = _reach(settings)
    in_cluster = _begun(questions.of_cluster(cluster, settings)) if cluster else []
    found = [reached, *_answers(at_once), *_answers(in_cluster)]
    told_of = {finding.check for finding in found}
    silent = [check for check in ORDER if check not in told_of]
    found += not_asked(silent, "the cluster does not answer")
    return sorted(found, key=lambda finding: ORDER.index(finding.check))


def _reach(settings: Settings) -> tuple[Cluster | None, Finding]:
    """Find the cluster: nobody has to wait long to be told that it does not answer."""
    try:
        cluster = Cluster.connect(settings.namespace, settings.kube_context)
        version = within(SECONDS, lambda: server_version(cluster))
    except (ClusterError, ConfigurationError, TryAgainError) as error:
        return None, judge_unreached(error)
    return cluster, judge_reached(version, address(cluster), settings.kube_context)


_Begun = list[tuple[Question, Future[list[Finding]]]]


def _begun(asked: Iterable[Question]) -> _Begun:
    return [(question, begun(question.ask)) for question in asked]


def _answers(asked: _Begun) -> list[Finding]:
    wait([answer for _, answer in asked], SECONDS)
    return [finding for question, answer in asked for finding in _answer(question, answer)]


def _answer(question: Question, answer: Future[list[Finding]]) -> list[Finding]:
    if not answer.done():
        return [late(check, SECONDS) for check in question.checks]
    error = answer.exception()
    if error:
        return [failed(check, error) for check in question.checks]
    return answer.result()
