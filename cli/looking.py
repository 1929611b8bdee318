"""`status`: how the deployed models are. Quick, so nothing heavy is imported for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cli.listed import listed_in
from cli.options import Options
from cli.output import emit, note, output_option

if TYPE_CHECKING:
    from vllm_flows.status import Status

_UNHEALTHY = 6


@click.command()
@output_option
@click.pass_obj
def status(options: Options, *, form: str) -> None:
    """Show how each model is: revision, replicas, GPUs, nodes, restarts, and what is wrong.

    Exits with 6 when a model of models.yaml, or the router, is down, degraded or not deployed, and
    when models.yaml cannot be used, so that nobody knows which models should be there.
    """
    from vllm_flows.status import UNHEALTHY
    from vllm_flows.status_reading import read_status

    settings = options.settings()
    listed = listed_in(settings)
    found = read_status(settings, listed.replicas)
    if form == "table":
        _show(found, settings.namespace)
    else:
        emit([_data(one) for one in found], form)
    if listed.error or any(one.health in UNHEALTHY for one in found):
        sys.exit(_UNHEALTHY)


def _show(found: Sequence[Status], namespace: str) -> None:
    if not found:
        note(f"nothing is deployed in namespace {namespace}\n  next: vllm-flows install")
        return
    emit(_rows(found), "table")
    for one in found:
        if one.next_command:
            note(f"{one.name}: next: {one.next_command}")
    endpoint = next((one.endpoint for one in found if one.endpoint), "")
    if endpoint:
        note(f"endpoint: {endpoint}   (from outside: vllm-flows port-forward)")


def _rows(found: Sequence[Status]) -> list[dict[str, Any]]:
    from vllm_flows.sizes import human_age

    diagnosed = any(one.diagnosis for one in found)
    rows = []
    for one in found:
        row = {
            "model": one.name,
            "state": str(one.health),
            "revision": one.revision[:8] or "-",
            "ready": f"{one.ready}/{one.wanted}",
            "GPUs": one.gpus,
            "node": ", ".join(one.nodes) or "-",
            "age": "-" if one.age is None else human_age(one.age),
            "restarts": one.restarts,
        }
        rows.append(row | {"diagnosis": one.diagnosis or "-"} if diagnosed else row)
    return rows


def _data(one: Status) -> dict[str, Any]:
    return {
        "model": one.name,
        "state": str(one.health),
        "revision": one.revision,
        "replicas": one.wanted,
        "ready": one.ready,
        "gpus": one.gpus,
        "nodes": list(one.nodes),
        "ageSeconds": None if one.age is None else round(one.age),
        "restarts": one.restarts,
        "endpoint": one.endpoint,
        "diagnosis": one.diagnosis,
        "category": one.category,
        "next": one.next_command,
    }
