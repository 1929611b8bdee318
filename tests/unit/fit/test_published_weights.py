"""The weights of real models against sizes that others published."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.unit.fit.shapes import shape
from vllm_flows.architecture import architecture_of
from vllm_flows.gpu_memory import GIB, weight_bytes
from vllm_flows.models import Model
from vllm_flows.observed import Verdict


class Weights(NamedTuple):
    """Numbers by type and bytes of files, the size in bytes they make, and where it stands."""

    parameters: dict[str, int]
    files: int
    expected: float
    source: str
    tolerance: float = 0.005


@pytest.mark.parametrize(
    "case",
    [
        Weights(
            {"BF16": 8_030_261_248}, 0, 14.9888 * GIB, "published: vLLM issue 10517 (14.9888 GB)"
        ),
        Weights(
            {"BF16": 46_702_792_704},
            0,
            86.99 * GIB,
            "published: flytomelight.github.io/llm-cal (Mixtral, 86.99 GiB)",
        ),
        # The Hub counts two 4-bit numbers of a byte apart; the files do not lie.
        Weights(
            {"BF16": 1_804_459_584, "U8": 19_707_494_400},
            13_761_264_768,
            12.8 * GIB,
            "published: gpt-oss model card, 12.8 GiB",
        ),
        Weights({}, 5_000_000_000, 5e9, "arithmetic: the files, when nothing was counted"),
        Weights({"Q4_K": 7_000_000_000}, 4_000_000_000, 4e9, "arithmetic: an unknown type"),
    ],
    ids=lambda case: case.source,
)
def test_weights_have_the_published_size(
    case: Weights, model: Callable[..., Model], verdict: Callable[..., Verdict]
) -> None:
    config = shape(32, 32, 8, 4096, torch_dtype="bfloat16")
    said = verdict(config, case.parameters, model__safetensors=case.files)
    size = weight_bytes(model(), said, architecture_of(config))
    assert size == pytest.approx(case.expected, rel=case.tolerance), case.source
