"""References to container images, as they are named in settings, in pods and in chart values. Pure.

Kubernetes pulls `repository:tag@digest` by the digest alone; the tag is for people. Source:
kubernetes.io/docs/concepts/containers/images, "Image names".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LATEST = "latest"

_KNOWN_BY_NAME = "lmcache/vllm-openai"
"""The charts look for vLLM elsewhere in the image of this very name."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::\d+)?"
_REPOSITORY = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*")
"""What the distribution project's reference package takes."""


@dataclass(frozen=True)
class Image:
    """An image of a repository, by its tag, its digest (`sha256:…`), or both; "" for neither."""

    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag, digest = self.tag and f":{self.tag}", self.digest and f"@{self.digest}"
        return f"{self.repository}{tag}{digest}"

    @property
    def moves(self) -> bool:
        """Whether the reference may stand for another image tomorrow, by convention."""
        return not self.digest and self.tag in {"", LATEST}

    @property
    def pull_policy(self) -> str:
        """What moves is pulled at every start, else nodes run different images under one name."""
        return "Always" if self.moves else "IfNotPresent"

    @property
    def chart_values(self) -> dict[str, str]:
        """Return `repository` and `tag`, which the charts join with a colon (0.1.8 to 0.1.12)."""
        if not self.digest:
            return {"repository": self.repository, "tag": self.tag or LATEST}
        if self.tag or self.repository == _KNOWN_BY_NAME:
            return {"repository": self.repository, "tag": f"{self.tag or LATEST}@{self.digest}"}
        algorithm, _, value = self.digest.partition(":")
        return {"repository": f"{self.repository}@{algorithm}", "tag": value}


def parse_image(text: str) -> Image:
    """Read `repository`, `repository:tag`, `repository@sha256:…` or `repository:tag@sha256:…`.

    Raises ValueError that says what is wrong.
    """
    name, at, digest = text.partition("@")
    tag = ""
    if ":" in name.rpartition("/")[2]:
        name, _, tag = name.rpartition(":")
        _check_tag(tag)
    if not _REPOSITORY.fullmatch(name):
        message = f"{name!r} is not an image repository such as vllm/vllm-openai"
        raise ValueError(message)
    if at:
        _check_digest(digest)
    return Image(name, tag, digest)


def parse_tag(text: str) -> tuple[str, str]:
    """Read `tag`, `tag@sha256:…` or `sha256:…`, also with an @ before it; "" for what is not there.

    Raises ValueError that says what is wrong.
    """
    if text.startswith("sha256:"):
        text = f"@{text}"
    tag, at, digest = text.partition("@")
    if tag or not at:
        _check_tag(tag)
    if at:
        _check_digest(digest)
    return tag, digest


def _check_tag(tag: str) -> None:
    if not _TAG.fullmatch(tag):
        message = f"{tag!r} is not an image tag such as v0.11.0"
        raise ValueError(message)


def _check_digest(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        message = (
            f"{digest!r} is not a digest: sha256: and 64 digits of 0-9, a-f, "
            "as `docker buildx imagetools inspect IMAGE` prints it"
        )
        raise ValueError(message)
