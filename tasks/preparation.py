"""The namespace and the Secrets, before anything refers to them."""

from __future__ import annotations

from prefect import task
from pydantic import SecretStr

from tasks.running import RETRIED, say
from vllm_flows import manifests
from vllm_flows.session import Session

_LIMIT_SECONDS = 120


@task(
    name="prepare namespace",
    task_run_name="prepare namespace",
    timeout_seconds=_LIMIT_SECONDS,
    **RETRIED,
)
def prepare_namespace(session: Session) -> list[str]:
    """Bring the namespace and its Secrets to what the settings say; return what was written."""
    settings = session.settings
    bodies = [manifests.namespace(settings.namespace)]
    bodies += _secret(settings.hf_token, manifests.HF_TOKEN_SECRET, manifests.HF_TOKEN_KEY)
    bodies += _secret(settings.api_key, manifests.API_KEY_SECRET, manifests.API_KEY_KEY)
    written = []
    for body in bodies:
        kind, name = body["kind"], body["metadata"]["name"]
        if not manifests.already_there(session.cluster.get(kind, name), body):
            session.cluster.apply(body)
            written.append(f"{kind} {name}")
            say(f"{kind} {name} written")
    return written


def _secret(value: SecretStr | None, name: str, key: str) -> list[manifests.Object]:
    return [manifests.secret(name, key, value.get_secret_value())] if value else []
