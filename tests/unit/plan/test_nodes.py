"""What nodes have, and what pods take of it."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.nodes import GPU, nodes_of, requests_of


@pytest.mark.parametrize(
    ("containers", "extra", "gpus"),
    [
        ([{"resources": {"limits": {GPU: "2"}}}], {}, 2),
        ([{}, {"resources": {"requests": {GPU: "1"}}}], {}, 1),
        ([{}], {"initContainers": [{"resources": {"requests": {GPU: "4"}}}]}, 4),
        (
            [{"resources": {"requests": {GPU: "1"}}}],
            {"initContainers": [{"restartPolicy": "Always", "resources": {"limits": {GPU: "1"}}}]},
            2,
        ),
        ([{}], {"overhead": {GPU: "1"}}, 1),
    ],
)
def test_requests_are_counted_as_the_scheduler_counts_them(containers: Any, extra: Any, gpus: int):
    assert requests_of({"spec": {"containers": containers, **extra}})[GPU] == gpus


def test_what_a_pod_asks_for_as_a_whole_counts_where_it_is_more_than_its_containers():
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "1", "memory": "3Gi", GPU: "1"}}}],
        "resources": {"requests": {"cpu": "4", "memory": "2Gi"}},
        "overhead": {"cpu": "1"},
    }
    found = requests_of({"spec": spec})
    assert (found["cpu"], found["memory"], found[GPU]) == (5, 3 * 1024**3, 1)


def test_a_gpu_that_is_shared_in_time_has_its_share_of_the_memory(make: Any):
    (node,) = nodes_of([make.node("a", **{"nvidia.com/gpu.replicas": "4"})], ())
    assert node.gpu_memory == 20 * 1024**3
