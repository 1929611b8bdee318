"""A commit pushed to the Hub is served some time later, with nobody touching anything."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from huggingface_hub import HfApi

from sandbox.ports import unused
from tasks.update_runs import AUTOMATION
from tests import prefect_api
from tests.integration.product.changing_models import (
    REPOSITORY,
    deployed_commit,
    phi,
    served,
    session_of,
)
from tests.integration.product.test_revisions import SECRET, receiving

if TYPE_CHECKING:
    from conftest import Product

_PATIENCE = 180.0
_QUIET_SECONDS = 15.0
ENDS = {"COMPLETED", "FAILED", "CRASHED"}


@dataclass
class Prefect:
    """A Prefect server of its own, with the flows served where models.yaml lies."""

    url: str

    def ask(self, path: str, **body: object) -> Any:
        """Ask the Prefect API."""
        return prefect_api.ask(f"{self.url}/api", path, **body)

    def updates(self) -> list[dict[str, Any]]:
        """Return the runs of `update`, the oldest first."""
        wanted = {"name": {"any_": ["update"]}}
        found: list[dict[str, Any]] = self.ask(
            "flow_runs/filter", flows=wanted, sort="EXPECTED_START_TIME_ASC"
        )
        return found

    def ended(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many updates have come to their end, and return all there are."""
        until(lambda: sum(one["state_type"] in ENDS for one in self.updates()) >= count)
        return self.updates()

    def paused(self) -> dict[str, Any]:
        """Wait until an update waits for somebody's word, with its form, and return its run."""

        def waiting() -> list[dict[str, Any]]:
            paused = [one for one in self.updates() if one["state_type"] == "PAUSED"]
            return [one for one in paused if self.form(one).is_success]

        until(waiting)
        return waiting()[-1]

    def form(self, run: dict[str, Any]) -> httpx.Response:
        """Return what the server has of the text of a run's form."""
        form = run["state"]["state_details"]["run_input_keyset"]
        path = f"flow_runs/{run['id']}/input/{form['description']}"
        return prefect_api.answer(f"{self.url}/api", path, "GET")

    def said(self, run: dict[str, Any]) -> str:
        """Return the log of a run."""
        logs = self.ask("logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}})
        return "\n".join(line["message"] for line in logs)


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if is_so():
            return
        time.sleep(0.5)
    raise AssertionError(is_so)


@contextmanager
def serving(product: Product, **more: str) -> Iterator[Prefect]:
    """Run `vllm-flows serve` with a server of its own, and with more variables."""
    port = unused()
    environ = {
        "PREFECT_API_URL": "",
        "PREFECT_HOME": str(product.folder / "prefect"),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        **more,
    }
    with product.start("serve", "--port", str(port), **environ) as process:
        found = Prefect(f"http://127.0.0.1:{port}")

        def answers() -> bool:
            try:
                return AUTOMATION in {one["name"] for one in found.ask("automations/filter")}
            except httpx.HTTPError:
                return False

        try:
            until(answers)
            yield found
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


@pytest.mark.timeout(900)
def test_a_commit_is_served_and_a_bad_one_is_not_with_nobody_touching_anything(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    product.install(phi())
    session = session_of(product, monkeypatch)
    hub = HfApi(endpoint=product.sandbox.hub_url, token=product.sandbox.hub_token)
    models = [{"type": "model", "name": REPOSITORY}]
    with (
        serving(product) as prefect,
        receiving(product, PREFECT_API_URL=f"{prefect.url}/api") as address,
    ):
        hub.create_webhook(url=address, watched=models, domains=["repo"], secret=SECRET)
        good = product.hub("commit", repo=REPOSITORY, kind="weights")["sha"]
        (first,) = prefect.ended(1)
        assert (first["state_type"], first["created_by"]["type"]) == ("COMPLETED", "AUTOMATION")
        assert first["parameters"]["revision"] == good
        assert first["name"].endswith("-phi4")
        assert first["parameters"]["reasons"] == []
        assert "model.safetensors" in " ".join(first["parameters"]["files"])
        assert served(session) == good[:8]
        assert f"phi4: {good[:8]} does on its own" in prefect.said(first)
        product.hub("commit", repo=REPOSITORY, kind="docs")
        time.sleep(_QUIET_SECONDS)
        assert len(prefect.updates()) == 1
        bad = product.hub(
            "commit", repo=REPOSITORY, kind="config", config={"sandbox_fault": "empty"}
        )["sha"]
        _, second = prefect.ended(2)
        assert second["state_type"] == "FAILED"
        assert (
            f"{bad[:8]} was tried on its own and does not do; {good[:8]} serves on"
            in (second["state"]["message"])
        )
        assert served(session) == good[:8]
        said = product.run("check-revisions", "--tell", PREFECT_API_URL=f"{prefect.url}/api")
        assert "was tried and did not do" in said.stdout
        time.sleep(_QUIET_SECONDS)
        assert len(prefect.updates()) == 2
    said = product.run("update", "phi4", "--yes").stderr
    assert f"{bad[:8]} was tried before and did not do" in said


@pytest.mark.timeout(600)
def test_somebody_is_asked_and_a_window_is_waited_for(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    product.install(phi("main", "update: approve"))
    session = session_of(product, monkeypatch)
    before = served(session)
    with serving(product) as prefect:

        def tell(kind: str = "weights") -> str:
            sha = str(product.hub("commit", repo=REPOSITORY, kind=kind)["sha"])
            product.run("check-revisions", "--tell", PREFECT_API_URL=f"{prefect.url}/api")
            return sha

        def answer(run: dict[str, Any], *, approve: bool) -> str:
            """Return what the form said."""
            shown = prefect.form(run)
            given = {"run_input": {"approve": approve}}
            assert prefect.ask(f"flow_runs/{run['id']}/resume", **given)["status"] == "ACCEPT"
            return shown.text

        tell()
        for word in (False, True):
            run = prefect.paused()
            form = answer(run, approve=word)
            assert "phi4: update, revision" in form
            assert "other files: model" in form
            *_, ended = prefect.ended(1 + word)
            assert ended["state_type"] == "COMPLETED"
            if not word:
                assert served(session) == before
                asked = tell()
        assert served(session) == asked[:8]
        tell("license")
        run = prefect.paused()
        product.models(phi("main", "update: never"))
        form = answer(run, approve=True)
        assert "its license was mit and is" in form
        *_, ended = prefect.ended(3)
        assert ended["state_type"] == "COMPLETED"
        until(lambda: "models.yaml says update: never" in prefect.said(ended))
        assert served(session) == asked[:8]
        product.hub("commit", repo=REPOSITORY, kind="reset")
        opens = datetime.now(UTC) + timedelta(days=2)
        product.models(phi("main", "update: window", f"updateWindow: {opens:%a} 02:00-05:00"))
        tell()
        *_, waiting = prefect.ended(4)
        assert waiting["state_type"] == "SCHEDULED"
        assert waiting["expected_start_time"].startswith(f"{opens:%Y-%m-%d}T02:00:00")
        tell("license")
        answer(prefect.paused(), approve=True)
        (agreed,) = [one for one in prefect.ended(5) if one["parameters"].get("agreed")]
        assert agreed["state_type"] == "SCHEDULED"
        assert agreed["expected_start_time"] == waiting["expected_start_time"]
        assert served(session) == asked[:8]


@pytest.mark.timeout(600)
def test_nobodys_answer_is_a_no_and_no_failure(product: Product, monkeypatch: pytest.MonkeyPatch):
    product.install(phi("main", "update: approve"))
    session = session_of(product, monkeypatch)
    before = served(session)
    with serving(product) as prefect:

        def look(limit: str = "1h") -> None:
            api = f"{prefect.url}/api"
            environ = {"PREFECT_API_URL": api, "VLLM_APPROVAL_TIMEOUT": limit}
            product.run("check-revisions", "--tell", **environ)

        product.hub("commit", repo=REPOSITORY, kind="weights")
        look()
        first = prefect.paused()
        product.hub("commit", repo=REPOSITORY, kind="weights")
        look()
        (ended,) = [one for one in prefect.ended(1) if one["id"] == first["id"]]
        assert ended["state_type"] == "COMPLETED"
        assert "a newer one was announced" in ended["state"]["message"]
        second = prefect.paused()
        time.sleep(1)
        look("1s")
        (ended,) = [one for one in prefect.ended(2) if one["id"] == second["id"]]
        assert ended["state_type"] == "COMPLETED"
        assert "nobody agreed within 1 s: it stays as it is" in ended["state"]["message"]
    assert served(session) == before


@pytest.mark.timeout(600)
def test_who_answers_when_nothing_ran_for_a_while_is_heard(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    product.install(phi("main", "update: approve"))
    session = session_of(product, monkeypatch)
    new = str(product.hub("commit", repo=REPOSITORY, kind="weights")["sha"])
    with serving(product) as prefect:
        product.run("check-revisions", "--tell", PREFECT_API_URL=f"{prefect.url}/api")
        prefect.paused()
    with serving(product) as prefect:
        run = prefect.paused()
        given = {"run_input": {"approve": True}}
        assert prefect.ask(f"flow_runs/{run['id']}/resume", **given)["status"] == "ACCEPT"
        (ended,) = prefect.ended(1)
        assert ended["state_type"] == "COMPLETED"
        until(lambda: "somebody agreed" in prefect.said(ended))
    assert served(session) == new[:8]


def test_a_commit_that_answers_far_more_slowly_gives_way_to_the_one_that_served(
    crowded: Product, monkeypatch: pytest.MonkeyPatch
):
    crowded.only_free(1)
    crowded.install(phi("main", "allowDowntime: true"))
    session = session_of(crowded, monkeypatch)
    crowded.run("check", "phi4")
    good = crowded.hub("commit", repo=REPOSITORY, kind="weights")["sha"]
    said = crowded.run("update", "phi4", "--yes").stderr
    assert "phi4: no slower than before: first token after" in said
    assert served(session) == good[:8]
    slow = {"sandbox_fault": "slow-tokens"}
    bad = crowded.hub("commit", repo=REPOSITORY, kind="config", config=slow)["sha"]
    said = crowded.run("update", "phi4", "--yes", code=1).stderr
    assert "its answers are worse than before" in said
    assert "tokens per second, and before it was" in said
    assert f"{good[:8]} serves again, as before" in said
    assert served(session) == good[:8]
    assert f"{bad[:8]} was tried before and did not do" in (
        crowded.run("update", "phi4", "--yes").stderr
    )


def test_a_trial_that_a_killed_run_left_takes_nobodys_room(
    crowded: Product, monkeypatch: pytest.MonkeyPatch
):
    crowded.only_free(2)
    crowded.install(phi())
    session = session_of(crowded, monkeypatch)
    newest = crowded.hub("commit", repo=REPOSITORY, kind="weights")["sha"]
    with crowded.watched("update", "phi4") as run:
        run.until("is tried on its own")
        run.process.kill()
        run.ended()
    assert "Deployment vllm-trial-phi4 serves nobody, and goes" in crowded.run("plan").stderr
    said = crowded.run("update", "phi4", "--yes").stderr
    assert "Deployment vllm-trial-phi4 was left by an interrupted run" in said
    assert f"phi4: {newest[:8]} does on its own" in said
    assert served(session) == newest[:8]


@pytest.mark.timeout(900)
def test_a_commit_that_an_interrupted_update_left_is_asked_first_wherever_its_revision_moved(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    product.install(phi())
    session = session_of(product, monkeypatch)
    left = product.hub("commit", repo=REPOSITORY, kind="weights")["sha"]
    with product.watched("update", "phi4") as run:
        run.until("does on its own")
        until(lambda: deployed_commit(product) == left)
        run.process.send_signal(signal.SIGTERM)
        assert run.ended() == 130, run.said
    newest = product.hub("commit", repo=REPOSITORY, kind="license")["sha"]
    said = product.run("check-revisions").stdout
    assert f"{left[:8]} runs and was not seen to answer: `vllm-flows update phi4` asks it" in said
    until(lambda: "vllm-flows update phi4" in product.run("status").stderr)
    with serving(product) as prefect:
        product.run("check-revisions", "--tell", PREFECT_API_URL=f"{prefect.url}/api")
        (proof,) = prefect.ended(1)
        assert proof["state_type"] == "COMPLETED"
        assert proof["parameters"]["revision"] == left
        until(lambda: f"{left[:8]}, which serves, comes first" in prefect.said(proof))
        assert served(session) == left[:8]
        product.run("check-revisions", "--tell", PREFECT_API_URL=f"{prefect.url}/api")
        assert prefect.paused()["parameters"]["revision"] == newest
    assert served(session) == left[:8]
