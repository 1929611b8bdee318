"""The doctor's questions: what is asked of each outside system, and who judges the answer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

from vllm_flows import credentials
from vllm_flows import doctor_checks as machine
from vllm_flows import doctor_cluster as judged
from vllm_flows.chart import locate_chart, overruled_version
from vllm_flows.cluster import Cluster
from vllm_flows.cluster_questions import missing_rights, user_name
from vllm_flows.doctor_findings import Answer, Finding, Question, State, told
from vllm_flows.doctor_secrets import of_secrets
from vllm_flows.errors import (
    ConfigurationError,
    HubUnavailableError,
    MissingProgramError,
    NoRightError,
    ReleaseError,
)
from vllm_flows.helm import Helm
from vllm_flows.hub_token import account_of, reach
from vllm_flows.lease import current_holder, wall_clock
from vllm_flows.models_file import load_models
from vllm_flows.nodes import nodes_of
from vllm_flows.rights import (
    FORESEEING,
    HELPFUL,
    NEW_NAMESPACE,
    judge_helpful,
    judge_needed,
    needed,
)
from vllm_flows.settings import Settings, env_file, load_settings
from vllm_flows.settings_sources import misspelt, set_settings
from vllm_flows.surroundings import HOLD_RESOURCES

SECONDS = 5
"""The longest that helm is given for an answer."""


def of_this_machine(settings: Settings, flags: Mapping[str, object]) -> list[Question]:
    """Return the questions that need no cluster."""
    known = [
        Question(("settings",), partial(_settings, flags)),
        Question(("models file",), partial(_models, settings)),
        Question(("helm",), partial(_helm, settings)),
        Question(("chart",), partial(_chart, settings)),
        Question(("hub",), partial(_hub, settings)),
    ]
    if settings.hf_token:
        known.append(Question(("hub token",), partial(_token_given, settings)))
    return known


def of_cluster(cluster: Cluster, settings: Settings) -> list[Question]:
    """Return the questions to a cluster that answers."""
    known = [
        Question(("namespace",), partial(_namespace, cluster)),
        Question(("rights", "cluster-wide rights"), partial(_rights, cluster, settings)),
        Question(("gpus", "device plugin"), partial(_gpus, cluster, settings)),
        Question(("runtime class",), partial(_runtime_class, cluster, settings)),
        Question(("storage class",), partial(_storage, cluster, settings)),
        *of_secrets(cluster, settings),
        Question(("release",), partial(_release, settings)),
        Question(("lock",), partial(_lock, cluster)),
    ]
    if not settings.hf_token:
        known.append(Question(("hub token",), partial(_token_stored, cluster, settings)))
    return known


def _settings(flags: Mapping[str, object]) -> Answer:
    try:
        file = env_file()
        load_settings(**flags)
    except ConfigurationError as error:
        return [machine.judge_settings([], {}, error)]
    found = set_settings(flags, os.environ, file)
    return [machine.judge_settings(found, misspelt({*os.environ, *file}), None)]


def _models(settings: Settings) -> Answer:
    models = load_models(settings.models_file)
    return [machine.judge_models(len(models), settings.models_file)]


def _helm(settings: Settings) -> Answer:
    try:
        return [machine.judge_helm(_program(settings).version(SECONDS))]
    except (MissingProgramError, ReleaseError) as error:
        return [told("helm", error, State.PROBLEM)]


def _program(settings: Settings) -> Helm:
    return Helm(settings.namespace, settings.kube_context)


def _chart(settings: Settings) -> Answer:
    chart = locate_chart(settings)
    try:
        described = _program(settings).described(chart, SECONDS)
    except ReleaseError as error:
        return [machine.chart_failed(error, settings)]
    return [machine.judge_chart(described, settings, overruled_version(settings, chart))]


def _hub(settings: Settings) -> Answer:
    try:
        reach(settings.hub_endpoint)
    except HubUnavailableError as error:
        return [told("hub", error, State.PROBLEM)]
    return [Finding("hub", State.OK, f"{settings.hub_endpoint} answers")]


def _token_given(settings: Settings) -> Answer:
    given = settings.hf_token.get_secret_value() if settings.hf_token else ""
    place = credentials.HF_TOKEN
    return _token(settings, credentials.checked(given, place.variable, place), place.variable)


def _token_stored(cluster: Cluster, settings: Settings) -> Answer:
    stored = credentials.read(cluster, credentials.HF_TOKEN, None)
    return _token(settings, stored.value, stored.source) if stored else [machine.no_token()]


def _token(settings: Settings, token: str, source: str) -> Answer:
    endpoint = settings.hub_endpoint
    try:
        account = account_of(endpoint, token, source)
    except HubUnavailableError as error:  # the check of the Hub says what to do about it
        return [Finding("hub token", State.UNKNOWN, f"set ({source}); {error.what}")]
    return [machine.judge_token(account, source, endpoint, datetime.now(UTC))]


def _namespace(cluster: Cluster) -> Answer:
    found = cluster.get("Namespace", cluster.namespace)
    may_make = found is None and not missing_rights(cluster, NEW_NAMESPACE)
    return [judged.judge_namespace(cluster.namespace, found, may_make=may_make)]


def _rights(cluster: Cluster, settings: Settings) -> Answer:
    missing = missing_rights(
        cluster, [*needed(router=settings.router_enabled), *FORESEEING, *HELPFUL]
    )
    user = user_name(cluster) if missing else ""
    here = [right for right in missing if not right.everywhere]
    everywhere = [right for right in missing if right.everywhere]
    return [
        judge_needed(here, cluster.namespace, user),
        judge_helpful(everywhere, cluster.namespace, user),
    ]


def _gpus(cluster: Cluster, settings: Settings) -> Answer:
    nodes = cluster.find("Node")
    try:
        pods = cluster.find("Pod", fields=HOLD_RESOURCES, everywhere=True)
    except NoRightError:
        pods = None
    found = nodes_of(nodes, pods or [])
    return [
        judged.judge_gpus(found, free_known=pods is not None, autoscaling=settings.autoscaling),
        judged.judge_device_plugin(found),
    ]


def _runtime_class(cluster: Cluster, settings: Settings) -> Answer:
    name = settings.runtime_class
    found = cluster.get("RuntimeClass", name) if name else None
    return [judged.judge_runtime_class(name, found)]


def _storage(cluster: Cluster, settings: Settings) -> Answer:
    return [judged.judge_storage(cluster.find("StorageClass"), settings)]


def _release(settings: Settings) -> Answer:
    try:
        return [judged.judge_release(_program(settings).release())]
    except ReleaseError as error:
        return [judged.release_unread(error)]


def _lock(cluster: Cluster) -> Answer:
    return [judged.judge_lock(current_holder(cluster), cluster.namespace, wall_clock())]
