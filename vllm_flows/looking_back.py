"""What going back would do now: the release's history and the claims read, and decided on."""

from __future__ import annotations

from vllm_flows.claims import weights_claims
from vllm_flows.earlier import WayThere, way_there
from vllm_flows.errors import ConfigurationError, ReleaseError
from vllm_flows.manifests import API_KEY_SECRET
from vllm_flows.observed import WeightsClaim
from vllm_flows.release_rules import RELEASE_ACTIONS, ReleaseAction, check_release
from vllm_flows.session import Session
from vllm_flows.values import has_api_key


def look_back(session: Session, revision: int | None) -> tuple[WayThere, dict[str, WeightsClaim]]:
    """Return the way to the revision that served before, or to the one given; and the claims.

    Raises ReleaseError when there is no such way, or the release is in no state for it, as one that
    is not ours; ConfigurationError
    when the API key is gone that it was protected with.
    """
    release = session.helm.release()
    check_release(release)
    if RELEASE_ACTIONS[release.state] is ReleaseAction.FINISH:
        raise ReleaseError(
            "the release's removal was interrupted, so there is nothing to go back to",
            next_command="vllm-flows install   (it finishes the removal, then installs)",
        )
    claims = weights_claims(session.cluster.find("PersistentVolumeClaim"))
    way = way_there(session.helm.pasts(), claims, revision, session.settings.namespace)
    if has_api_key(way.target.values) and session.cluster.get("Secret", API_KEY_SECRET) is None:
        raise ConfigurationError(
            f"revision {way.target.revision} wants an API key, and Secret {API_KEY_SECRET} is gone",
            next_command="vllm-flows set-api-key",
        )
    return way, claims
