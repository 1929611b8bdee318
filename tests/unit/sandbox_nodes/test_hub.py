"""The sandbox's Hub, driven by the real `huggingface_hub`."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
import uvicorn
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sandbox.hub.access import (
    TOKEN_EXPIRED,
    TOKEN_PENDING,
    TOKEN_REFUSED,
    TOKEN_WITHOUT_GRANT,
    TOKEN_WITHOUT_SCOPE,
)
from sandbox.hub.app import Hub, build_app
from sandbox.hub.repository import Store
from sandbox.hub.samples import SAMPLES

GATED = "meta-llama/Llama-3.2-3B-Instruct"
OPEN = "Qwen/Qwen3-4B"
SMALL = "microsoft/Phi-4-mini-instruct"
TOKEN = "hf_sandbox_test"


@dataclass
class Running:
    """A Hub that listens, and the client's view of it."""

    url: str
    data: Path
    hub: Hub

    @property
    def api(self) -> HfApi:
        """A client with the granted token."""
        return HfApi(endpoint=self.url, token=TOKEN)

    def control(self, route: str, **body: object) -> dict[str, object]:
        """Post to a control route."""
        answer = httpx.post(f"{self.url}/_sandbox/{route}", json=body)
        answer.raise_for_status()
        document: dict[str, object] = answer.json()
        return document


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("hub")
    hub = Hub(Store(data), TOKEN)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(build_app(hub), log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", data, hub)
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture(autouse=True)
def _reset(running: Running) -> Iterator[None]:
    yield
    running.hub.rate = None
    running.hub.failures = []


def test_the_granted_token_passes_the_check_of_a_gated_repository(running: Running) -> None:
    running.api.auth_check(GATED)


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        ("", 401, "Please log in"),
        (TOKEN_WITHOUT_GRANT, 403, "not in the authorized list"),
        (TOKEN_PENDING, 403, "awaiting a review"),
        (TOKEN_REFUSED, 403, "rejected by the repo's authors"),
    ],
)
def test_a_gated_repository_is_refused_in_the_hubs_words(
    running: Running, token: str, status: int, words: str
) -> None:
    with pytest.raises(GatedRepoError, match=words) as refused:
        running.api.auth_check(GATED, token=token or False)
    assert refused.value.response.status_code == status


def test_a_token_without_the_scope_opens_no_gate(running: Running) -> None:
    with pytest.raises(HfHubHTTPError, match="fine-grained token settings") as refused:
        running.api.auth_check(GATED, token=TOKEN_WITHOUT_SCOPE)
    assert not isinstance(refused.value, GatedRepoError)
    token = running.api.whoami(token=TOKEN_WITHOUT_SCOPE)["auth"]["accessToken"]
    assert token["fineGrained"]["canReadGatedRepos"] is False


def test_an_expired_token_is_401_with_the_reason(running: Running) -> None:
    with pytest.raises(HfHubHTTPError, match="is expired") as refused:
        running.api.auth_check(OPEN, token=TOKEN_EXPIRED)
    assert refused.value.response.status_code == 401


def test_pickles_are_large_files_and_have_no_parameters_to_tell(running: Running) -> None:
    info = running.api.model_info("facebook/opt-125m", files_metadata=True)
    (weights,) = [each for each in info.siblings or [] if each.rfilename == "pytorch_model.bin"]
    assert weights.lfs
    assert weights.size == 1_000_000
    assert info.safetensors is None


def test_the_scan_calls_a_file_unsafe(running: Running) -> None:
    info = running.api.model_info("sandbox/opt-125m-flagged", securityStatus=True)
    assert info.security_repo_status
    issues = info.security_repo_status["filesWithIssues"]
    assert {"path": "pytorch_model.bin", "level": "unsafe"} in issues


def test_an_open_repository_passes_without_a_token(running: Running) -> None:
    running.api.auth_check(OPEN, token=False)


def test_a_missing_repository_is_404_to_a_known_user(running: Running) -> None:
    with pytest.raises(RepositoryNotFoundError) as missing:
        running.api.auth_check("nobody/nothing")
    assert missing.value.response.status_code == 404


def test_an_unknown_token_is_401_even_on_an_open_repository(running: Running) -> None:
    with pytest.raises(HfHubHTTPError) as refused:
        running.api.auth_check(OPEN, token="hf_unknown")
    assert not isinstance(refused.value, RepositoryNotFoundError)
    assert refused.value.response.status_code == 401


def test_whoami_tells_a_fine_grained_token(running: Running) -> None:
    token = running.api.whoami()["auth"]["accessToken"]
    assert token["role"] == "fineGrained"
    assert token["fineGrained"]["canReadGatedRepos"] is True


def test_whoami_refuses_an_unknown_token(running: Running) -> None:
    with pytest.raises(HfHubHTTPError):
        running.api.whoami(token="hf_unknown")


def test_model_info_is_the_same_by_branch_and_by_hash(running: Running) -> None:
    branch = running.api.model_info(OPEN, revision="main", files_metadata=True)
    by_hash = running.api.model_info(OPEN, revision=branch.sha, files_metadata=True)
    assert by_hash.sha == branch.sha
    assert by_hash.siblings == branch.siblings


def test_a_tag_names_the_older_commit(running: Running) -> None:
    tags = {tag.name: tag.target_commit for tag in running.api.list_repo_refs(OPEN).tags}
    older = running.api.model_info(OPEN, revision="v1.0")
    commits = [each.commit_id for each in running.api.list_repo_commits(OPEN)]
    assert older.sha == tags["v1.0"] == commits[-1]
    assert running.api.model_info(OPEN).sha == commits[0] != older.sha


def test_model_info_describes_files_licence_and_gate(running: Running) -> None:
    info = running.api.model_info(GATED, files_metadata=True, securityStatus=True)
    weights = [each for each in info.siblings or [] if each.rfilename.endswith(".safetensors")]
    assert info.gated == "manual"
    assert info.card_data
    assert info.card_data.license == "llama3.2"
    assert info.safetensors
    assert info.safetensors.parameters == {"BF16": 3_212_749_824}
    assert all(each.lfs and len(each.lfs.sha256) == 64 for each in weights)
    assert info.used_storage == sum(each.size or 0 for each in weights)
    assert info.security_repo_status == {"scansDone": True, "filesWithIssues": []}


def test_expand_narrows_the_answer(running: Running) -> None:
    info = running.api.model_info(OPEN, expand=["gated", "sha"])
    assert info.gated is False
    assert info.siblings is None


def test_an_unknown_revision_is_told(running: Running) -> None:
    with pytest.raises(RevisionNotFoundError):
        running.api.model_info(OPEN, revision="v9.9")


def test_paths_info_holds_the_paths_that_are_there(running: Running) -> None:
    found = running.api.get_paths_info(OPEN, ["config.json", "nothing.txt"])
    assert [each.path for each in found] == ["config.json"]


def test_the_headers_of_the_weights_can_be_read_by_range(running: Running) -> None:
    metadata = running.api.get_safetensors_metadata(SMALL)
    (file,) = running.api.get_paths_info(SMALL, ["model.safetensors"])
    assert file.size > metadata.parameter_count["BF16"] * 2 > file.size * 0.9


def test_a_snapshot_is_downloaded_at_a_hash_with_the_right_bytes(
    running: Running, tmp_path: Path
) -> None:
    info = running.api.model_info(OPEN, revision="v1.0", files_metadata=True)
    folder = snapshot_download(
        OPEN, revision=info.sha, cache_dir=tmp_path, endpoint=running.url, token=TOKEN
    )
    assert Path(folder).name == info.sha
    for sibling in info.siblings or []:
        data = (Path(folder) / sibling.rfilename).read_bytes()
        assert len(data) == sibling.size
        if sibling.lfs:
            assert hashlib.sha256(data).hexdigest() == sibling.lfs.sha256


def test_a_gated_snapshot_is_refused_without_the_grant(running: Running, tmp_path: Path) -> None:
    with pytest.raises(GatedRepoError):
        snapshot_download(
            GATED, cache_dir=tmp_path, endpoint=running.url, token=TOKEN_WITHOUT_GRANT
        )


def test_an_aborted_snapshot_goes_on_with_the_files_that_lack(
    running: Running, tmp_path: Path
) -> None:
    """huggingface_hub resumes between files; a file cut in another process starts anew."""
    revision = running.api.model_info(OPEN).sha
    fetch = partial(
        snapshot_download, OPEN, cache_dir=tmp_path, endpoint=running.url, revision=revision
    )
    fetch(allow_patterns=["model-00001*"])
    before = running.hub.requests["bytes"]
    folder = fetch()
    sent = running.hub.requests["bytes"] - before
    files = [each for each in Path(folder).iterdir() if not each.name.startswith("model-00001")]
    assert sent == sum(each.stat().st_size for each in files)


def test_a_part_of_a_file_is_sent_on_request(running: Running) -> None:
    url = f"{running.url}/{SMALL}/resolve/main/model.safetensors"
    whole = httpx.get(url)
    part = httpx.get(url, headers={"Range": "bytes=1000000-"})
    assert part.status_code == 206
    assert part.content == whole.content[1000000:]
    assert (
        part.headers["Content-Range"]
        == f"bytes 1000000-{len(whole.content) - 1}/{len(whole.content)}"
    )
    assert httpx.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416


def test_requests_fail_as_often_as_told(running: Running) -> None:
    running.control("fail", status=503, count=1, path="/refs")
    running.api.model_info(OPEN)
    with pytest.raises(HfHubHTTPError) as failed:
        running.api.list_repo_refs(OPEN)
    assert failed.value.response.status_code == 503
    running.api.list_repo_refs(OPEN)


def test_a_rate_can_be_set_and_lifted(running: Running) -> None:
    assert running.control("rate", bytes_per_second=10**6) == {"bytes_per_second": 10**6}
    assert running.hub.rate == 10**6
    assert running.control("rate", bytes_per_second=None) == {"bytes_per_second": None}


def test_a_hub_that_was_told_to_misbehave_can_be_told_to_stop(running: Running):
    running.control("rate", bytes_per_second=1)
    running.control("fail", status=503, count=1000)
    running.control("faults", kind="stall", count=1000)
    running.control("behave")
    assert (running.hub.rate, running.hub.failures, running.hub.faults) == (None, [], [])
    assert running.api.model_info(SMALL).sha


def test_a_documentation_commit_leaves_the_weights_alone(running: Running) -> None:
    before = running.api.model_info(SMALL, files_metadata=True)
    sha = running.control("commit", repo=SMALL, kind="docs")["sha"]
    after = running.api.model_info(SMALL, files_metadata=True)
    changed = {
        new.rfilename
        for old, new in zip(before.siblings or [], after.siblings or [], strict=True)
        if old.blob_id != new.blob_id
    }
    assert after.sha == sha != before.sha
    assert changed == {"README.md"}


def config_at(running: Running, sha: object) -> dict[str, object]:
    answer = httpx.get(f"{running.url}/{SMALL}/resolve/{sha}/config.json")
    document: dict[str, object] = answer.raise_for_status().json()
    return document


def test_a_configuration_commit_merges_its_keys_and_leaves_the_weights_alone(
    running: Running,
) -> None:
    before = running.api.model_info(SMALL, files_metadata=True)
    sha = running.control(
        "commit", repo=SMALL, kind="config", config={"sandbox_fault": "crash", "vocab_size": 7}
    )["sha"]
    after = running.api.model_info(SMALL, files_metadata=True)
    same = {one.rfilename for one in before.siblings or [] if one in (after.siblings or [])}
    assert after.sha == sha
    assert {one.rfilename for one in after.siblings or []} - same == {"config.json"}
    changed = {"sandbox_fault": "crash", "vocab_size": 7}
    assert config_at(running, sha) == config_at(running, before.sha) | changed


def test_a_key_is_taken_out_of_the_configuration_by_null(running: Running) -> None:
    before = config_at(running, "main")
    running.control("commit", repo=SMALL, kind="config", config={"sandbox_fault": "hang"})
    running.control("commit", repo=SMALL, kind="config", config={"sandbox_fault": None})
    before.pop("sandbox_fault", None)
    assert config_at(running, "main") == before


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "other"},
        {"kind": "config"},
        {"kind": "config", "config": ["a"]},
        {"kind": "docs", "config": {"a": 1}},
    ],
)
def test_a_commit_that_says_nothing_of_what_changes_is_refused(
    running: Running, body: dict[str, object]
) -> None:
    answer = httpx.post(f"{running.url}/_sandbox/commit", json={"repo": SMALL, **body})
    assert answer.status_code == 400


def test_a_restarted_hub_knows_the_commits_that_were_added(tmp_path: Path) -> None:
    only = [sample for sample in SAMPLES if sample.repo_id == SMALL]
    store = Store(tmp_path, only)
    store.add_commit(SMALL, "config", {"sandbox_fault": "empty"})
    added = store.add_commit(SMALL, "weights")
    assert Store(tmp_path, only).repositories[SMALL].head.sha == added.sha
