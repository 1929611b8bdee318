"""Results as Prefect stores them, pickled, with a star for each byte of a secret.

A pickle says how long its parts are: what takes a secret's place is as long as it was. Prefect
finds this module by its name, which it keeps with each result, and calls `dumps` and `loads`.
"""

from __future__ import annotations

import base64
from typing import Any

from prefect.serializers import PickleSerializer

from vllm_flows.redaction import masked

_pickle: PickleSerializer[Any] = PickleSerializer()


def dumps(result: object) -> bytes:
    """Return the result's pickle, masked."""
    return masked(base64.decodebytes(_pickle.dumps(result)))


def loads(data: bytes) -> object:
    """Return what was pickled."""
    return _pickle.loads(base64.encodebytes(data))


RESULTS: PickleSerializer[Any] = PickleSerializer(picklelib=__name__)
"""For `result_serializer` of a flow; its tasks take it over."""
