"""What pruning would do now: the cluster and the models file read, and decided on."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_flows.capacity import needs_of
from vllm_flows.errors import ConfigurationError
from vllm_flows.models import Model
from vllm_flows.models_file import load_models
from vllm_flows.names import some_of
from vllm_flows.observed import MODEL_LABEL, ClusterState
from vllm_flows.pruning import Pruning, busy_models, prunings
from vllm_flows.session import Session
from vllm_flows.weights_manifests import WeightsOrder
from vllm_flows.weights_place import weights_hosts


def look_at_volumes(
    session: Session, named: Sequence[str], keep: int, *, volumes: bool
) -> list[tuple[Pruning, WeightsOrder]]:
    """Return what is to be done to each model's volume, and the order for the Job that does it.

    Raises ConfigurationError for a name that has no volume; with `volumes`, ModelsFileError where
    the models file cannot say which models are wanted.
    """
    listed = load_models(session.settings.models_file) if volumes else None
    state = session.observe()
    unknown = sorted(set(named) - set(state.claims))
    if unknown:
        known = some_of(sorted(state.claims)) or "none"
        raise ConfigurationError(
            f"no weights volume of {', '.join(unknown)} in {session.settings.namespace}",
            why=f"there are volumes of: {known}",
            next_command="vllm-flows prune   (looks at all of them)",
        )
    busy = busy_models(session.cluster.find("Job", MODEL_LABEL))
    wanted = None if listed is None else {model.name for model in listed}
    found = prunings(state, keep, busy, named, wanted)
    return [(one, _order(session, state, one)) for one in found]


def _order(session: Session, state: ClusterState, pruning: Pruning) -> WeightsOrder:
    """Return what the Job is told; it runs where the volume is mounted, or an engine could run."""
    model = any_model(pruning.model)
    return WeightsOrder(
        nodes=weights_hosts(model, None, session.settings, state),
        keep=pruning.keep,
        claim=state.claims[pruning.model].manifest["metadata"]["uid"],
        tolerations=needs_of(model, state.around).tolerations,
    )


def any_model(name: str) -> Model:
    """Return a model of that name of which nothing else is known, as it may not be listed."""
    return Model(name=name, model_url="unknown/unknown")
