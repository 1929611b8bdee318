"""The doctor's questions about where secrets are kept; `doctor_vault` judges the answers."""

from __future__ import annotations

from functools import partial

from vllm_flows import doctor_vault as judged
from vllm_flows.cluster import Cluster
from vllm_flows.cluster_questions import missing_rights, user_name
from vllm_flows.credentials import API_KEY, PLACES
from vllm_flows.doctor_cluster import judge_external_secrets
from vllm_flows.doctor_findings import Answer, Finding, Question, State, told
from vllm_flows.errors import VllmFlowsError
from vllm_flows.going_secret import ending, is_going, told_going
from vllm_flows.keeping import Keeper
from vllm_flows.kept_secret import Kept
from vllm_flows.rights import EXTERNAL_SECRETS
from vllm_flows.secret_mode import Maker, obstacle
from vllm_flows.settings import Settings
from vllm_flows.unused_value import is_wanting, may_be_in_vault, not_used
from vllm_flows.vault_access import AppRoleLogin, access_of
from vllm_flows.vault_refusals import unusable_health
from vllm_flows.waiting import StoppableClock


def of_secrets(cluster: Cluster, settings: Settings) -> list[Question]:
    """Return the questions about where secrets are kept."""
    keeper = Keeper(cluster, settings, lambda _: None, StoppableClock())
    return [
        Question(("secrets", "external secrets"), partial(_secrets, keeper)),
        Question(("vault",), partial(_vault, keeper)),
    ]


def _secrets(keeper: Keeper) -> Answer:
    kept = [keeper.look(place) for place in PLACES]
    operator = judge_external_secrets(kept[0].operator.version, kept[0].store)
    return [_worst(keeper, kept), operator]


def _worst(keeper: Keeper, kept: list[Kept]) -> Finding:
    """Return the finding of most weight, which is what keeps secrets from coming or being set."""
    found = judged.judge_kept(
        {one.place.secret: (one.maker, one.choice, one.owner.text) for one in kept}
    )
    in_vault = [one for one in kept if one.in_vault and one.maker is not Maker.OTHER]
    if not in_vault:
        return found
    others = [finding for one in in_vault for finding in _not_synced(keeper, one)]
    others += [
        judged.judge_elsewhere(one.place.secret, one.elsewhere, one.where, one.place.verb)
        for one in in_vault
        if one.elsewhere
    ]
    barrier = obstacle(keeper.settings.secrets, in_vault[0].store, keeper.settings.vault_mount)
    if barrier:
        others.append(told("secrets", barrier, State.WARNING))
    missing = missing_rights(keeper.cluster, EXTERNAL_SECRETS)
    if missing:
        where, user = keeper.cluster.namespace, user_name(keeper.cluster)
        others.append(judged.judge_external_rights(missing, where, user))
    problems = [one for one in others if one.state is State.PROBLEM]
    return next(iter([*problems, *others]), found)


def _not_synced(keeper: Keeper, kept: Kept) -> Answer:
    if kept.external is None:
        return []
    if is_going(kept.external):
        return [Finding("secrets", State.PROBLEM, told_going(kept.place), ending(kept.place))]
    why, made = kept.operator.failure(kept.external), kept.value is not None
    if not why and made:
        return []
    place, text = kept.place, why or "it was not synced so far"
    namespace = keeper.cluster.namespace
    return [judged.judge_sync(place.secret, place.external, text, namespace, made=made)]


def _vault(keeper: Keeper) -> Answer:
    seen = [keeper.look(place) for place in PLACES]
    kept = [one for one in seen if one.in_vault or may_be_in_vault(keeper, one)]
    if not kept:
        return [judged.not_used(seen[0].store)]
    try:
        return [_logged_in(keeper, kept)]
    except VllmFlowsError as error:
        return [judged.vault_trouble(error)]


def _logged_in(keeper: Keeper, kept: list[Kept]) -> Finding:
    """Log in and read what is there. Raises what keeps from it."""
    from vllm_flows.vault import Vault
    from vllm_flows.vault_client import health

    access = access_of(keeper.settings, kept[0].store.address)
    seen = health(access)
    sealed = unusable_health(seen, access.address)
    if sealed:
        raise sealed
    if isinstance(access.login, AppRoleLogin) and access.login.wrapped:
        return judged.login_not_tried(access.address)
    with Vault.opened(access) as vault:
        for one in kept:
            held = vault.read(one.path).values.get(one.place.key)
            if held and one.place is API_KEY and is_wanting(keeper, one):
                return told("vault", not_used(one, keeper.cluster.namespace), State.WARNING)
        return judged.judge_vault(access.address, seen, vault.token)
