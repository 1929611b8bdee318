"""How long an engine may take to start, from the size of its weights. Pure."""

from __future__ import annotations

import math

READ_BYTES_PER_SECOND = 100_000_000
"""A floor for reading weights from a volume.

An assumption, chosen low: a spinning disk or a busy network file system reads this much in
sequence, and the smallest block volumes of the large clouds promise about as much.
"""
COMPILE_SECONDS = 600
"""For everything after the weights: imports, torch.compile, profiling, CUDA graphs.

An assumption: logs of vLLM 0.11 to 0.19 show 15 to 190 seconds from "Model loading took" to
"init engine took"; a cold compile cache and large models take a few times that.
"""
LEAST_SECONDS = 900
"""For any model: a small one may still meet a cold node whose image was just pulled."""


def startup_seconds(weight_bytes: int) -> int:
    """Return the seconds that an engine with so many bytes of weights is given to become ready.

    The floor's time to read all of them once, the time for everything else, at least 15 minutes.
    Of unknown weights (0) the least. Raises ValueError for a negative size.
    """
    if weight_bytes < 0:
        message = f"weights of {weight_bytes} bytes"
        raise ValueError(message)
    reading = math.ceil(weight_bytes / READ_BYTES_PER_SECOND)
    return max(LEAST_SECONDS, reading + COMPILE_SECONDS)
