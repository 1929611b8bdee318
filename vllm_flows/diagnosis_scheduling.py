"""Why no node takes a pod, from the scheduler's message and, where they may be read, the nodes.

Pure. The messages are those of FitError and of the filter plugins in kubernetes/pkg/scheduler, in
their wordings from 1.20 to 1.36. A node is counted under the first plugin that refuses it, and the
plugins have an order (`getDefaultPlugins`): a node that lacks a GPU has passed taints and
selectors. So the reason of the latest plugin is what is nearest to a place for the pod.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from vllm_flows.diagnosis_autoscalers import makes_room
from vllm_flows.diagnosis_categories import (
    SETTLED_SECONDS,
    Category,
    Diagnosis,
    Object,
    Place,
)
from vllm_flows.nodes import Node, nodes_of, untolerated_taints
from vllm_flows.taints import comes_up, passes

_COUNTED = re.compile(r"(?P<count>\d+) (?P<text>.+)")
_HEAD = re.compile(r"^0/(?P<nodes>\d+) nodes are available: ?")
_END = re.compile(r"\.+(\s|$)")
_INSUFFICIENT = re.compile(r"Insufficient (?P<resource>\S+)")
_CLAIM = re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)"')
_ELSEWHERE = (
    "volume node affinity conflict",
    "PersistentVolume's node affinity",
    "no available volume zone",
    "ReadWriteOncePod",
    "no available disk",
)
_UNBOUND = (
    "unbound immediate PersistentVolumeClaims",
    "available persistent volumes to bind",
    "enough free storage",
    "non-existent p",
    "persistentvolumeclaim",
    "storageclass",
    "max volume count",
)
_KINDS: Sequence[tuple[Category, re.Pattern[str]]] = tuple(
    (category, re.compile(pattern))
    for category, pattern in (
        (Category.CLAIM_ELSEWHERE, "|".join(_ELSEWHERE)),
        (Category.CLAIM_UNBOUND, "|".join(_UNBOUND)),
        (Category.NO_FREE_GPU, r"Insufficient \S*(gpu|/mig-)"),
        (Category.NO_ROOM, r"Insufficient|Too many pods"),
        (Category.SELECTOR, r"(node|pod)'?s? (anti-)?affinity|node selector|affinity/selector"),
        (Category.TAINT, r"taint|were unschedulable"),
    )
)
"""The later a plugin is asked, the earlier its reasons stand here."""
_NAMED_TAINT = re.compile(r"taint \{(?P<key>[^:}]+)")
"""A node's first taint; later schedulers say "untolerated taint(s)" and name none."""
_CORDONED = "were unschedulable"
_MISSING = re.compile(r"(persistentvolumeclaim|storageclass\S*) \"?[^\"]+\"? not found")


@dataclass(frozen=True)
class Reason:
    """Why so many nodes refuse the pod; `count` is 0 for a reason that is not about nodes."""

    count: int
    text: str

    @property
    def category(self) -> Category:
        """What kind of reason it is."""
        for category, pattern in _KINDS:
            if pattern.search(self.text):
                return category
        return Category.UNSCHEDULABLE

    @property
    def resource(self) -> str:
        """The resource of which a node has too little, empty for another reason."""
        found = _INSUFFICIENT.search(self.text)
        return found["resource"] if found else ""


def reasons_of(message: str) -> tuple[int, tuple[Reason, ...]]:
    """Return how many nodes there are and why they refuse, from the scheduler's message."""
    head = _HEAD.match(message)
    total = int(head["nodes"]) if head else 0
    # Behind the first sentence stands what preemption would, or would not, do about it.
    text = _END.split(message[head.end() :] if head else message, maxsplit=1)[0].strip()
    # A reason may hold a comma; the next one begins with a number.
    parts = re.split(r", (?=\d+ )", text) if text else []
    return total, tuple(_reason(part) for part in parts)


def _reason(part: str) -> Reason:
    found = _COUNTED.fullmatch(part)
    return Reason(int(found["count"]), found["text"]) if found else Reason(0, part)


@dataclass(frozen=True)
class _Case:
    """A message taken apart, beside what is known of the nodes.

    `taints` are by node those that keep the pod off it.
    """

    message: str
    total: int
    reasons: Sequence[Reason]
    nodes: Sequence[Node]
    taints: Mapping[str, Sequence[str]]

    @property
    def category(self) -> Category:
        """The category that is nearest to a place for the pod.

        Nodes without any GPU lack one, and hide that those with GPUs are tainted.
        """
        order = [category for category, _ in _KINDS]
        found = sorted({reason.category for reason in self.reasons} & {*order}, key=order.index)
        if not found:
            return Category.UNSCHEDULABLE
        if found[0] is Category.NO_FREE_GPU and Category.TAINT in found and self._only_tainted:
            return Category.TAINT
        return found[0]

    @property
    def _only_tainted(self) -> bool:
        return bool(self.having) and all(self.taints[node.name] for node in self.having)

    @property
    def having(self) -> list[Node]:
        """The nodes that have, taken or free, the GPUs which others lack."""
        wanted = {each.resource for each in self.of(Category.NO_FREE_GPU)}
        return [node for node in self.nodes if all(map(node.allocatable.get, wanted))]

    def of(self, category: Category) -> list[Reason]:
        """Return the reasons of one category."""
        return [reason for reason in self.reasons if reason.category is category]

    @property
    def taint_keys(self) -> set[str]:
        """The keys of all taints that keep the pod off a node, as far as they are known."""
        named = {found["key"] for found in _NAMED_TAINT.finditer(self.message)}
        return named | {name.partition(":")[0] for names in self.taints.values() for name in names}

    @property
    def settles(self) -> bool:
        """Whether a reason that lasts is one for good.

        A claim may yet be bound, a taint that nobody may read may be one that passes, and a node
        that comes up may have what all others lack.
        """
        if self.category is Category.CLAIM_UNBOUND:
            return bool(_MISSING.search(self.message))
        if self.category is Category.TAINT:
            cordoned = _CORDONED in self.message
            return bool(self.taint_keys) and not cordoned and not any(map(passes, self.taint_keys))
        return self.category is not Category.UNSCHEDULABLE and not any(
            map(comes_up, self.taint_keys)
        )

    @property
    def summary(self) -> str:
        """One line for people."""
        those = self.of(self.category)
        count = max((reason.count for reason in those), default=0)
        where = "the only node" if self.total == 1 else f"{count} of {self.total} nodes"
        others = _texts(reason for reason in self.reasons if reason not in those)
        resources = " and ".join(sorted({each.resource for each in those if each.resource}))
        names = sorted({name for names in self.taints.values() for name in names})
        if self.category is Category.NO_FREE_GPU and self.nodes and not self.having:
            return f"no node has {resources}: is its device plugin running?"
        if self.category is Category.UNSCHEDULABLE:
            return "no node takes the pod" if self.reasons else "waiting for the scheduler"
        return _SUMMARIES[self.category].format(
            where=where,
            others=f" ({others})" if others else "",
            resources=resources or "room",
            taints=f" ({', '.join(names)})" if names else "",
            first=those[0].text,
        )


_SUMMARIES: Mapping[Category, str] = {
    Category.NO_FREE_GPU: "too little {resources} is free on {where}{others}",
    Category.NO_ROOM: "too little {resources} is free on {where}{others}",
    Category.TAINT: "a taint keeps the pod off {where}{taints}",
    Category.SELECTOR: "{where} lack the labels that the pod asks for{others}",
    Category.CLAIM_ELSEWHERE: "the pod's volume is tied to another place than {where}",
    Category.CLAIM_UNBOUND: "the pod's claim has no volume: {first}",
}


def _texts(reasons: Iterable[Reason]) -> str:
    return ", ".join(f"{reason.count} {reason.text}" for reason in reasons)


def unschedulable(
    place: Place,
    pod: Object,
    message: str,
    nodes: Iterable[Object] = (),
    events: Iterable[Object] = (),
    *,
    may_change: bool,
) -> Diagnosis:
    """Return why no node takes the pod.

    `nodes` are the cluster's, and `events` the pod's, none when they may not be read.
    `may_change`: room may come by itself, from pods that end or from an autoscaler; then it never
    becomes definite, as when an autoscaler's last word about the pod is that it makes room.
    """
    known = nodes_of(nodes, ())
    tolerations = pod["spec"].get("tolerations") or ()
    taints = {node.name: untolerated_taints(node, tolerations) for node in known}
    case = _Case(message, *reasons_of(message), known, taints)
    claim = _CLAIM.search(message)
    place = replace(place, claim=claim["name"]) if claim else place
    coming = makes_room(events)
    settles = SETTLED_SECONDS if case.settles and not (may_change or coming) else None
    summary = f"{case.summary}; an autoscaler makes room" if coming else case.summary
    return place.diagnosis(case.category, summary, message, settles_after=settles)
