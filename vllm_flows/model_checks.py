"""What one value of a model may be, and what to write instead when it is not.

Every function takes a value, returns it, and raises ValueError with a text that stands by
itself in a form, in a state message and behind a file's line number.
"""

from __future__ import annotations

import re
from decimal import Decimal

from vllm_flows.names import RELEASE
from vllm_flows.quantities import parse_quantity

NAME_LIMIT = 47 - len(RELEASE)
"""Release and model together fill at most 47 characters of the chart's object names."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# The chart writes the name unquoted into a label, where YAML 1.1 reads these as something else.
_NOT_TEXT = re.compile(
    r"\d+|\d+e-?\d+|0x[0-9a-f]+|0b[01]+|0o[0-7]+|\d{4}-\d\d?-\d\d?|true|false|yes|no|on|off|y|n|null"
)
_HUB_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"{_HUB_PART}/{_HUB_PART}")
_HUB_ID_LIMIT = 96
_HUB_ADDRESS = re.compile(
    rf"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?:models/)?({_HUB_PART}/{_HUB_PART})(?:[/?#].*)?"
)
# git-check-ref-format(1), as far as branches, tags and commits of the Hub go.
_NOT_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)")
_REF_LIMIT = 255

_UNITS = {"k": "Ki", "m": "Mi", "g": "Gi", "t": "Ti"}
_LOOSE_SIZE = re.compile(r"(\d+(?:[.,]\d+)?)\s*([kmgt])i?(?:b|bytes?)?", re.IGNORECASE)
_SMALLEST_SIZE = Decimal(1024) ** 2
_LARGEST_SIZE = Decimal(1024) ** 5
_LARGEST_CPU = 1024
_SMALLEST_CPU = Decimal("0.001")


def slug(text: str) -> str:
    """Return the nearest valid model name, empty when nothing of `text` can stand in one."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:NAME_LIMIT].strip("-")


def check_name(name: str) -> str:
    """Return `name` when it can be part of every object's name and of a label."""
    if not _LABEL.fullmatch(name):
        better = slug(name)
        hint = f"; did you mean {better}?" if better and not _NOT_TEXT.fullmatch(better) else ""
        message = f"{name[:80]!r} is not a name of lower-case letters, digits and '-'{hint}"
        raise ValueError(message)
    if len(name) > NAME_LIMIT:
        message = (
            f"has {len(name)} characters, {len(name) - NAME_LIMIT} too many: "
            f"beside the release {RELEASE!r} there is room for {NAME_LIMIT}"
        )
        raise ValueError(message)
    if _NOT_TEXT.fullmatch(name):
        message = (
            f"{name!r} would be read as a number, date or truth value where the chart writes it; "
            f"use letters too, such as model-{name}"
        )
        raise ValueError(message)
    return name


def check_hub_id(model_url: str) -> str:
    """Return `model_url` when it is a Hub id `organisation/name`.

    The rules are those of huggingface_hub's `validate_repo_id`.
    """
    address = _HUB_ADDRESS.fullmatch(model_url)
    if address:
        message = f"is an address; write the Hub's id: {address.group(1)}"
        raise ValueError(message)
    if not _HUB_ID.fullmatch(model_url) or "--" in model_url or ".." in model_url:
        message = (
            f"{model_url[:120]!r} is not a Hub id; write organisation/name "
            "as at the top of the model's page, such as Qwen/Qwen3-4B"
        )
        raise ValueError(message)
    if model_url.endswith(".git"):
        message = f"a Hub id does not end in .git; write {model_url.removesuffix('.git')[:120]}"
        raise ValueError(message)
    if len(model_url) > _HUB_ID_LIMIT:
        message = f"has {len(model_url)} characters; a Hub id has at most {_HUB_ID_LIMIT}"
        raise ValueError(message)
    return model_url


def check_revision(revision: str) -> str:
    """Return `revision` when git could take it for a branch, a tag or a commit."""
    wrong = (
        not revision
        or len(revision) > _REF_LIMIT
        or revision[0] in "-/."
        or revision[-1] in "/."
        or revision == "@"
        or _NOT_IN_REF.search(revision)
    )
    if wrong:
        message = (
            f"{revision[:80]!r} is not a branch, tag or commit; "
            "write main, a tag such as v1.0, or the 40 characters of a commit"
        )
        raise ValueError(message)
    return revision


def check_size(value: object) -> str:
    """Return `value` when it is a quantity of memory or storage from 1Mi to 1Pi."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        message = "should be a quantity such as 16Gi"
        raise ValueError(message)  # noqa: TRY004 -- pydantic turns ValueError alone into a problem
    text = str(value)
    try:
        size = parse_quantity(text)
    except ValueError:
        size = None
    if size is None or not _SMALLEST_SIZE <= size <= _LARGEST_SIZE:
        raise ValueError(_size_message(text, size))
    return text


def _size_message(text: str, size: Decimal | None) -> str:
    loose = _LOOSE_SIZE.fullmatch(text.strip())
    if loose:
        number, unit = loose.groups()
        hint = f"did you mean {number.replace(',', '.')}{_UNITS[unit.lower()]}?"
    elif re.fullmatch(r"[1-9]\d{0,3}", text):
        hint = f"did you mean {text}Gi?"
    else:
        hint = "write a number with a unit, such as 16Gi"
    if size is None:
        return f"{text[:40]!r} is not a quantity; {hint}"
    if size > _LARGEST_SIZE:
        return f"{text[:40]!r} is more than 1Pi; {hint}"
    return f"{text[:40]!r} is less than 1Mi, the number being bytes; {hint}"


def check_cpu(value: object) -> object:
    """Return `value` when it is a quantity of CPU from a thousandth of a core to 1024 cores."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        message = "should be a number of cores such as 6, or a quantity such as 500m"
        raise ValueError(message)  # noqa: TRY004 -- pydantic turns ValueError alone into a problem
    text = str(value)
    try:
        cores = parse_quantity(text)
    except ValueError:
        number = re.match(r"\s*(\d+(?:\.\d+)?)", text)
        hint = f"did you mean {number.group(1)}?" if number else "write cores, such as 6 or 500m"
        message = f"{text[:40]!r} is not a quantity of CPU; {hint}"
        raise ValueError(message) from None
    if not _SMALLEST_CPU <= cores <= _LARGEST_CPU:
        milli = re.fullmatch(r"(\d+)M", text)
        hint = f"; did you mean {milli.group(1)}m?" if milli else ""
        message = f"{text[:40]!r} is not between 1m and {_LARGEST_CPU} cores{hint}"
        raise ValueError(message)
    return value
