"""Free space on the weights volumes: what neither runs nor served before goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.running import locked, results, run_name, session_for
from tasks.masked_pickle import RESULTS
from tasks.pruning import delete_volume, prune_volume
from tasks.running import say
from vllm_flows.errors import StalePlanError
from vllm_flows.looking_at_volumes import look_at_volumes
from vllm_flows.pruning import Pruning
from vllm_flows.sizes import human_bytes
from vllm_flows.weights_manifests import WeightsOrder


@flow(name="prune", flow_run_name=run_name, result_serializer=RESULTS)
def prune(
    models: list[str] | None = None,
    keep: Annotated[int, Field(ge=1)] = 2,
    namespace: str | None = None,
    kube_context: str | None = None,
    models_file: str | None = None,
    *,
    volumes: bool = False,
    expected: list[str] | None = None,
) -> int:
    """Remove commits that nobody needs from the weights volumes; return the bytes freed.

    Args:
        models: Names of models; leave out for all that have a volume.
        keep: Commits that stay of each model: what runs, then what answered last before it.
        namespace: Kubernetes namespace; leave out for VLLM_NAMESPACE.
        kube_context: kubeconfig context; leave out for VLLM_KUBE_CONTEXT.
        models_file: Says which models are wanted, for `volumes`; leave out for VLLM_MODELS_FILE.
        volumes: Delete the volumes of models that are neither listed nor deployed.
        expected: What was agreed to; anything else is refused.

    """
    named = models or []
    with session_for(
        namespace=namespace, kube_context=kube_context, models_file=models_file
    ) as session:
        if not _acting(look_at_volumes(session, named, keep, volumes=volumes)):
            say("nothing to remove")
            return 0
        with locked(session, "prune") as guarded:
            found = _acting(look_at_volumes(guarded, named, keep, volumes=volumes))
            _check([one for one, _ in found], expected)
            for one, _ in found:
                if one.whole:
                    delete_volume(guarded, one)
            work = [each for each in found if not each[0].whole]
            freed = sum(results(prune_volume.submit(guarded, one, order) for one, order in work))
    if work:
        say(f"in all {human_bytes(freed)} freed")
    return freed


def _acting(found: Sequence[tuple[Pruning, WeightsOrder]]) -> list[tuple[Pruning, WeightsOrder]]:
    return [each for each in found if each[0].acts]


def _check(found: Sequence[Pruning], expected: Sequence[str] | None) -> None:
    if expected is not None and [one.agreed for one in found] != list(expected):
        raise StalePlanError(
            "what was agreed to is not what would go now; nothing was removed",
            next_command="vllm-flows prune   (look at it, and agree again)",
        )
