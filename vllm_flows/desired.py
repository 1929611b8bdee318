"""What should be: the models, what the Hub says of them, the release's values, the chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_flows.chart import Chart, locate_chart
from vllm_flows.models import Model
from vllm_flows.observed import Verdict
from vllm_flows.settings import Settings
from vllm_flows.values import PinnedModel, release_values


@dataclass(frozen=True)
class Desired:
    """One run's aim; `values` hold the models that the Hub grants, `verdicts` are by name."""

    models: Sequence[Model]
    verdicts: Mapping[str, Verdict]
    values: Mapping[str, Any]
    chart: Chart


def desired_state(
    models: Sequence[Model],
    verdicts: Sequence[Verdict],
    settings: Settings,
    api_key_version: str | None,
) -> Desired:
    """Render what should be; `verdicts` are in the order of `models`.

    Raises ConfigurationError when the chart's path holds none.
    """
    pinned = [
        PinnedModel(model, verdict.commit)
        for model, verdict in zip(models, verdicts, strict=True)
        if not verdict.problems
    ]
    return Desired(
        models=models,
        verdicts={verdict.model: verdict for verdict in verdicts},
        values=release_values(pinned, settings, api_key_version),
        chart=locate_chart(settings),
    )
