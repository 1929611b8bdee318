"""Which models a health check is about."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_flows.errors import ClusterError, ConfigurationError, NotDeployedError
from vllm_flows.health_looking import unlisted
from vllm_flows.models import Model
from vllm_flows.models_file import load_models
from vllm_flows.names import some_of
from vllm_flows.reaching import deployed_names
from vllm_flows.session import Session


def chosen(session: Session, names: Sequence[str]) -> list[Model]:
    """Return these models, without names all of models.yaml and then all that are deployed beside.

    Raises ModelsFileError when the file is wrong, ConfigurationError for a name that nobody has,
    NotDeployedError when there is no model at all.
    """
    file = session.settings.models_file
    named = "models_file" in session.settings.model_fields_set
    listed = load_models(file) if named or file.exists() else []
    known = {model.name: model for model in listed}
    known |= {name: unlisted(name) for name in _deployed(session) if name not in known}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(
            f"there is no model {unknown[0]!r}",
            why=f"{file} and namespace {session.settings.namespace} have "
            f"{some_of(known) or 'none'}",
            next_command="vllm-flows check   (all of them)",
        )
    if not known:
        raise NotDeployedError(
            f"no model is deployed in namespace {session.settings.namespace}",
            next_command="vllm-flows install",
        )
    return [known[name] for name in names or known]


def _deployed(session: Session) -> list[str]:
    """Return what is deployed; nothing where the cluster is silent: the check will say so."""
    try:
        return deployed_names(session)
    except ClusterError:
        return []
