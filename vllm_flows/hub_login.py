"""The Hub token that this machine's user has for himself, to be offered and never just taken."""

from __future__ import annotations

import os

from huggingface_hub import constants, get_token

from vllm_flows.redaction import collect

_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""What the library looks at before the file, in its order."""


def token_left() -> tuple[str, str] | None:
    """Return the token that `hf auth login` left, and where it is; None without one."""
    token = get_token()
    if not token:
        return None
    collect(token)
    variable = next((one for one in _VARIABLES if os.environ.get(one, "").strip()), "")
    return token, variable or constants.HF_TOKEN_PATH
