"""The namespace and the Secrets, before anything refers to them."""

from __future__ import annotations

from tasks.running import RETRIED, say, task
from vllm_flows import credentials
from vllm_flows.credentials import Credential
from vllm_flows.key_mark import Mark, save
from vllm_flows.manifests import DIGEST_KEY_SECRET
from vllm_flows.session import Session

_LIMIT_SECONDS = 240


@task(
    name="ensure namespace",
    task_run_name="ensure namespace",
    timeout_seconds=_LIMIT_SECONDS,
    **RETRIED,
)
def ensure_namespace(session: Session) -> None:
    """Make the namespace if there is none."""
    if credentials.ensure_namespace(session.cluster):
        say(f"namespace {session.settings.namespace} written")


@task(
    name="store secrets", task_run_name="store secrets", timeout_seconds=_LIMIT_SECONDS, **RETRIED
)
def store_secrets(
    session: Session, api_key: Credential | None, token: Credential | None, mark: Mark | None
) -> None:
    """Bring the Secrets to the values in use, by way of Vault where it keeps them.

    Keeps the key of the API key's `mark` as well.

    Raises ConfigurationError when a Secret is somebody else's and holds another value, and what
    Vault and the External Secrets Operator refuse.
    """
    keeper = session.keeper(say)
    for place, credential in ((credentials.HF_TOKEN, token), (credentials.API_KEY, api_key)):
        if credential and keeper.store(place, credential):
            say(f"Secret {place.secret} written")
    if mark and save(session.cluster, mark):
        say(f"Secret {DIGEST_KEY_SECRET} written: by it a changed API key is known")
