"""Prefect that is killed, restarted or locked under an update: nothing is lost or done twice.

The Prefect server, its SQLite and `vllm-flows serve` are real processes of these tests.
"""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.integration.product.changing_models import (
    DEPLOYMENT,
    history,
    phi,
    served,
    session_of,
)
from tests.integration.product.restless import (
    HEARTBEAT_SECONDS,
    SOON_SECONDS,
    Restless,
    age,
    claims,
    until,
)
from vllm_flows.session import Session
from vllm_flows.weights_manifests import job_name

if TYPE_CHECKING:
    from conftest import Product

_WATCH_SECONDS = 12
_SENT_SECONDS = 2.0
"""How long an event that was claimed takes to be sent, at most."""


@pytest.fixture(scope="module")
def restless(shared_product: Product) -> Iterator[Restless]:
    """Serve a model, and the flows."""
    shared_product.install(phi())
    made = Restless(shared_product, shared_product.folder / "restless")
    try:
        made.start_server()
        made.start_worker()
        yield made
    finally:
        for name in list(made.processes):
            made.end(name, signal.SIGKILL)
        shared_product.hub("behave")
        shared_product.hub("rewind")


@pytest.fixture(autouse=True)
def calm(restless: Restless) -> Iterator[None]:
    """Leave no schedule to the next test."""
    yield
    restless.hurry()
    for name in ("watch", "health", "update"):
        restless.schedule(name)


@dataclass(frozen=True)
class Before:
    """What there was before an update."""

    revisions: int
    template: int

    @classmethod
    def of(cls, product: Product) -> Before:
        return cls(len(history(product)), _template(product))


def _template(product: Product) -> int:
    """Return how often the pods of the model were made anew."""
    found = json.loads(product.kubectl("get", "deployment", DEPLOYMENT, "-o", "json"))
    return int(found["metadata"]["annotations"]["deployment.kubernetes.io/revision"])


def assert_updated_once(restless: Restless, session: Session, new: str, before: Before) -> None:
    """Insist that the model was brought to the commit once, and nothing is left of it."""
    product = restless.product
    assert served(session) == new[:8]
    assert _template(product) == before.template + 1
    values = [
        new in product.helm("get", "values", "vllm", "--revision", str(one["revision"]))
        for one in history(product)
    ]
    changes = sum(one != the_next for one, the_next in itertools.pairwise(values))
    assert (changes, values[-1], len(values)) == (1, True, before.revisions + 1)
    pods = product.objects("pods", f"job-name={job_name('phi4', new)}")
    assert len(pods) == 1
    assert product.lease_holder() == ""
    assert product.release_statuses()[-1] == "deployed"
    assert set(product.release_statuses()[:-1]) <= {"superseded"}
    names = {one["metadata"]["name"] for one in product.objects("deployments")}
    assert not {name for name in names if "trial" in name}
    states = [one["state_type"] for one in restless.updates(new)]
    print(  # noqa: T201 -- the counts
        f"{new[:8]}: {len(restless.events(new))} events, updates {states}, "
        f"{len(values) - before.revisions} helm revision, {changes} of them changed the commit, "
        f"{len(pods)} download, {len(restless.runs('watch'))} looks"
    )


def look_again(restless: Restless) -> None:
    """Let the watcher look once more, long after, and wait until nothing is at work."""
    age(restless.product)
    look = restless.ask(f"deployments/{restless.deployment('watch')}/create_flow_run")["id"]
    until(lambda: look in {one["id"] for one in restless.runs("watch")} and restless.all_ended())


def test_of_schedules_that_overlap_and_an_event_heard_twice_one_updates(
    restless: Restless, monkeypatch: pytest.MonkeyPatch
):
    session, before = session_of(restless.product, monkeypatch), Before.of(restless.product)
    new = restless.commit()
    restless.schedule("watch", {}, {})
    restless.schedule("health", {})
    restless.schedule("update", {"model": "phi4"})
    until(lambda: restless.events(new))
    (event,) = restless.events(new)
    for one in (event["id"], str(uuid4())):
        restless.send(event, one)
    restless.hurry()
    until(lambda: len(restless.updates(new)) == 2 and restless.all_ended())
    assert len(restless.runs("watch")) == 2
    assert {one["state_type"] for one in restless.runs("watch")} == {"COMPLETED"}
    assert {one["state_type"] for one in restless.runs("update")} == {"COMPLETED"}
    look_again(restless)
    assert len(restless.events(new)) == 2
    assert_updated_once(restless, session, new, before)


def test_an_update_whose_worker_was_killed_is_done_by_the_next(
    restless: Restless, monkeypatch: pytest.MonkeyPatch
):
    session, before = session_of(restless.product, monkeypatch), Before.of(restless.product)
    new = restless.commit()
    with restless.called_crashed_after(HEARTBEAT_SECONDS + 5):
        restless.schedule("watch", {})
        until(lambda: restless.update_says(new, "the weights pod"))
        restless.end("worker", signal.SIGKILL)
        restless.hurry()
        restless.start_worker()
        age(restless.product)
        restless.schedule("watch", {}, every=_WATCH_SECONDS)
        until(lambda: len(restless.updates(new)) == 2)
    restless.schedule("watch")
    until(restless.all_ended)
    assert [one["state_type"] for one in restless.updates(new)] == ["CRASHED", "COMPLETED"]
    look_again(restless)
    assert len(restless.events(new)) == 2
    assert_updated_once(restless, session, new, before)


def test_an_update_that_was_killed_after_helm_is_proven_by_the_next(
    restless: Restless, monkeypatch: pytest.MonkeyPatch
):
    session, before = session_of(restless.product, monkeypatch), Before.of(restless.product)
    new = restless.commit()
    restless.hurry()
    with restless.called_crashed_after(HEARTBEAT_SECONDS + 5):
        restless.schedule("watch", {})
        with restless.held_once_it_says("release revision"):
            restless.end("worker", signal.SIGKILL)
        assert session.observe().claims["phi4"].served[0] != new
        restless.start_worker()
        age(restless.product)
        restless.schedule("watch", {}, every=_WATCH_SECONDS)
        until(lambda: len(restless.updates(new)) == 2)
    restless.schedule("watch")
    until(restless.all_ended)
    assert [one["state_type"] for one in restless.updates(new)] == ["CRASHED", "COMPLETED"]
    assert session.observe().claims["phi4"].served[0] == new
    look_again(restless)
    assert len(restless.events(new)) == 2
    assert_updated_once(restless, session, new, before)


def test_an_update_outlives_servers_that_are_restarted_and_killed(
    restless: Restless, monkeypatch: pytest.MonkeyPatch
):
    session, before = session_of(restless.product, monkeypatch), Before.of(restless.product)
    new = restless.commit()
    restless.schedule("watch", {})
    until(lambda: restless.update_says(new, "the weights pod"))
    restless.end("server", signal.SIGTERM)
    restless.hurry()
    restless.start_server()
    until(lambda: restless.update_says(new, "helm upgrade"))
    restless.end("server", signal.SIGKILL)
    restless.start_server()
    until(restless.all_ended)
    look_again(restless)
    assert len(restless.events(new)) == 1
    assert_updated_once(restless, session, new, before)


def test_an_update_outlives_a_database_that_is_locked(
    restless: Restless, monkeypatch: pytest.MonkeyPatch
):
    session, before = session_of(restless.product, monkeypatch), Before.of(restless.product)
    new = restless.commit()
    restless.schedule("watch", {})
    with restless.locked():
        time.sleep(SOON_SECONDS)
    until(lambda: restless.update_says(new, "the weights pod"))
    with restless.locked():
        restless.hurry()
    until(restless.all_ended)
    look_again(restless)
    assert len(restless.events(new)) == 1
    assert_updated_once(restless, session, new, before)


def test_an_event_that_died_with_the_server_is_told_again(
    restless: Restless, monkeypatch: pytest.MonkeyPatch
):
    product = restless.product
    session, before = session_of(product, monkeypatch), Before.of(product)
    new = restless.commit()
    restless.hurry()
    restless.schedule("watch", {})
    with restless.held_once_it_says("'look at revisions' - Finished") as go_on, restless.locked():
        # It takes the event now, and can neither write it down nor begin an update.
        go_on()
        until(lambda: claims(product).get("phi4", {}).get("new") == new)
        time.sleep(_SENT_SECONDS)
        restless.end("server", signal.SIGKILL)
    restless.start_server()
    until(restless.all_ended)
    lost = not restless.events(new) and not restless.updates(new)
    look_again(restless)
    until(lambda: restless.updates(new) and restless.all_ended())
    assert len(restless.events(new)) == 1
    assert_updated_once(restless, session, new, before)
    print(f"{new[:8]}: the event was {'lost and sent again' if lost else 'not lost'}")  # noqa: T201 -- likewise
