"""A repository's description of any shape ends in a verdict, or in the Hub's silence."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from vllm_flows.errors import HubUnavailableError
from vllm_flows.observed import HubFile, Verdict

if TYPE_CHECKING:
    from conftest import ToldHub

INFO = "/api/models/org/name/revision/main"
WEIGHTS = {"rfilename": "model.safetensors", "size": 9, "blobId": "b" * 40}
LARGE = {**WEIGHTS, "lfs": {"sha256": "d" * 64, "size": 9, "pointerSize": 134}}
DESCRIPTION: dict[str, Any] = {
    "_id": "0",
    "id": "org/name",
    "modelId": "org/name",
    "author": "org",
    "sha": "c" * 40,
    "createdAt": "2026-01-05T09:00:00.000Z",
    "lastModified": "2026-01-05T09:00:00.000Z",
    "private": False,
    "gated": "auto",
    "disabled": False,
    "tags": ["safetensors"],
    "cardData": {"license": "other", "license_name": "own", "eval_results": []},
    "config": {"model_type": "qwen3"},
    "transformersInfo": {"auto_model": "AutoModel"},
    "siblings": [LARGE, {"rfilename": "config.json", "size": 2, "blobId": "b" * 40}],
    "safetensors": {"parameters": {"BF16": 4}, "total": 4},
    "securityRepoStatus": {
        "scansDone": True,
        "filesWithIssues": [{"path": "model.safetensors", "level": "caution"}],
    },
}
ODD = [None, [], {}, [[7]], {"a": [None]}, 7, -1.5, True, "", "text", "\ud800", 10**40]


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to each value within."""
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else ()
    parts = enumerate(value) if isinstance(value, list) else parts
    for key, part in parts:
        yield from places(part, (*path, key))


def changed(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    description = deepcopy(DESCRIPTION)
    inner: Any = description
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return description


def asked(told: ToldHub, description: object) -> Verdict | None:
    """Return the verdict, None for the Hub's silence."""
    told.tell(INFO, description)
    try:
        return told.ask("hf_token")
    except HubUnavailableError:
        return None


@pytest.fixture
def described(told: ToldHub) -> ToldHub:
    told.tell("/auth-check", {})
    told.tell("/config.json", {})
    return told


def test_what_is_changed_below_is_well_described(described: ToldHub):
    verdict = asked(described, DESCRIPTION)
    assert verdict is not None
    assert verdict.problems == ()
    assert (verdict.license, verdict.parameters) == ("own", {"BF16": 4})


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_no_value_of_another_kind_escapes(described: ToldHub, odd: object):
    for path in places(DESCRIPTION):
        verdict = asked(described, changed(path, odd))
        if verdict is None:
            continue
        assert all(type(file.size) is int and file.size >= 0 for file in verdict.files)
        assert all(isinstance(file.name, str) and file.name for file in verdict.files)
        assert all(isinstance(file.blob_id, str) for file in verdict.files)
        assert all(type(count) is int for count in verdict.parameters.values())
        assert verdict.gated in {"no", "auto", "manual"}
        assert isinstance(verdict.license, str)


@pytest.mark.parametrize("whole", [None, [], 7, "text", {}, [DESCRIPTION]])
def test_no_document_of_another_kind_escapes(described: ToldHub, whole: object):
    assert asked(described, whole) is None


def test_json_that_is_nested_too_deeply_is_no_hubs(described: ToldHub):
    told = described
    told.tell(INFO, b"[" * 100_000)
    with pytest.raises(HubUnavailableError, match="no Hub: JSON that is nested too deeply"):
        told.ask()


@pytest.mark.parametrize(
    "sibling",
    [
        {**WEIGHTS, "rfilename": None},
        {**WEIGHTS, "size": None},
        {**WEIGHTS, "size": -1},
        {**WEIGHTS, "blobId": None},
        {**LARGE, "lfs": {**LARGE["lfs"], "sha256": None}},
    ],
)
def test_a_file_that_cannot_be_fetched_and_proven_is_no_hubs(
    told: ToldHub, sibling: dict[str, Any]
):
    told.tell_repository(sibling)
    with pytest.raises(HubUnavailableError, match="without its size and hash"):
        told.ask()


def test_numbers_of_parameters_that_cannot_be_read_are_unknown(told: ToldHub):
    for said in (None, {"BF16": "4"}, {"BF16": None}, {"BF16": True}, [4]):
        told.tell_repository(WEIGHTS, safetensors={"parameters": said, "total": 4})
        verdict = told.ask()
        assert verdict.parameters == {}
        assert verdict.files == (HubFile("model.safetensors", 9, None, "b" * 40),)


@pytest.mark.parametrize("answer", [None, [], 7, {"auth": 7}, {"auth": {"accessToken": [1]}}])
def test_an_odd_answer_about_the_token_tells_nothing_of_it(told: ToldHub, answer: object):
    told.tell(INFO, status=401, X_Error_Message="Invalid username or password.")
    told.tell("/api/whoami-v2", answer)
    (problem,) = told.ask("hf_token").problems
    assert "does not accept the token of this run" in str(problem)
