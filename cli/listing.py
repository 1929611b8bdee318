"""`vllm-flows list-models`: what models.yaml says, nobody asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cli.options import Options
from cli.output import emit, output_option

if TYPE_CHECKING:
    from vllm_flows.models import Model


@click.command("list-models")
@output_option
@click.pass_obj
def list_models(options: Options, *, form: str) -> None:
    """List the models of models.yaml; the cluster and the Hub are not asked."""
    emit(model_rows(options.read_models()), form)


def model_rows(models: Sequence[Model]) -> list[dict[str, Any]]:
    """Return a row for each model; its GPUs are those of all replicas."""
    return [
        {
            "name": model.name,
            "modelURL": model.model_url,
            "revision": model.revision,
            "replicas": model.replica_count,
            "GPUs": model.request_gpu * model.replica_count,
            "storage": model.pvc_storage,
        }
        for model in models
    ]
