"""The simulated router finds ready engines and takes turns."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from sandbox.agent.api import Event
from sandbox.engine.app import Engine, build_app
from sandbox.engine.model import LoadedModel
from sandbox.router import app as router_app
from sandbox.router.arguments import parse
from sandbox.router.discovery import Discovery, ask_models, url_of
from vllm_flows.router_key import was_refused


def pod(name: str, address: str = "127.0.0.1:1", *, ready: bool = True, **more: Any) -> Any:
    annotations = {"sandbox.vllm-flows.io/address": address} if address else {}
    return {
        "metadata": {"name": name, "annotations": annotations, **more},
        "status": {"containerStatuses": [{"ready": ready}]},
    }


def test_the_charts_command_line_is_understood() -> None:
    line = (
        "--host 0.0.0.0 --port 8000 --service-discovery k8s --k8s-namespace team "
        "--k8s-service-discovery-type pod-ip --k8s-label-selector environment=test,release=test "
        "--routing-logic roundrobin --engine-stats-interval 15 --request-stats-window 60"
    )
    arguments = parse(line.split())
    assert arguments.k8s_namespace == "team"
    assert arguments.k8s_label_selector == "environment=test,release=test"


def test_an_unknown_flag_ends_with_2() -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--service-discovery", "k8s", "--routing-logic", "roundrobin", "--what"])
    assert ended.value.code == 2


def test_only_ready_pods_that_stay_take_requests() -> None:
    assert url_of(pod("a")) == "http://127.0.0.1:1"
    assert url_of(pod("a", ready=False)) is None
    assert url_of(pod("a", address="")) is None
    assert url_of(pod("a", deletionTimestamp="2026-01-02T03:04:05Z")) is None
    assert url_of({"metadata": {"name": "a"}}) is None


def discovery() -> Discovery:
    return Discovery(lambda url: [{"id": "qwen3"}] if url.endswith("1") else [{"id": "phi"}])


def test_engines_come_and_go_with_their_pods() -> None:
    found = discovery()
    found.take(Event("LISTED", [pod("a"), pod("b", "127.0.0.1:2")]))
    assert [each.pod for each in found.engines()] == ["a", "b"]
    found.take(Event("MODIFIED", [pod("a", ready=False)]))
    assert [each.pod for each in found.engines()] == ["b"]
    found.take(Event("DELETED", [pod("b", "127.0.0.1:2")]))
    assert found.engines() == []
    assert found.was_seen("qwen3")


def test_a_new_list_forgets_what_it_does_not_hold() -> None:
    found = discovery()
    found.take(Event("LISTED", [pod("a"), pod("b", "127.0.0.1:2")]))
    found.take(Event("LISTED", [pod("b", "127.0.0.1:2")]))
    assert [each.pod for each in found.engines()] == ["b"]


def test_an_engine_that_does_not_tell_its_models_is_left_out() -> None:
    found = Discovery(ask_models("k", 0.5))
    found.take(Event("LISTED", [pod("a")]))
    assert found.engines() == []


@pytest.mark.parametrize("status", [401, 503])
def test_an_engine_that_refuses_the_key_is_logged_as_the_real_router_does(
    caplog: pytest.LogCaptureFixture, status: int
) -> None:
    def ask(url: str) -> list[dict[str, Any]]:
        answer = httpx.Response(status, request=httpx.Request("GET", url))
        answer.raise_for_status()
        return []

    engine = pod("a")
    engine["status"]["podIP"] = "10.0.0.7"
    Discovery(ask).take(Event("LISTED", [engine]))
    assert was_refused(caplog.text, ["10.0.0.7"]) is (status == 401)
    assert caplog.messages[0].startswith(
        "Failed to get model names from http://10.0.0.7:8000/v1/models: "
    )


@pytest.fixture(scope="module")
def engines() -> Iterator[list[str]]:
    """Two engines of one model that listen."""
    servers, listeners, threads = [], [], []
    for revision in ("a" * 40, "b" * 40):
        loaded = LoadedModel("org/model", revision, 1000, 1)
        engine = build_app(Engine(loaded, ["m"], ["k"], token_seconds=0))
        listeners.append(socket.create_server(("127.0.0.1", 0)))
        servers.append(uvicorn.Server(uvicorn.Config(engine, log_level="warning")))
        threads.append(
            threading.Thread(target=servers[-1].run, kwargs={"sockets": [listeners[-1]]})
        )
        threads[-1].start()
    yield [f"127.0.0.1:{each.getsockname()[1]}" for each in listeners]
    for server, thread, listener in zip(servers, threads, listeners, strict=True):
        server.should_exit = True
        thread.join()
        listener.close()


def send(found: Discovery, requests: list[dict[str, Any]], key: str = "k") -> list[httpx.Response]:
    """Send requests, one after the other, to a router over these engines."""
    router = router_app.Router(found)
    application = router_app.build_app(router)

    async def run() -> list[httpx.Response]:
        headers = {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(application)
        async with (
            router.lifespan(application),
            httpx.AsyncClient(transport=transport, base_url="http://r", headers=headers) as client,
        ):
            return [await client.request(**each) for each in requests]

    return asyncio.run(run())


def over(addresses: list[str]) -> Discovery:
    found = Discovery(ask_models("k", 5))
    found.take(Event("LISTED", [pod(address, address) for address in addresses]))
    return found


def completion(model: str | None = "m", **more: object) -> dict[str, Any]:
    body = {"model": model, "prompt": "hi", **more}
    return {"method": "POST", "url": "/v1/completions", "json": body}


def test_requests_take_turns_over_the_engines(engines: list[str]) -> None:
    answers = send(over(engines), [completion() for _ in range(4)])
    texts = [each.json()["choices"][0]["text"] for each in answers]
    revisions = [text.split("revision ")[1][0] for text in texts]
    assert sorted(revisions[:2]) == ["a", "b"]
    assert revisions[:2] == revisions[2:]


def test_a_stream_is_passed_through(engines: list[str]) -> None:
    (answer,) = send(over(engines), [completion(stream=True)])
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.rstrip().endswith("data: [DONE]")


def test_the_clients_key_is_passed_on(engines: list[str]) -> None:
    (answer,) = send(over(engines), [completion()], key="wrong")
    assert answer.status_code == 401


def test_models_are_listed_once(engines: list[str]) -> None:
    models, cards = send(
        over(engines),
        [{"method": "GET", "url": "/v1/models"}, {"method": "GET", "url": "/engines"}],
    )
    assert [each["id"] for each in models.json()["data"]] == ["m"]
    assert [each["serving_models"] for each in cards.json()] == [["m"], ["m"]]


def test_an_unknown_model_is_404_and_one_that_was_there_503(engines: list[str]) -> None:
    found = over(engines)
    (unknown,) = send(found, [completion("x")])
    assert unknown.status_code == 404
    assert unknown.json()["error"].startswith("Model 'x' not found.")
    found.take(Event("LISTED", []))
    (gone,) = send(found, [completion()])
    assert gone.status_code == 503
    assert gone.json()["error"].startswith("Model 'm' is temporarily unavailable.")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "request body must be valid JSON"),
        ("[1]", "request body must be a JSON object"),
        (json.dumps({"prompt": "hi"}), "missing 'model' in request body"),
    ],
)
def test_a_request_without_a_model_is_refused(body: str, words: str) -> None:
    request = {"method": "POST", "url": "/v1/completions", "content": body}
    (answer,) = send(discovery(), [request])
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_an_engine_that_went_away_is_an_error_of_the_router_and_is_counted() -> None:
    found = Discovery(lambda _: [{"id": "m"}])
    found.take(Event("LISTED", [pod("a")]))
    answer, page = send(found, [completion(), {"method": "GET", "url": "/metrics"}])
    assert answer.status_code == 500
    labels = 'server="http://127.0.0.1:1",model="m",error_type="ConnectError"'
    assert f"vllm:request_errors_total{{{labels}}} 1" in page.text
