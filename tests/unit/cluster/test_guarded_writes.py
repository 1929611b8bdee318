"""What stands between a run and the cluster, also when a write has to be tried again."""

from __future__ import annotations

from typing import Any

import pytest
import urllib3

from tests.support import VirtualClock
from vllm_flows.cluster import Cluster, Patience
from vllm_flows.errors import ClusterUnavailableError, LockLostError

SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}


class Api:
    """An API server that does not answer the first requests."""

    def __init__(self, silent: int) -> None:
        self.silent = silent
        self.written = 0

    def create(self, *_: Any, **__: Any) -> Api:
        if self.silent:
            self.silent -= 1
            raise urllib3.exceptions.ProtocolError("silent")
        self.written += 1
        return self

    delete = patch = replace = server_side_apply = create

    data = b"{}"


def cluster(api: Api, guard: Any) -> Cluster:
    patience = Patience(60.0, lambda _text: None, VirtualClock())
    return Cluster("vllm", "", api, patience=patience, guard=guard)  # type: ignore[arg-type]  # as much of it as is used


WRITES = {
    "create": lambda made: made.create(SECRET),
    "apply": lambda made: made.apply(SECRET),
    "replace": lambda made: made.replace(SECRET),
    "merge": lambda made: made.merge("Secret", "s", {}),
    "delete": lambda made: made.delete("Secret", "s"),
}


@pytest.mark.parametrize("verb", WRITES)
def test_a_write_that_waited_for_the_api_is_not_made_when_the_lock_was_lost_meanwhile(verb: str):
    api = Api(silent=2)

    def guard() -> None:
        if api.silent < 2:
            raise LockLostError("lost")

    with pytest.raises(LockLostError):
        WRITES[verb](cluster(api, guard))
    assert api.written == 0


@pytest.mark.parametrize("verb", WRITES)
def test_a_lock_that_cannot_be_checked_now_is_checked_again(verb: str):
    api, silent = Api(silent=0), [1, 1]

    def guard() -> None:
        if silent:
            silent.pop()
            raise ClusterUnavailableError("silent")

    WRITES[verb](cluster(api, guard))
    assert api.written == 1
