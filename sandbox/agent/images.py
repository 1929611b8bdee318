"""Which program an image's name stands for. Nothing is ever pulled."""

from __future__ import annotations

import sys
from dataclasses import dataclass

MISSING_TAG = "missing"
"""The tag that no image has, so that a failed pull can be tried."""

_SHELLS = ("busybox", "alpine", "debian", "ubuntu", "python")


@dataclass(frozen=True)
class Image:
    """What an image provides: its entrypoint, and whether it is an engine or a router."""

    entrypoint: tuple[str, ...] = ()
    engine: bool = False
    router: bool = False


class PullError(Exception):
    """The image cannot be pulled; the text is the container runtime's."""


def find(reference: str) -> Image:
    """Return what the image of that reference provides; raises PullError for others.

    `vllm-openai*` and `vllm-cpu*` provide `vllm` and `python3`, `lmstack-router*` the router;
    a few base images provide this machine's own programs.
    """
    repository, _, tag = reference.partition("@")[0].rpartition(":")
    if "/" in tag or not repository:
        repository, tag = reference.partition("@")[0], "latest"
    name = repository.rsplit("/", 1)[-1]
    if tag == MISSING_TAG:
        raise PullError(_not_found(reference))
    if name.startswith(("vllm-openai", "vllm-cpu")):
        return Image(engine=True)
    if name.startswith("lmstack-router"):
        return Image((sys.executable, "-m", "sandbox.router"), router=True)
    if name in _SHELLS:
        return Image()
    raise PullError(_not_found(reference))


def _not_found(reference: str) -> str:
    full = reference if "/" in reference else f"library/{reference}"
    if "." not in full.split("/")[0] and ":" not in full.split("/")[0]:
        full = f"docker.io/{full}"
    return (
        f'failed to pull and unpack image "{full}": failed to resolve reference "{full}": '
        f"{full}: not found"
    )
