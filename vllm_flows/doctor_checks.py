"""Judging what this machine and the services around it are like: findings from data. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vllm_flows.addresses import without_credentials
from vllm_flows.chart import CHART_NAME
from vllm_flows.doctor_findings import Finding, State, told
from vllm_flows.errors import VllmFlowsError
from vllm_flows.hub_refusals import Account
from vllm_flows.hub_token import describe, shortcoming
from vllm_flows.settings import Settings
from vllm_flows.settings_sources import SetSetting

_HELM_VERSIONS = (3, 4)
_CHARTS = ((0, 1, 8), (0, 1, 12))
"""The oldest and the newest version of the chart that is known to do."""
_REFUSED_LOGIN = {401, 403}
_HTTP_OK = 200


def judge_settings(
    settings: Sequence[SetSetting], misspelt: Mapping[str, str], wrong: VllmFlowsError | None
) -> Finding:
    """Say which settings are set and from where, or what is wrong with them."""
    if wrong:
        return told("settings", wrong, State.PROBLEM)
    said = [
        f"{one.variable} {'is set' if one.text == 'set' else f'is {one.text}'} ({one.source})"
        for one in settings
    ]
    found = "; ".join([*said, "all others are at their defaults" if said else "all at defaults"])
    if misspelt:
        names = "; ".join(f"{name} is no setting, {like} is" for name, like in misspelt.items())
        return Finding("settings", State.WARNING, f"{names}; {found}", _corrections(misspelt))
    return Finding("settings", State.OK, found)


def _corrections(misspelt: Mapping[str, str]) -> str:
    return "unset " + " ".join(misspelt) + "   (and set, or correct in .env, the other name)"


def judge_models(models: int, file: object) -> Finding:
    """Say how many models a valid file lists."""
    count = f"{models} model{'' if models == 1 else 's'}"
    return Finding("models file", State.OK, f"{file}: {count}")


def judge_helm(version: str) -> Finding:
    """Say whether helm is one of those that this product speaks to; `version` as `v4.3.1`."""
    match = re.match(r"v?(\d+)\.", version)
    if match and int(match[1]) in _HELM_VERSIONS:
        return Finding("helm", State.OK, version)
    text = f"{version or 'a helm of unknown version'} is neither Helm 3 nor Helm 4"
    return Finding("helm", State.PROBLEM, text, "open https://helm.sh/docs/intro/install/")


def judge_chart(chart: Mapping[str, Any], settings: Settings, notes: Sequence[str] = ()) -> Finding:
    """Judge the chart by its Chart.yaml; `notes` say what counts for nothing in the settings."""
    name, version = str(chart.get("name")), str(chart.get("version"))
    found = f"{name} {version} ({without_credentials(_place(settings))})"
    if name != CHART_NAME:
        fix = f"set VLLM_CHART to a chart {CHART_NAME}, or unset it"
        return Finding("chart", State.PROBLEM, f"{found} is not {CHART_NAME}", fix)
    oldest, newest = (".".join(map(str, one)) for one in _CHARTS)
    if not _CHARTS[0] <= _numbers(version) <= _CHARTS[1]:
        text = f"{found}: {oldest} to {newest} are known to do"
        return Finding("chart", State.WARNING, text, f"VLLM_CHART_VERSION={newest}")
    if notes:
        text = "; ".join([found, *notes])
        return Finding("chart", State.WARNING, text, "unset VLLM_CHART_VERSION   (also in .env)")
    return Finding("chart", State.OK, found)


def chart_failed(error: VllmFlowsError, settings: Settings) -> Finding:
    """Say that the chart could not be had, and how to look for it without us."""
    fix = f"helm show chart {settings.chart} --version {settings.chart_version}"
    if settings.chart == Settings.model_fields["chart"].default:
        fix = f"curl -sSI {settings.chart_repository}/index.yaml"
    text = without_credentials(" ".join(f"{error.what}: {error.why}".split()))
    state = State.UNKNOWN if error.retryable else State.PROBLEM
    return Finding("chart", state, text, without_credentials(fix))


def _place(settings: Settings) -> str:
    at_default = settings.chart == Settings.model_fields["chart"].default
    return settings.chart_repository if at_default else settings.chart


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0]))


def judge_token(account: Account, source: str, endpoint: str, now: datetime) -> Finding:
    """Judge the Hub token by what the Hub says of it; `source` says where it is from."""
    found = f"{describe(account)} ({source})"
    short = shortcoming(account, endpoint, now)
    if short:
        return Finding("hub token", State.WARNING, found, short.next_command)
    return Finding("hub token", State.OK, found)


def no_token() -> Finding:
    """Say that there is no Hub token, which only gated and private models need."""
    return Finding("hub token", State.OK, "none; gated models need one: vllm-flows set-hf-token")


def judge_prefect(address: str, answer: int | str, *, configured: bool) -> Finding:
    """Judge the Prefect server at `address` by its HTTP status, or by why there is no answer."""
    shown = without_credentials(address)
    if answer == _HTTP_OK:
        text = f"{shown} answers" if configured else f"{shown} answers (vllm-flows serve)"
        return Finding("prefect", State.OK, text)
    if not configured:
        text = "no server is configured: a temporary one records each run, and is then gone"
        return Finding("prefect", State.WARNING, text, "vllm-flows serve")
    if answer in _REFUSED_LOGIN:
        text = f"{shown} wants another login (HTTP {answer})"
        fix = "prefect cloud login   (or set PREFECT_API_KEY or PREFECT_API_AUTH_STRING)"
        return Finding("prefect", State.PROBLEM, text, fix)
    why = f"HTTP {answer}" if isinstance(answer, int) else answer
    text = f"the server at {shown} does not answer as one: {without_credentials(why)}"
    fix = "start it (vllm-flows serve), or: prefect config unset PREFECT_API_URL"
    return Finding("prefect", State.PROBLEM, text, fix)
