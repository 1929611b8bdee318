"""The models in models.yaml for verbs that go on without them, and say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.output import note

if TYPE_CHECKING:
    from vllm_flows.errors import ModelsFileError
    from vllm_flows.listed_names import Listed
    from vllm_flows.settings import Settings


def listed_in(settings: Settings) -> Listed:
    """Return the models in the models file, with a warning when it cannot be used.

    A file that is not there has no error when nobody named it: a cluster can be looked at without.
    """
    from vllm_flows.listed_names import Listed, read_listed

    found = read_listed(settings.models_file)
    if found.error and not warned(settings, found.error):
        return Listed({})
    return found


def warned(settings: Settings, error: ModelsFileError) -> bool:
    """Say the first problem of the models file, unless it is one that nobody named and has."""
    if "models_file" not in settings.model_fields_set and not settings.models_file.exists():
        return False
    why = "".join(f"\n  why:  {line}" for line in error.why.splitlines()[:1])
    note(f"warning: {error.what}{why}\n  next: vllm-flows validate")
    return True
