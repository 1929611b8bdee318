"""Downloads of the sandbox's programs from their projects' official releases.

Each file is checked against the SHA-256 its publisher states beside it. KWOK publishes no
checksum file; for its files the digest is the one GitHub's API states for each release asset.

Each address can be replaced by an environment variable, for a mirror or a test:
`VLLM_SANDBOX_KUBERNETES_URL`, `VLLM_SANDBOX_GITHUB_URL`, `VLLM_SANDBOX_GITHUB_API_URL`,
`VLLM_SANDBOX_HELM_URL`. `VLLM_SANDBOX_DOWNLOAD=never` forbids downloads altogether.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx

from sandbox.errors import ChecksumError, UnavailableError
from sandbox.progress import Report, at_intervals

_TIMEOUT = httpx.Timeout(30, connect=3)
_MEGABYTE = 1_000_000
_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True)
class Source:
    """Where a program is published, where its checksum stands, and what to unpack (if at all)."""

    url: str
    checksum_url: str
    member: str = ""

    @property
    def file(self) -> str:
        """The published file's name."""
        return self.url.rpartition("/")[2]


def source(name: str, version: str, target: tuple[str, str]) -> Source:
    """Return the official release of a program for an operating system and architecture."""
    system, architecture = target
    if name.startswith("kube"):
        base = _base("KUBERNETES", "https://dl.k8s.io")
        url = f"{base}/release/v{version}/bin/{system}/{architecture}/{name}"
        return Source(url, f"{url}.sha256")
    if name == "helm":
        base = _base("HELM", "https://get.helm.sh")
        url = f"{base}/helm-v{version}-{system}-{architecture}.tar.gz"
        return Source(url, f"{url}.sha256sum", member=f"{system}-{architecture}/helm")
    github = _base("GITHUB", "https://github.com")
    if name == "etcd":
        folder = f"etcd-v{version}-{system}-{architecture}"
        release = f"{github}/etcd-io/etcd/releases/download/v{version}"
        url = f"{release}/{folder}.tar.gz"
        return Source(url, f"{release}/SHA256SUMS", member=f"{folder}/etcd")
    release = f"{github}/kubernetes-sigs/kwok/releases/download/v{version}"
    api = _base("GITHUB_API", "https://api.github.com")
    return Source(
        f"{release}/{name}-{system}-{architecture}",
        f"{api}/repos/kubernetes-sigs/kwok/releases/tags/v{version}",
    )


def possible(report: Report) -> bool:
    """Whether downloads are allowed and the first address answers within 3 seconds."""
    if os.environ.get("VLLM_SANDBOX_DOWNLOAD") == "never":
        return False
    base = _base("KUBERNETES", "https://dl.k8s.io")
    try:
        answer = httpx.head(base, timeout=httpx.Timeout(3))
    except httpx.HTTPError as error:
        report(f"{base} cannot be reached ({type(error).__name__})")
        return False
    return not answer.is_server_error


def fetch(
    name: str, version: str, target: tuple[str, str], directory: Path, report: Report
) -> Path:
    """Download a program into `directory`, checked, complete and executable.

    Raises UnavailableError when the network or the server refuses, ChecksumError when the
    file is not the published one (it is then thrown away).
    """
    published = source(name, version, target)
    try:
        expected = _checksum(published)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".download-") as folder:
            archive = Path(folder) / published.file
            actual = _download(published.url, archive, report)
            if actual != expected:
                raise ChecksumError(
                    f"{published.url} is not the published file",
                    why=f"its SHA-256 is {actual}, not {expected}",
                    next_command="VLLM_SANDBOX_DOWNLOAD=never python -m sandbox up",
                )
            return _install(archive, published.member, directory / name)
    except (httpx.HTTPError, OSError, tarfile.TarError, KeyError) as error:
        raise UnavailableError(
            f"{name} cannot be downloaded", why=f"{published.url}: {error}"
        ) from error


def parse_checksum(text: str, file: str) -> str:
    """Return the SHA-256 of `file` from a checksum file: a lone sum, or `sum  name` lines.

    Raises UnavailableError when it states none.
    """
    sums = [line for line in text.splitlines() if file in line.split() or f"*{file}" in line]
    candidates = _SHA256.findall("\n".join(sums) or text)
    if len(candidates) == 1:
        return str(candidates[0])
    raise UnavailableError("no checksum is published", why=f"none for {file}")


def _checksum(published: Source) -> str:
    answer = httpx.get(published.checksum_url, timeout=_TIMEOUT, follow_redirects=True)
    answer.raise_for_status()
    if "/releases/tags/" not in published.checksum_url:
        return parse_checksum(answer.text, published.file)
    digests = [
        asset.get("digest") or ""
        for asset in answer.json().get("assets", [])
        if asset.get("name") == published.file
    ]
    return parse_checksum("\n".join(digests), published.file)


def _download(url: str, path: Path, report: Report) -> str:
    """Write what `url` holds to `path` and return its SHA-256."""
    name, digest, received = path.name, hashlib.sha256(), 0
    report(f"downloading {url}")
    progress = at_intervals(report)
    with (
        httpx.stream("GET", url, timeout=_TIMEOUT, follow_redirects=True) as answer,
        path.open("wb") as file,
    ):
        answer.raise_for_status()
        total = int(answer.headers.get("content-length", 0))
        for chunk in answer.iter_bytes():
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            progress(f"{name}: {received // _MEGABYTE} of {total // _MEGABYTE} MB")
    return digest.hexdigest()


def _install(archive: Path, member: str, destination: Path) -> Path:
    """Unpack `member` (or take the file itself) and put it in place in one step."""
    program = archive
    if member:
        program = archive.with_name("program")
        with tarfile.open(archive) as opened:
            content = opened.extractfile(member)
            if content is None:
                raise KeyError(member)
            with content, program.open("wb") as file:
                shutil.copyfileobj(content, file)
    program.chmod(0o755)
    return program.replace(destination)


def _base(what: str, default: str) -> str:
    return os.environ.get(f"VLLM_SANDBOX_{what}_URL", default).rstrip("/")
