"""What a webhook is answered, as a table; the payloads are huggingface_hub's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox.hub.repository import Commit, Repository
from sandbox.hub.samples import SAMPLES
from sandbox.hub.webhooks import Webhook, payload
from vllm_flows.models import Model
from vllm_flows.webhook_rules import LARGEST_BODY, judge, knows_secret, refusal

SECRET = "planted-canary-secret-of-webhooks"
PHI = "microsoft/Phi-4-mini-instruct"
MODELS = [Model(name="phi4", modelURL=PHI), Model(name="tag", modelURL="a/b", revision="v1.0")]
GOOD = {"x-webhook-secret": SECRET, "content-type": "application/json; charset=utf-8"}


def told(**changes: Any) -> dict[str, Any]:
    """Return what the sandbox's Hub sends of a commit, with top-level fields replaced."""
    sample = next(one for one in SAMPLES if one.repo_id == PHI)
    before = Commit("1" * 40, "", None, {}, "mit", {}, {})  # type: ignore[arg-type]  # no date is told
    repository = Repository(sample, [before])
    hook = Webhook(1, "http://127.0.0.1:1", (), (), SECRET)
    return {**payload(hook, repository, before, "http://127.0.0.1:1"), **changes}


def about(name: str, *refs: str, kind: str = "model", scope: str = "repo.content") -> bytes:
    repo = {"type": kind, "name": name}
    moved = [{"ref": ref, "newSha": "2" * 40} for ref in refs]
    event = {"action": "update", "scope": scope}
    return json.dumps(told(event=event, repo=repo, updatedRefs=moved)).encode()


def test_a_webhook_about_a_tracked_revision_leads_to_a_look():
    found = judge(json.dumps(told()).encode(), MODELS)
    assert (found.status, found.repository) == (202, PHI)


def test_secrets_are_compared_in_a_time_that_tells_nothing(monkeypatch: pytest.MonkeyPatch):
    compared: list[int] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one) - len(other))
        return one == other

    monkeypatch.setattr("vllm_flows.webhook_rules.hmac.compare_digest", compare)
    assert knows_secret(SECRET, SECRET)
    assert not knows_secret(SECRET[:4], SECRET)
    assert compared == [0, 0], "also of the same length"


@pytest.mark.parametrize(
    ("body", "repository"),
    [
        (about(PHI, "refs/heads/main"), PHI),
        (about(PHI), PHI),
        (about(PHI, scope="repo"), PHI),
        (about(PHI, scope="repo.config"), PHI),
        (about(PHI, "refs/pr/3", "refs/heads/main"), PHI),
        (about("a/b", "refs/tags/v1.0"), "a/b"),
        (about(PHI, "refs/pr/3"), ""),
        (about(PHI, "refs/heads/other"), ""),
        (about("a/b", "refs/heads/main"), ""),
        (about(PHI, "refs/heads/main", kind="dataset"), ""),
        (about(PHI, scope="discussion"), ""),
        (about(PHI, scope="discussion.comment"), ""),
        (about("microsoft/other", "refs/heads/main"), ""),
        (about(PHI.lower(), "refs/heads/main"), ""),
        (about("../" + PHI, "refs/heads/main"), ""),
    ],
)
def test_what_concerns_no_revision_of_models_yaml_does_nothing(body: bytes, repository: str):
    found = judge(body, MODELS)
    assert found.repository == repository
    assert found.status == (202 if repository else 200)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 50_000, 400),
        (b'{"a":' * 50 + b"1" + b"}" * 50, 400),
        (b"{}", 422),
        (json.dumps(told(repo=None)).encode(), 422),
        (json.dumps(told(repo={"type": "model", "name": 3})).encode(), 422),
        (json.dumps(told(event=[])).encode(), 422),
    ],
)
def test_what_is_no_webhook_is_refused(body: bytes, status: int):
    found = judge(body, MODELS)
    assert (found.status, found.repository) == (status, "")


@pytest.mark.parametrize("refs", [None, "main", [3], [{}], [{"ref": 3}], {"ref": "refs/heads/x"}])
def test_refs_of_another_shape_tell_nothing_and_the_hub_is_asked(refs: object):
    assert judge(json.dumps(told(updatedRefs=refs)).encode(), MODELS).repository == PHI


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"x-webhook-secret": ""}, 403),
        ({"x-webhook-secret": SECRET[:-1]}, 403),
        ({"x-webhook-secret": SECRET + "x"}, 403),
        ({"x-webhook-secret": "\xff\x00"}, 403),
        ({"authorization": f"Bearer {SECRET}"}, 403),
        ({**GOOD, "content-type": "text/plain"}, 415),
        ({"x-webhook-secret": SECRET}, 415),
        ({**GOOD, "content-length": str(LARGEST_BODY + 1)}, 413),
        ({**GOOD, "content-length": "9" * 400}, 413),
    ],
)
def test_a_head_that_is_not_the_hubs_is_refused_before_anything_is_read(
    headers: dict[str, str], status: int
):
    found = refusal(headers, SECRET)
    assert found
    assert (found.status, found.repository) == (status, "")
    assert "canary" not in found.text


def test_a_good_head_passes():
    assert refusal(GOOD, SECRET) is None
    assert refusal({**GOOD, "content-length": str(LARGEST_BODY)}, SECRET) is None


def test_an_empty_secret_is_never_the_right_one():
    assert not knows_secret("", "")
    assert not knows_secret(None, "")
