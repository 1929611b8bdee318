"""The namespace and the Secrets, before anything refers to them."""

from __future__ import annotations

from prefect import task

from tasks.running import RETRIED, say
from vllm_flows import credentials
from vllm_flows.credentials import Credential
from vllm_flows.session import Session

_LIMIT_SECONDS = 120


@task(
    name="prepare namespace",
    task_run_name="prepare namespace",
    timeout_seconds=_LIMIT_SECONDS,
    **RETRIED,
)
def prepare_namespace(session: Session, api_key: Credential | None) -> list[str]:
    """Make the namespace and bring its Secrets to the values in use; return what was written.

    Raises ConfigurationError when a Secret is somebody else's and holds another value.
    """
    cluster = session.cluster
    written = []
    if credentials.ensure_namespace(cluster):
        written.append(f"namespace {cluster.namespace}")
    in_use = {credentials.HF_TOKEN: session.token(), credentials.API_KEY: api_key}
    for place, credential in in_use.items():
        if credential and credentials.store(cluster, place, credential):
            written.append(f"Secret {place.secret}")
    for what in written:
        say(f"{what} written")
    return written
