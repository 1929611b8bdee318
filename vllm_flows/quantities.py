"""Kubernetes quantities (`500m`, `16Gi`) as exact numbers.

Source: apimachinery's resource.Quantity, whose suffixes these are.
"""

from __future__ import annotations

import re
from decimal import Decimal

_SUFFIXES: dict[str, Decimal] = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** (power + 1) for power, suffix in enumerate("kMGTPE")},
    **{f"{suffix}i": Decimal(1024) ** (power + 1) for power, suffix in enumerate("KMGTPE")},
}
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)")


def parse_quantity(text: str) -> Decimal:
    """Return the quantity in its base unit: cores for CPU, bytes for memory and storage.

    Raises ValueError when `text` is not a non-negative Kubernetes quantity.
    """
    match = _QUANTITY.fullmatch(text) if len(text) <= 64 else None  # noqa: PLR2004 -- no quantity is that long
    if match is None:
        message = f"{text[:64]!r} is not a quantity such as 500m, 6 or 16Gi"
        raise ValueError(message)
    number, exponent, suffix = match.groups()
    if exponent:
        return Decimal(number + exponent)
    return Decimal(number) * _SUFFIXES[suffix or ""]
