"""A table says what an image stands for."""

from __future__ import annotations

import pytest

from sandbox.agent.images import PullError, find


@pytest.mark.parametrize(
    "reference",
    [
        "vllm/vllm-openai:latest",
        "vllm/vllm-openai",
        "registry.local:5000/mirror/vllm-openai-rocm:v1",
        "vllm-cpu@sha256:0123",
        "vllm/vllm-openai:v0.32.0@sha256:0123",
    ],
)
def test_engine_images_are_known_by_the_last_part_of_their_name(reference: str) -> None:
    assert find(reference).engine


def test_the_router_image_runs_the_simulated_router() -> None:
    image = find("lmcache/lmstack-router:latest")
    assert image.router
    assert image.entrypoint[1:] == ("-m", "sandbox.router")


def test_a_base_image_provides_no_entrypoint() -> None:
    assert find("busybox:1.36").entrypoint == ()


def test_another_image_cannot_be_pulled() -> None:
    with pytest.raises(PullError, match=r"docker\.io/library/nginx:1: not found$"):
        find("nginx:1")


def test_the_tag_missing_is_never_found() -> None:
    with pytest.raises(PullError, match=r"docker\.io/vllm/vllm-openai:missing: not found$"):
        find("vllm/vllm-openai:missing")


def test_a_registry_of_its_own_stays_in_the_message() -> None:
    with pytest.raises(PullError, match=r'"registry\.local:5000/x:1"'):
        find("registry.local:5000/x:1")
