from __future__ import annotations

from typing import Any

from vllm_flows.log_sources import Position, Source, sources

RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def pod(
    name: str, created: str = "1", *, phase: str = "Running", ready: bool = True, **status: Any
) -> dict[str, Any]:
    known = {"name": "vllm", "state": RUNNING, "restartCount": 0} | status
    return {
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"containers": [{"name": "vllm"}]},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [known],
        },
    }


def test_all_pods_are_shown_the_oldest_first():
    found = sources([pod("new", "2"), pod("old", "1")])
    assert found == [Source("old", "vllm"), Source("new", "vllm")]


def test_of_pods_that_ended_only_the_newest_is_shown_and_only_where_no_other_is_left():
    over = [pod("a", "1", phase="Failed"), pod("b", "2", phase="Failed")]
    assert [one.pod for one in sources(over)] == ["b"]
    assert [one.pod for one in sources([*over, pod("c", "0")])] == ["c"]
    assert sources([]) == []


def test_the_newest_is_the_newest_that_is_ready():
    pods = [pod("a", "1"), pod("b", "2"), pod("c", "3", ready=False)]
    assert [one.pod for one in sources(pods, newest_only=True)] == ["b"]
    loading = [pod("a", "1", ready=False), pod("b", "2", ready=False)]
    assert [one.pod for one in sources(loading, newest_only=True)] == ["b"]


def test_a_container_that_has_not_started_says_why():
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    (found,) = sources([pod("a", state=waiting, ready=False)])
    assert (found.waits, found.running) == ("ContainerCreating", False)
    unscheduled = pod("a", state={})
    unscheduled["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}
    ]
    assert sources([unscheduled])[0].waits == "no node takes it: 0/2 nodes"


def test_a_container_between_two_runs_has_a_log_and_an_end():
    crashed = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    (found,) = sources([pod("a", state=waiting, lastState=crashed, restartCount=2)])
    assert found == Source("a", "vllm", 2, running=False, ended="exit code 137, OOMKilled")


def test_an_init_container_that_is_not_done_is_shown_instead():
    one = pod("a", state={"waiting": {"reason": "PodInitializing"}}, ready=False)
    one["spec"]["initContainers"] = [{"name": "first"}, {"name": "second"}]
    one["status"]["initContainerStatuses"] = [
        {"name": "first", "state": {"terminated": {"exitCode": 0}}},
        {"name": "second", "state": {"running": {}}},
    ]
    assert sources([one])[0].container == "second"
    one["status"]["initContainerStatuses"][1]["state"] = {"terminated": {"exitCode": 0}}
    assert sources([one])[0].container == "vllm"


def test_the_container_that_kubectl_would_choose_is_chosen():
    one = pod("a")
    one["spec"]["containers"] = [{"name": "proxy"}, {"name": "vllm"}]
    assert sources([one])[0].container == "proxy"
    one["metadata"]["annotations"] = {"kubectl.kubernetes.io/default-container": "vllm"}
    assert sources([one])[0].container == "vllm"


def stamped(second: int, text: bytes) -> bytes:
    return b"2026-01-01T00:00:%02d.000000000Z %s" % (second, text)


def test_what_is_read_again_is_not_shown_again():
    position = Position()
    lines = [stamped(1, b"a"), stamped(2, b"b"), stamped(2, b"c")]
    assert list(position.after(lines)) == [b"a", b"b", b"c"]
    again = [stamped(1, b"a"), stamped(2, b"b"), stamped(2, b"c"), stamped(2, b"d")]
    assert list(position.after([*again, stamped(3, b"e")])) == [b"d", b"e"]
    assert list(position.after([stamped(3, b"e"), stamped(4, b"f")])) == [b"f"]


def test_lines_of_one_moment_that_were_cut_in_their_middle_are_all_shown():
    position = Position()
    assert list(position.after([stamped(1, b"a"), stamped(1, b"b")])) == [b"a", b"b"]
    again = [stamped(1, one) for one in (b"a", b"b", b"c")]
    assert list(position.after(again)) == [b"c"]
    assert list(position.after([*again, stamped(1, b"d")])) == [b"d"]


def test_a_line_without_a_stamp_is_shown_as_it_is():
    assert list(Position().after([b"failed to watch file", b""])) == [b"failed to watch file", b""]
