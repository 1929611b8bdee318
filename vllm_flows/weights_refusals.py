"""What the API refuses of weights Jobs' pods, and what helps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from vllm_flows.diagnosis_categories import Category, Diagnosis, Object, Place
from vllm_flows.diagnosis_refusals import refused
from vllm_flows.errors import PlacementError
from vllm_flows.models import Model
from vllm_flows.settings import Settings

_NEXT_COMMANDS: Mapping[Category, str] = {
    Category.POD_SECURITY: "kubectl label --overwrite namespace {namespace} "
    "pod-security.kubernetes.io/enforce=baseline   (the engines need that; the Job alone meets "
    "`restricted` with VLLM_WEIGHTS_USER=1000)",
    Category.NO_ROOM: "kubectl describe nodes   (the Job takes half a CPU and 1 GiB beside all "
    "that runs)",
    Category.EVICTED: "kubectl describe node {node}   (its pressure)",
}
"""Where another command than an engine's helps a weights pod."""


def for_a_job(found: Diagnosis, namespace: str) -> Diagnosis:
    """Return a diagnosis with the command that helps a weights pod."""
    command = _NEXT_COMMANDS.get(found.category)
    if command is None:
        return found
    return replace(found, next_command=command.format(namespace=namespace, node="NODE"))


def refused_beforehand(model: Model, settings: Settings, words: str) -> PlacementError | None:
    """Return the problem that the API would refuse the model's weights pod, in its `words`.

    None for "", for what the next try may not meet, and for a quota that is used up: with Jobs at
    work it may be by these, and `quota` counts it.
    """
    place = Place(settings.namespace, "JOB")
    found = for_a_job(refused(place, words, making_room=True), settings.namespace)
    if not words or not found.definite:
        return None
    return PlacementError(
        f"the weights pod: {found.summary}",
        why=words,
        next_command=found.next_command,
        model=model.name,
    )


def refusal_of(events: Iterable[Object], job: Object, newest: Object | None) -> str:
    """Return why the API refused the Job's next pod, in its words; "" when it did not.

    `events` are those of Jobs of that name; what was refused before the `newest` pod is over.
    """
    after = str(newest["metadata"]["creationTimestamp"]) if newest else ""
    found = [
        (_moment(event), str(event.get("message", "")))
        for event in events
        if event.get("reason") == "FailedCreate"
        and event["involvedObject"].get("uid") == job["metadata"]["uid"]
    ]
    moment, message = max(found, default=("", ""))
    return message if moment >= after else ""


def _moment(event: Object) -> str:
    times = (event.get("lastTimestamp"), event.get("eventTime"))
    return str(next(filter(None, times), event["metadata"]["creationTimestamp"]))
