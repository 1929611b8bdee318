"""What a change does to what runs, on a real API server with real controllers and helm."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support import asked_often
from vllm_flows.names import engine_deployment
from vllm_flows.session import Session
from vllm_flows.settings import load_settings

if TYPE_CHECKING:
    from conftest import Product

REPOSITORY = "microsoft/Phi-4-mini-instruct"
QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"
MISTRAL = """\
- name: mistral
  modelURL: mistralai/Mistral-7B-Instruct-v0.3
  requestGPU: 2
  vllmConfig: {tensorParallelSize: 2, maxModelLen: %d}
"""
DEPLOYMENT = "vllm-phi4-deployment-vllm"
SERVICE = "vllm-phi4-engine-service"
DOWNTIME = "  allowDowntime: true\n"
_OFTEN = 10
_HARDLY_SECONDS = 2.0
"""A port-forward that breaks off is opened anew in less."""


def phi(revision: str = "main", *lines: str) -> str:
    """Return the model's entry of models.yaml."""
    more = "".join(f"  {line.strip()}\n" for line in lines)
    return f"- name: phi4\n  modelURL: {REPOSITORY}\n  revision: {revision}\n{more}"


def commit(product: Product, fault: str | None = None) -> str:
    """Return a new commit of the model, bad in one way or good; `main` is good afterwards."""
    for wanted in dict.fromkeys([fault, None]):
        body = {"repo": REPOSITORY, "kind": "config", "config": {"sandbox_fault": wanted}}
        url = f"{product.sandbox.hub_url}/_sandbox/commit"
        answer = httpx.post(url, json=body, trust_env=False).raise_for_status().json()
        if wanted == fault:
            found = str(answer["sha"])
    return found


def session_of(product: Product, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Open a session in this process."""
    for name, value in product.environ.items():
        monkeypatch.setenv(name, value)
    return Session.open(load_settings())


def served(session: Session) -> str:
    """Return the commit of the model that answers now, by its own words."""
    with session.models_api("phi4") as api:
        text = api.complete("phi4", "hi").text
    found = re.search(r"at revision (\w+):", text)
    assert found, text
    return found[1]


@contextmanager
def asked(session: Session) -> Iterator[list[bool]]:
    """Ask the model all the time while the block runs; what was heard is in the list."""
    with (
        session.models_api("phi4") as api,
        asked_often(lambda: api.alive("phi4")) as heard,
    ):
        yield heard


def shown_in_prefect(product: Product) -> str:
    """Return the newest table of models among the artifacts of the Prefect server."""
    wanted = {"key": {"any_": ["models"]}}
    newest, *_ = product.prefect("artifacts/filter", artifacts=wanted, sort="CREATED_DESC")
    return str(newest["data"])


def silence(said: str) -> float:
    """Return the seconds that nobody answered, as the error says them."""
    found = re.search(r"nobody answered for ([\d.]+) (ms|s)\b", said)
    assert found, said
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def history(product: Product) -> list[dict[str, Any]]:
    """Return the release's revisions, oldest first."""
    found: list[dict[str, Any]] = json.loads(product.helm("history", "vllm", "-o", "json"))
    return found


def versions(product: Product) -> dict[str, str]:
    """Return the version of every object of the namespace, its leases too."""
    leases = product.objects("leases")
    return product.versions() | {
        f"lease/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in leases
    }


def pods_of(product: Product, model: str) -> dict[str, int]:
    """Return the unique ids of a model's pods, each with how often its container restarted."""
    pods = product.objects("pods", f"model={model}")
    return {
        pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in pods
    }


def change_port(product: Product) -> None:
    """Change the port of the model's Service, as a person would; helm finds ports by it."""
    port = '[{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]'
    product.kubectl("patch", "service", SERVICE, "--type=json", "-p", port)


def test_on_a_full_cluster_a_bad_revision_gives_way_to_the_one_that_served(
    crowded: Product, monkeypatch: pytest.MonkeyPatch
):
    crowded.only_free(1)
    good = commit(crowded)
    crowded.install(phi(good, DOWNTIME))
    session = session_of(crowded, monkeypatch)
    for fault, words in (
        ("crash", "the model does not fit the GPU's memory"),
        ("empty", "the answer has no text"),
    ):
        said = crowded.install(phi(commit(crowded, fault), DOWNTIME), code=1)
        assert "stop, then start: no replica answers until the new ones are ready" in said
        assert words in said
        assert f"{good[:8]} serves again, as before; nobody answered for" in said
        assert silence(said) > 0
        assert served(session) == good[:8]
    assert "nothing to change" in crowded.install(phi(good, DOWNTIME))
    # Without the word in models.yaml, the stop takes a yes.
    crowded.models(phi(commit(crowded)))
    before = versions(crowded)
    said = crowded.run("plan", code=1).stderr
    assert "no room beside what runs: it would not answer from when it stops" in said
    assert "next: run this again with --allow-downtime" in said
    crowded.run("upgrade", "--yes", code=1)
    assert versions(crowded) == before
    assert "stop, then start" in crowded.run("plan", "--allow-downtime").stderr
    done = crowded.run("upgrade", "--yes", "--allow-downtime")
    assert "phi4: answered in" in done.stderr
    assert "silent for" in done.stdout


def test_the_bad_pods_of_a_model_do_not_hold_the_room_that_going_back_takes(
    crowded: Product, monkeypatch: pytest.MonkeyPatch
):
    crowded.only_free(1)
    good = commit(crowded)
    crowded.install(phi(good, DOWNTIME))
    session = session_of(crowded, monkeypatch)
    # As people do who need the GPU for something else: nothing of the model is left to go back to.
    crowded.kubectl("delete", "deployment", engine_deployment("phi4"))
    bad = commit(crowded, "crash")
    crowded.install(phi(bad, DOWNTIME), code=1)
    said = crowded.install(phi(bad, DOWNTIME), code=1)
    assert f"{good[:8]} serves again, as before" in said
    assert served(session) == good[:8]
    assert "nothing to change" in crowded.install(phi(good, DOWNTIME))


def test_with_room_the_old_revision_serves_on_and_what_becomes_of_a_bad_one_is_chosen(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    good = commit(product)
    product.install(phi(good))
    session = session_of(product, monkeypatch)
    with asked(session) as heard:
        said = product.install(phi(commit(product, "crash"), "onFailure: retry"), code=1)
    assert said.count("once more, with new pods") == 1
    assert f"{good[:8]} serves again, as before; nobody answered for" in said
    assert silence(said) < _HARDLY_SECONDS
    assert len(heard) > _OFTEN
    assert all(heard)
    product.models(phi(commit(product, "wrong-id")), QWEN)
    done = product.run("install", "--yes", code=1)
    assert "the engine serves another name" in done.stderr
    (back,) = (line for line in done.stdout.splitlines() if line.startswith("phi4 "))
    (new,) = (line for line in done.stdout.splitlines() if line.startswith("qwen3 "))
    assert back.endswith(f"went back: {good[:8]} answers")
    assert "answers" in new
    assert f"went back: {good[:8]} answers" in shown_in_prefect(product)
    assert served(session) == good[:8]
    bad = commit(product, "empty")
    said = product.install(phi(bad, "onFailure: keep"), code=1)
    assert "it stays as it is, nothing of before was brought back" in said
    (deployment,) = product.objects("deployments", "model=phi4")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["vllm-flows.io/revision"] == bad
    planned = product.run("plan", "-o", "json", "--detailed-exitcode", code=2)
    (row,) = json.loads(planned.stdout)["models"]
    assert row["action"] == "prove"
    assert row["reason"] == "not proven: it is asked last, and stays if it does not answer"
    # What else is to be done is done all the same, also when run after run ends with its failure.
    product.models(phi(bad, "onFailure: keep"), QWEN)
    done = product.run("install", "--yes", code=1)
    assert "phi4: the answer has no text" in done.stderr
    assert "qwen3: answered in" in done.stderr
    said = product.install(phi(bad), code=1)
    assert "plan: phi4: prove (not proven: it is asked first; goes back" in said
    assert f"{good[:8]} serves again, as before" in said
    assert "phi4: answered in" in product.install(phi(good))


def test_a_router_that_is_not_there_is_held_against_no_model(product: Product):
    product.install(QWEN)
    changed = QWEN + "  vllmConfig: {maxModelLen: 1024}\n"
    router = "vllm-deployment-router"
    product.kubectl("scale", f"deployment/{router}", "--replicas=0")
    assert f"no pod of the router is ready ({router})" in product.run("plan").stderr
    nowhere = {"VLLM_ROUTER_REQUEST_CPU": "9000"}
    said = product.install(changed, code=1, **nowhere)
    assert "the router is not ready: " in said
    assert "[no-room]" in said
    assert "back to what served" not in said
    revisions = len(history(product))
    # Without its router nobody knows of the model whether it answers; that is set right first.
    product.kubectl("scale", f"deployment/{router}", "--replicas=0")
    said = product.install(changed)
    assert "plan: qwen3: prove" in said
    assert "qwen3: answered in" in said
    assert len(history(product)) == revisions + 1


def test_a_paused_deployment_is_named_and_resumed(product: Product):
    product.install(QWEN)
    deployment = engine_deployment("qwen3")
    product.kubectl("rollout", "pause", f"deployment/{deployment}")
    changed = QWEN + "  vllmConfig: {maxModelLen: 1024}\n"
    said = product.install(changed)
    assert f"set right: Deployment {deployment}: spec.paused: (not set) -> True" in said
    assert "qwen3: answered in" in said


def test_what_all_engines_share_goes_back_with_all_of_them_and_each_is_asked(
    product: Product, monkeypatch: pytest.MonkeyPatch
):
    good = commit(product)
    product.install(QWEN, phi(good))
    bad = commit(product, "empty")
    said = product.install(QWEN, phi(bad), code=1, VLLM_API_KEY="a-key")
    assert f"{good[:8]} serves again, as before; nobody answered for" in said
    assert "qwen3: went back too, as what changed is common to all engines, and answers" in said
    assert served(session_of(product, monkeypatch)) == good[:8]
    values = json.loads(product.helm("get", "values", "vllm", "-o", "json"))
    assert "vllmApiKey" not in values["servingEngineSpec"]
    said = product.install(QWEN, phi(good))
    assert "phi4: answered in" in said
    assert "nothing to change" in product.install(QWEN, phi(good))
    values = json.loads(product.helm("get", "values", "vllm", "-o", "json"))
    assert "vllmApiKey" in values["servingEngineSpec"]


def test_two_replicas_without_room_are_replaced_in_turn_and_one_always_answers(
    crowded: Product, monkeypatch: pytest.MonkeyPatch
):
    crowded.only_free(2)
    crowded.install(phi(commit(crowded), "replicaCount: 2"))
    session, good = session_of(crowded, monkeypatch), commit(crowded)
    with asked(session) as heard:
        said = crowded.install(phi(good, "replicaCount: 2"))
        assert "one replica at a time: the others answer" in said
        assert "all 2 replicas" in said
        said = crowded.install(phi(commit(crowded, "crash"), "replicaCount: 2"), code=1)
        assert f"{good[:8]} serves again, as before" in said
    assert len(heard) > _OFTEN
    assert all(heard)
    assert len(pods_of(crowded, "phi4")) == 2


def test_of_several_replicas_rubbish_does_not_replace_them_all(crowded: Product):
    crowded.only_free(4)
    good = commit(crowded)
    crowded.install(phi(good, "replicaCount: 4"))
    before = pods_of(crowded, "phi4")
    said = crowded.install(phi(commit(crowded, "empty"), "replicaCount: 4"), code=1)
    assert "one replica at a time: the others answer" in said
    assert re.search(r"phi4: replica \S+: the answer has no text", said)
    assert f"{good[:8]} serves again, as before" in said
    assert before.keys() & pods_of(crowded, "phi4").keys()


def test_models_that_change_do_so_one_after_the_other_and_others_keep_their_pods(
    product: Product,
):
    product.install(QWEN, phi(), MISTRAL % 4096)
    before = {name: pods_of(product, name) for name in ("qwen3", "phi4", "mistral")}
    longer = phi("main", "vllmConfig: {maxModelLen: 4096}")
    product.install(QWEN, longer, MISTRAL % 4096)
    assert pods_of(product, "qwen3") == before["qwen3"]
    assert pods_of(product, "mistral") == before["mistral"]
    between = pods_of(product, "phi4")
    assert not set(between) & set(before["phi4"])
    said = product.install(QWEN, phi(), MISTRAL % 8192)
    assert said.index("helm upgrade: mistral") < said.index("helm upgrade: phi4")
    assert said.index("mistral: answered in") < said.index("helm upgrade: phi4")
    assert [row["revision"] for row in history(product)] == [1, 2, 3, 4]
    values = json.loads(product.helm("get", "values", "vllm", "--revision", "3", "-o", "json"))
    lengths = {
        entry["name"]: entry["vllmConfig"].get("maxModelLen")
        for entry in values["servingEngineSpec"]["modelSpec"]
    }
    assert lengths == {"mistral": 8192, "phi4": 4096, "qwen3": None}
    assert pods_of(product, "qwen3") == before["qwen3"]
    assert not set(pods_of(product, "phi4")) & set(between)


def test_three_upgrades_without_a_change_write_nothing_not_even_a_lease(product: Product):
    product.install(QWEN, phi("main", "replicaCount: 2"))
    product.run("upgrade", "--yes")
    before = versions(product)
    for _ in range(2):
        said = product.run("upgrade", "--yes").stderr
        assert "nothing to change; all models answer" in said
        assert versions(product) == before
    assert len(history(product)) == 1


def test_a_saved_plan_is_done_and_refused_once_anything_moved_on(product: Product):
    product.models(phi())
    product.run("plan", "--out", "one.json")
    assert "phi4: answered in" in product.run("install", "--plan", "one.json").stderr
    product.models(phi("main", "vllmConfig: {maxModelLen: 4096}"))
    product.run("plan", "--out", "two.json")
    product.models(phi("main", "vllmConfig: {maxModelLen: 2048}"))
    before = versions(product)
    said = product.run("install", "--plan", "two.json", code=1).stderr
    assert "the plan that was agreed to is not what would happen now; nothing was changed" in said
    assert versions(product) == before
    product.models(phi("main", "vllmConfig: {maxModelLen: 4096}"))
    change_port(product)
    before = versions(product)
    product.run("install", "--plan", "two.json", code=1)
    assert versions(product) == before
    product.run("plan", "--out", "three.json")
    product.run("install", "--plan", "three.json")
    product.run("install", "--plan", "three.json", code=1)


def test_what_somebody_changed_is_named_field_by_field_and_set_right(product: Product):
    product.install(phi())
    (found,) = product.objects("deployments", "model=phi4")
    image = found["spec"]["template"]["spec"]["containers"][0]["image"]
    product.kubectl("set", "env", f"deployment/{DEPLOYMENT}", "HF_HUB_OFFLINE=0")
    product.kubectl("set", "image", f"deployment/{DEPLOYMENT}", "vllm=vllm/vllm-openai:other")
    product.kubectl("scale", f"deployment/{DEPLOYMENT}", "--replicas=2")
    change_port(product)
    done = product.run("plan", "-o", "json", "--detailed-exitcode", code=2)
    (row,) = json.loads(done.stdout)["models"]
    template = "spec.template.spec.containers[vllm]"
    assert row["action"] == "restart"
    assert "spec.replicas: 1 -> 2" in row["reason"]
    assert f"{template}.image: {image} -> vllm/vllm-openai:other" in row["reason"]
    assert f"{template}.env[HF_HUB_OFFLINE].value: 1 -> 0" in row["reason"]
    said = product.run("install", "--yes").stderr
    assert f"set right: Service {SERVICE}: spec.ports[service-port].port: 80 -> 81" in said
    assert "phi4: answered in" in said
    assert "nothing to change" in product.run("install", "--yes").stderr
    (mended,) = product.objects("deployments", "model=phi4")
    assert mended["spec"]["replicas"] == 1
    assert (
        mended["spec"]["template"]["spec"]["containers"]
        == found["spec"]["template"]["spec"]["containers"]
    )
    ports = json.loads(product.kubectl("get", "service", SERVICE, "-o", "json"))["spec"]["ports"]
    assert {one["name"]: one["port"] for one in ports}["service-port"] == 80


def test_what_somebody_changed_after_a_helm_that_failed_is_named_too(
    product: Product, tmp_path: Path
):
    product.install(phi())
    chart = tmp_path / "chart"
    shutil.copytree(Path(__file__).parents[3] / "sandbox" / "chart", chart)
    refused = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "Not_A_Name"}}
    (chart / "templates" / "refused.yaml").write_text(json.dumps(refused))
    with pytest.raises(subprocess.CalledProcessError):
        product.helm("upgrade", "vllm", str(chart), "--reuse-values")
    assert product.release_statuses() == ["deployed", "failed"]
    said = product.run("plan").stderr
    assert "the last helm run left it failed" in said
    assert "changed outside" not in said
    product.kubectl("set", "env", f"deployment/{DEPLOYMENT}", "HF_HUB_OFFLINE=0")
    said = product.run("install", "--yes").stderr
    assert "changed outside: Deployment vllm-phi4-deployment-vllm: spec.template" in said
    assert "env[HF_HUB_OFFLINE].value: 1 -> 0" in said
    assert "nothing to change" in product.run("install", "--yes").stderr


def test_what_somebody_removed_is_made_again(product: Product):
    product.install(phi())
    product.kubectl("delete", "service", SERVICE, "vllm-router-service")
    product.kubectl("delete", "deployment", DEPLOYMENT, "--wait")
    said = product.run("install", "--yes").stderr
    assert "plan: phi4: create (not deployed)" in said
    assert "phi4: answered in" in said
    names = {item["metadata"]["name"] for item in product.objects("deployments,services")}
    assert {DEPLOYMENT, SERVICE, "vllm-router-service"} <= names
    pods = pods_of(product, "phi4")
    product.kubectl("delete", "service", SERVICE)
    said = product.run("install", "--yes").stderr
    assert f"helm upgrade: changed outside: Service {SERVICE} is gone" in said
    assert product.kubectl("get", "service", SERVICE, "-o", "name")
    assert pods_of(product, "phi4") == pods


def test_of_two_runs_at_once_one_does_it_and_the_other_names_it(product: Product):
    product.install(phi())
    product.hub("commit", repo=REPOSITORY, kind="weights")
    product.hub("rate", bytes_per_second=700_000)
    first, second = (product.start("install", "--yes") for _ in range(2))
    results = {}
    for process in (first, second):
        _, errors = process.communicate(timeout=150)
        results[process.returncode] = errors
    assert set(results) == {0, 5}
    assert "phi4: answered in" in results[0]
    assert re.search(r"@\S+ pid \d+ deploy", results[5])
    assert len(history(product)) == 2
