from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sandbox import download
from sandbox.errors import ChecksumError, UnavailableError
from sandbox.progress import silent

TARGET = ("linux", "amd64")
CONTENT = b"#!/bin/sh\necho real\n"
Files = dict[str, bytes]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """Serve releases on 127.0.0.1; the dictionary maps a path to what it holds."""
    served: Files = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = served.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815 -- the name http.server looks for

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for what in ("KUBERNETES", "GITHUB", "GITHUB_API", "HELM"):
        monkeypatch.setenv(
            f"VLLM_SANDBOX_{what}_URL", f"http://127.0.0.1:{server.server_port}/{what}"
        )
    monkeypatch.delenv("VLLM_SANDBOX_DOWNLOAD", raising=False)
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def archive(member: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo(member)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch(name: str, version: str, directory: Path) -> Path:
    return download.fetch(name, version, TARGET, directory, silent)


def test_a_kubernetes_program_is_checked_against_the_sum_beside_it(
    files: Files, tmp_path: Path
) -> None:
    url = "/KUBERNETES/release/v1.36.1/bin/linux/amd64/kubectl"
    files[url] = CONTENT
    files[f"{url}.sha256"] = sha256(CONTENT).encode()
    path = fetch("kubectl", "1.36.1", tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o111


def test_etcd_is_unpacked_from_the_archive_listed_among_others(
    files: Files, tmp_path: Path
) -> None:
    packed = archive("etcd-v3.6.8-linux-amd64/etcd", CONTENT)
    release = "/GITHUB/etcd-io/etcd/releases/download/v3.6.8"
    files[f"{release}/etcd-v3.6.8-linux-amd64.tar.gz"] = packed
    files[f"{release}/SHA256SUMS"] = (
        f"{sha256(b'other')}  etcd-v3.6.8-darwin-amd64.zip\n"
        f"{sha256(packed)}  etcd-v3.6.8-linux-amd64.tar.gz\n"
    ).encode()
    assert fetch("etcd", "3.6.8", tmp_path).read_bytes() == CONTENT


def test_helm_is_unpacked_from_its_archive(files: Files, tmp_path: Path) -> None:
    packed = archive("linux-amd64/helm", CONTENT)
    files["/HELM/helm-v4.3.1-linux-amd64.tar.gz"] = packed
    files["/HELM/helm-v4.3.1-linux-amd64.tar.gz.sha256sum"] = (
        f"{sha256(packed)}  helm-v4.3.1-linux-amd64.tar.gz\n".encode()
    )
    assert fetch("helm", "4.3.1", tmp_path).read_bytes() == CONTENT


def test_kwok_is_checked_against_the_digest_that_github_states(
    files: Files, tmp_path: Path
) -> None:
    files["/GITHUB/kubernetes-sigs/kwok/releases/download/v0.8.0/kwok-linux-amd64"] = CONTENT
    release = {
        "assets": [
            {"name": "kwokctl-linux-amd64", "digest": f"sha256:{sha256(b'other')}"},
            {"name": "kwok-linux-amd64", "digest": f"sha256:{sha256(CONTENT)}"},
        ]
    }
    files["/GITHUB_API/repos/kubernetes-sigs/kwok/releases/tags/v0.8.0"] = json.dumps(
        release
    ).encode()
    assert fetch("kwok", "0.8.0", tmp_path).read_bytes() == CONTENT


def test_a_file_with_another_checksum_is_refused_and_thrown_away(
    files: Files, tmp_path: Path
) -> None:
    url = "/KUBERNETES/release/v1.36.1/bin/linux/amd64/kubectl"
    files[url] = b"tampered with"
    files[f"{url}.sha256"] = sha256(CONTENT).encode()
    with pytest.raises(ChecksumError, match=sha256(CONTENT)):
        fetch("kubectl", "1.36.1", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("checksum", [None, b"", b"<html>no such page</html>"])
def test_a_file_without_a_checksum_is_not_downloaded(
    files: Files, tmp_path: Path, checksum: bytes | None
) -> None:
    url = "/KUBERNETES/release/v1.36.1/bin/linux/amd64/kubectl"
    files[url] = CONTENT
    if checksum is not None:
        files[f"{url}.sha256"] = checksum
    with pytest.raises(UnavailableError):
        fetch("kubectl", "1.36.1", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_without_the_program_counts_as_unavailable(files: Files, tmp_path: Path) -> None:
    packed = archive("README.md", CONTENT)
    files["/HELM/helm-v4.3.1-linux-amd64.tar.gz"] = packed
    files["/HELM/helm-v4.3.1-linux-amd64.tar.gz.sha256sum"] = sha256(packed).encode()
    with pytest.raises(UnavailableError):
        fetch("helm", "4.3.1", tmp_path)


def test_a_server_that_answers_makes_downloads_possible(files: Files) -> None:
    assert files == {}
    assert download.possible(silent)


def test_downloads_can_be_forbidden(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files == {}
    monkeypatch.setenv("VLLM_SANDBOX_DOWNLOAD", "never")
    assert not download.possible(silent)


def test_an_address_nobody_listens_on_makes_downloads_impossible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setenv("VLLM_SANDBOX_KUBERNETES_URL", "http://127.0.0.1:1")
    assert not download.possible(said.append)
    assert said == ["http://127.0.0.1:1 cannot be reached (ConnectError)"]


def test_the_official_addresses_are_those_of_the_projects(monkeypatch: pytest.MonkeyPatch) -> None:
    for what in ("KUBERNETES", "GITHUB", "GITHUB_API", "HELM"):
        monkeypatch.delenv(f"VLLM_SANDBOX_{what}_URL", raising=False)
    assert download.source("kube-apiserver", "1.36.1", TARGET).url == (
        "https://dl.k8s.io/release/v1.36.1/bin/linux/amd64/kube-apiserver"
    )
    assert download.source("kwokctl", "0.8.0", ("linux", "arm64")).url == (
        "https://github.com/kubernetes-sigs/kwok/releases/download/v0.8.0/kwokctl-linux-arm64"
    )
