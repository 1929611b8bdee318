"""The kinds of change that a tracked revision can make: words of a stable contract."""

from __future__ import annotations

from enum import StrEnum


class Change(StrEnum):
    """What has become of a tracked revision, as far as the engine is concerned.

    DOCUMENTATION changes nothing that an engine reads. ASK is for a person to decide: the license
    or the gate changed, or what could run code appeared. HELD: models.yaml names another repository
    or revision than the one that was brought, as after a rollback; the next install decides. GONE:
    the Hub refuses the revision, or has it no more. UNKNOWN: the Hub did not tell.
    """

    NONE = "none"
    DOCUMENTATION = "documentation"
    CONFIGURATION = "configuration"
    WEIGHTS = "weights"
    ASK = "ask"
    PINNED = "pinned"
    HELD = "held"
    NOT_DEPLOYED = "not deployed"
    GONE = "gone"
    UNKNOWN = "unknown"


MOVED = frozenset({Change.DOCUMENTATION, Change.CONFIGURATION, Change.WEIGHTS, Change.ASK})
"""The tracked revision stands for another commit than the one that is served."""
