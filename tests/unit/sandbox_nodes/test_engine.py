"""The simulated engine refuses what vLLM refuses, and answers as it answers."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.engine import faults, model
from sandbox.engine.app import Engine, build_app
from sandbox.engine.arguments import parse
from sandbox.hub.safetensors import safetensors_bytes

SHA = "0123456789abcdef0123456789abcdef01234567"
CONFIG: dict[str, object] = {"max_position_embeddings": 2048, "num_attention_heads": 4}


def test_the_charts_command_line_is_understood() -> None:
    line = (
        "serve Qwen/Qwen3-4B --host 0.0.0.0 --port 8000 --no-enable-prefix-caching "
        "--enable-chunked-prefill --max-model-len 4k --dtype bfloat16 --tensor-parallel-size 2 "
        "--max-num-seqs 32 --gpu_memory_utilization 0.9 --max_loras 2 --revision main "
        "--served-model-name qwen3"
    )
    arguments = parse(line.split())
    assert arguments.model_tag == "Qwen/Qwen3-4B"
    assert arguments.max_model_len == 4000
    assert arguments.gpu_memory_utilization == 0.9
    assert arguments.enable_prefix_caching is False
    assert arguments.served_model_name == ["qwen3"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            "--disable-log-requests",
            "vllm: error: unrecognized arguments: --disable-log-requests",
        ),
        ("--dtype int3", "error: argument --dtype: invalid choice: 'int3' (choose from"),
        ("--max-model-len many", "invalid human_readable_int value: 'many'"),
        ("--revisio main", "vllm: error: unrecognized arguments: --revisio main"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_vllms_words(
    flags: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["serve", "m", *flags.split()])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_model_that_is_not_in_the_cache_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(model.EngineError, match="Cannot find an appropriate cached snapshot"):
        model.find_snapshot("Qwen/Qwen3-4B", SHA)


def test_a_context_longer_than_the_models_is_refused() -> None:
    words = (
        "User-specified max_model_len (100000) is greater than the derived max_model_len "
        "(max_position_embeddings=2048.0"
    )
    with pytest.raises(model.EngineError, match=re.escape(words)):
        model.check_config(CONFIG, max_model_len=100000, parallel=1)


def test_heads_that_gpus_cannot_share_are_refused() -> None:
    words = r"Total number of attention heads \(4\) must be divisible by tensor parallel size \(3\)"
    with pytest.raises(model.EngineError, match=words):
        model.check_config(CONFIG, max_model_len=0, parallel=3)


def test_the_context_is_the_models_unless_told_otherwise() -> None:
    assert model.check_config(CONFIG, max_model_len=0, parallel=2) == 2048
    assert model.check_config(CONFIG, max_model_len=512, parallel=1) == 512


def weights(folder: Path, data: bytes) -> Path:
    (folder / "model.safetensors").write_bytes(data)
    return folder


GOOD = safetensors_bytes({"a": (10, 10), "b": (5,)}, seed="x")


def test_whole_weights_are_read(tmp_path: Path) -> None:
    assert model.read_weights(weights(tmp_path, GOOD)) == len(GOOD)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (GOOD[:-1], "incomplete metadata, file not fully covered"),
        (GOOD + b"x", "incomplete metadata, file not fully covered"),
        (GOOD[:20], "invalid JSON in header"),
        (b"", "header too small"),
        (b"<html>not weights</html>", "header too large"),
    ],
)
def test_broken_weights_are_refused(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(model.EngineError, match=f"Error while deserializing header: {words}"):
        model.read_weights(weights(tmp_path, data))


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(model.EngineError, match="No such file or directory"):
        model.read_weights(tmp_path)


def test_a_folder_without_weights_or_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(model.EngineError, match="Cannot find any model weights"):
        model.read_weights(tmp_path)
    with pytest.raises(model.EngineError, match=r"No config\.json"):
        model.read_config(tmp_path)


LOADED = model.LoadedModel("Qwen/Qwen3-4B", SHA, 100, 1)


def ask(
    method: str,
    path: str,
    *,
    keys: tuple[str, ...] = (),
    loaded: model.LoadedModel = LOADED,
    **options: Any,
) -> httpx.Response:
    app = build_app(Engine(loaded, ["qwen3"], list(keys), token_seconds=0))

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def test_the_model_is_listed_under_its_served_name() -> None:
    card = ask("GET", "/v1/models").json()["data"][0]
    assert (card["id"], card["root"], card["max_model_len"]) == ("qwen3", "Qwen/Qwen3-4B", 100)


def test_a_completion_names_model_and_revision() -> None:
    answer = ask("POST", "/v1/completions", json={"model": "qwen3", "prompt": "hi"}).json()
    text = answer["choices"][0]["text"]
    assert text.startswith("Simulated answer from qwen3 at revision 01234567:")
    assert answer["usage"]["completion_tokens"] == 16
    assert answer["choices"][0]["finish_reason"] == "length"


def chat(**more: object) -> httpx.Response:
    body = {"model": "qwen3", "messages": [{"role": "user", "content": "hi"}], **more}
    return ask("POST", "/v1/chat/completions", json=body)


def test_a_chat_answers_the_same_every_time() -> None:
    first, second = chat(), chat()
    assert first.json()["choices"][0]["message"]["role"] == "assistant"
    assert first.json()["choices"] == second.json()["choices"]


def test_a_stream_holds_the_same_text_and_ends_with_done() -> None:
    options = {"include_usage": True}
    events = [
        line.removeprefix("data: ")
        for line in chat(stream=True, stream_options=options).text.splitlines()
        if line
    ]
    chunks = [json.loads(event) for event in events[:-1]]
    text = "".join(c["choices"][0]["delta"]["content"] for c in chunks if c["choices"])
    assert events[-1] == "[DONE]"
    assert text == chat().json()["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"]["completion_tokens"] == len(text.split())


def test_ignoring_the_end_goes_on_to_the_limit() -> None:
    assert chat(max_tokens=90, ignore_eos=True).json()["usage"]["completion_tokens"] == 90


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ('{"model": "other", "prompt": "x"}', 404, "The model `other` does not exist."),
        ('{"model"', 400, "Invalid JSON"),
        ("[]", 400, "must be a JSON object"),
        ('{"model": "qwen3"}', 400, "Field required: prompt"),
        ('{"prompt": "x", "max_tokens": 0}', 400, "max_tokens must be at least 1"),
        ('{"prompt": "x", "max_tokens": 100}', 400, "maximum context length is 100 tokens"),
    ],
)
def test_a_wrong_request_is_refused_with_vllms_error(body: str, status: int, words: str) -> None:
    answer = ask("POST", "/v1/completions", content=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert answer.json()["error"]["code"] == status


def test_the_key_guards_the_api_but_not_the_health() -> None:
    assert ask("GET", "/v1/models", keys=("k",)).json() == {"error": "Unauthorized"}
    assert ask("GET", "/v1/models", keys=("k",)).status_code == 401
    header = {"Authorization": "Bearer k"}
    assert ask("GET", "/v1/models", keys=("k",), headers=header).status_code == 200
    assert ask("GET", "/health", keys=("k",)).status_code == 200


def test_metrics_carry_the_models_name() -> None:
    text = ask("GET", "/metrics").text
    assert 'vllm:num_requests_running{model_name="qwen3"} 0' in text
    assert 'vllm:time_to_first_token_seconds_bucket{model_name="qwen3",le="+Inf"} 0' in text


def test_a_model_is_bad_only_where_its_configuration_says_so() -> None:
    assert faults.fault_of(CONFIG) is faults.Fault.NONE
    assert faults.fault_of({**CONFIG, "sandbox_fault": "empty"}) is faults.Fault.EMPTY
    with pytest.raises(model.EngineError, match="not one of hang, crash, tells, empty, wrong-id"):
        faults.fault_of({"sandbox_fault": "no such"})


def test_a_crash_has_the_words_of_a_gpu_without_memory() -> None:
    faults.fail_to_load(faults.Fault.NONE)
    faults.fail_to_load(faults.Fault.EMPTY)
    with pytest.raises(model.EngineError, match="CUDA out of memory"):
        faults.fail_to_load(faults.Fault.CRASH)


def test_a_model_can_tell_its_key_in_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "planted-canary")
    with pytest.raises(model.EngineError, match="the key planted-canary does not do"):
        faults.fail_to_load(faults.Fault.TELLS)


def test_a_model_that_hangs_never_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("sandbox.engine.faults.time.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        faults.fail_to_load(faults.Fault.HANG)


def test_a_model_can_answer_without_a_text_and_under_another_name() -> None:
    empty = replace(LOADED, fault=faults.Fault.EMPTY)
    body = {"model": "qwen3", "prompt": "hi"}
    answer = ask("POST", "/v1/completions", json=body, loaded=empty)
    assert answer.json()["choices"][0]["text"] == ""
    stream = ask("POST", "/v1/completions", json={**body, "stream": True}, loaded=empty)
    assert stream.text.count("data: ") == 2
    assert faults.names_under(faults.Fault.WRONG_ID, ["qwen3"]) == ["not-qwen3"]
    assert faults.names_under(faults.Fault.EMPTY, ["qwen3"]) == ["qwen3"]


async def spoilt(*bodies: dict[str, object]) -> list[httpx.Response]:
    """Give an engine with a key these faults, each followed by a completion without the key."""
    app = build_app(Engine(LOADED, ["qwen3"], ["k"], token_seconds=0))
    transport, found = httpx.ASGITransport(app), []
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        for body in bodies:
            told = await client.post("/_sandbox/fault", json=body)
            asked = {"model": "qwen3", "prompt": "hi", "max_tokens": 3}
            keyed = {} if body.get("fault") == "ignores-key" else {"Authorization": "Bearer k"}
            answer = await client.post("/v1/completions", json=asked, headers=keyed)
            found += [told, answer]
    return found


def test_an_engine_that_serves_becomes_bad_and_well_again() -> None:
    bodies = [{"fault": fault} for fault in ("rubbish", "wrong-id", "empty", "ignores-key", "")]
    _, rubbish, _, other, _, empty, _, open_, _, well = asyncio.run(spoilt(*bodies))
    assert set(rubbish.json()["choices"][0]["text"]) == {"\ufffd"}
    assert other.json()["model"] == "not-qwen3"
    assert empty.json()["choices"][0]["text"] == ""
    assert open_.status_code == 200
    assert well.json()["choices"][0]["text"] == "Simulated answer from"


def test_a_fault_may_wait_for_some_answers_and_an_unknown_one_is_refused() -> None:
    told, first, refused, second = asyncio.run(
        spoilt({"fault": "empty", "after": 1}, {"fault": "no such"})
    )
    assert told.json() == {"fault": "empty", "after": 1}
    assert first.json()["choices"][0]["text"]
    assert refused.status_code == 400
    assert second.json()["choices"][0]["text"] == ""


def test_a_slow_model_is_late_with_its_first_token_or_with_each() -> None:
    assert faults.delay(faults.Fault.SLOW_START, 0) > 1
    assert faults.delay(faults.Fault.SLOW_START, 1) == 0
    assert faults.delay(faults.Fault.SLOW_TOKENS, 5) > 0.1
    assert faults.delay(faults.Fault.NONE, 0) == 0


def test_who_asks_for_json_gets_some() -> None:
    body = {"model": "qwen3", "messages": [{"role": "user", "content": "JSON alone"}]}
    answer = ask("POST", "/v1/chat/completions", json=body).json()
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"simulated": True}
