"""Deciding what to do: the Hub and the cluster asked, and the plan made of their answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from vllm_flows.claims import Served, is_news, is_unproven
from vllm_flows.credentials import API_KEY, HF_TOKEN, Credential, Place
from vllm_flows.desired import Desired, desired_state, moved_state, served_verdict
from vllm_flows.differences import entries
from vllm_flows.errors import HubUnavailableError
from vllm_flows.fingerprint import check_expected, fingerprint
from vllm_flows.going_secret import notes_of_going
from vllm_flows.hub import Hub, Known
from vllm_flows.key_mark import Mark, mark_of
from vllm_flows.models import Model, answers_prompts
from vllm_flows.observed import DIGEST_ANNOTATION, Access, ClusterState, Verdict, WeightsClaim
from vllm_flows.plan import Action, Plan
from vllm_flows.planner import make_plan
from vllm_flows.refused_alike import knowing_alike
from vllm_flows.release_rules import chart_changes
from vllm_flows.secret_mode import Maker
from vllm_flows.selectors import selectors
from vllm_flows.session import Session
from vllm_flows.settings import Settings
from vllm_flows.unused_value import note_of_unused

_ASKED_AT_ONCE = 16


@dataclass(frozen=True)
class Aim:
    """What was asked for; `expected` is the fingerprint of a plan that somebody agreed to."""

    models: Sequence[Model]
    allow_downtime: bool = False
    expected: str | None = None


@dataclass(frozen=True)
class Decision:
    """A plan, and what it was made from; `mark` is the API key's.

    `by_vault` has, by the Secret's name, the place in Vault by way of which it is written.
    """

    session: Session
    desired: Desired
    state: ClusterState
    plan: Plan
    api_key: Credential | None
    token: Credential | None
    mark: Mark | None = None
    by_vault: Mapping[str, str] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """Say whether anything may have to be written: what a plan says, or what comes of asking.

        That a model was seen to answer is written down, and one that is not ready may need room.
        """
        unready = any(one.ready < one.replicas for one in self.state.deployments.values())
        return self.changes or bool(self.news()) or unready

    @property
    def changes(self) -> bool:
        """Say whether anything is to be changed but what the claims remember."""
        return self.plan.changes or bool(self.unsaved())

    @property
    def fingerprint(self) -> str:
        """Return what tells this decision from others."""
        return fingerprint(self.plan, self.desired, self.state)

    def unsaved(self) -> list[str]:
        """Return the Secrets to be written, and where their values come from; never the values."""
        given = [(API_KEY.secret, self.api_key), (HF_TOKEN.secret, self.token)]
        return [
            f"Secret {name} from {one.source}{self._way(name)}"
            for name, one in given
            if one and not one.stored
        ]

    def _way(self, secret: str) -> str:
        place = self.by_vault.get(secret)
        way = f", by way of Vault's {place}, for all namespaces that read it"
        return way if place else ""

    def news(self) -> list[Model]:
        """Return the models whose claims do not remember yet that this commit answered."""
        return [
            model
            for model in self.desired.models
            if answers_prompts(model) and is_news(self.claim(model.name), self.served(model))
        ]

    def unproven(self) -> list[str]:
        """Return the models to be proven of which something else answered before.

        A run that was killed after helm leaves such models; they can go back. Those that stay
        whatever they answer keep nobody waiting, unless older pods of theirs serve beside them.
        """
        mine = {
            step.model for step in self.plan.steps if step.action in {Action.PROVE, Action.SCALE}
        }
        return [
            one.name
            for one in self.desired.models
            if one.name in mine and self._has_pods(one) and self.left_unproven(one)
            if not self._stays(one)
        ]

    def _has_pods(self, model: Model) -> bool:
        """Say whether pods are there, and are to stay, that can be asked."""
        return answers_prompts(model) and self.state.deployments[model.name].replicas > 0

    def _stays(self, model: Model) -> bool:
        """Say whether a model stays whatever it answers, with no older pods beside it."""
        return model.on_failure == "keep" and model.name not in self.state.held

    def left_unproven(self, model: Model) -> bool:
        """Say whether a deployed model is as no run saw it answer, whatever is to be done to it."""
        return is_unproven(model, self.state.deployments[model.name], self.claim(model.name))

    def comes_first(self, model: Model) -> bool:
        """Say whether what is deployed of a model is to be asked before it is changed."""
        asked = answers_prompts(model) and self.left_unproven(model)
        unproven = asked and not self._stays(model)
        return unproven or model.name in self.state.held

    def proven(self) -> set[str]:
        """Return the models that stay as they are, were seen to answer so, and have one replica.

        Behind a router one answer says nothing of the other replicas.
        """
        news = {model.name for model in self.news()}
        single = {model.name for model in self.desired.models if model.replica_count == 1}
        staying = {step.model for step in self.plan.steps if step.action is Action.NONE}
        return (staying & single) - news

    def served(self, model: Model) -> Served:
        """Return what the model is to be seen to answer with."""
        annotations = entries(self.desired.values)[model.name]["podAnnotations"]
        return Served(self.commit(model.name), model.revision, annotations[DIGEST_ANNOTATION])

    def claim(self, model: str) -> WeightsClaim:
        """Return the model's claim as it was seen; an empty one when there was none."""
        return self.state.claims.get(model) or WeightsClaim(model, "0")

    def before(self, model: str) -> tuple[str, ...]:
        """Return the configurations whose answers those of a deployed model are compared with.

        It is deployed with the first. The other was last seen to answer, where that is another one:
        a run that was killed brought the first.
        """
        found = self.state.deployments[model].configuration, self.claim(model).configuration
        return tuple(dict.fromkeys(filter(None, found)))

    def commit(self, model: str) -> str:
        """Return the commit that the model is to serve."""
        return self.desired.verdicts[model].commit

    def with_downtime(self) -> Decision:
        """Return what would be decided, were it allowed to stop models first."""
        desired = replace(self.desired, allow_downtime=True)
        plan = replace(make_plan(desired, self.state), refusal=self.plan.refusal)
        return replace(self, desired=desired, plan=plan)

    def check(self, aim: Aim) -> None:
        """Raise BlockedError when a model must not be touched, StalePlanError for another plan.

        Raises NoRightError when this account may not do what the plan says.
        """
        if aim.expected:
            check_expected(self.fingerprint, aim.expected)
        self.plan.raise_if_blocked()


def decide(
    session: Session, aim: Aim, verdicts: Sequence[Verdict], state: ClusterState
) -> Decision:
    """Make the plan from what was seen; `verdicts` are in the order of the models."""
    state = knowing_alike(session, aim.models, verdicts, state)
    api_key, token = session.api_key(), session.token()
    note = "" if api_key else note_of_unused(session.keeper(lambda _: None), API_KEY)
    mark = mark_of(session.cluster, api_key.value) if api_key else None
    digest = mark.digest if mark else None
    desired = desired_state(aim.models, verdicts, session.settings, digest, state)
    desired = replace(
        desired,
        allow_downtime=aim.allow_downtime,
        selectors=_new_selectors(session, desired, state),
    )
    plan, given = make_plan(desired, state), [(API_KEY, api_key), (HF_TOKEN, token)]
    by_vault, foreseen = _by_vault(session, given)
    going = notes_of_going(session.cluster, [place for place, one in given if one and one.stored])
    plan = replace(plan, notes=(*plan.notes, *filter(None, [note, *foreseen]), *going))
    made = Decision(session, desired, state, plan, api_key, token, mark, by_vault)
    if not made.changes:
        return made
    return replace(made, plan=replace(made.plan, refusal=session.refusal()))


def _by_vault(
    session: Session, given: Iterable[tuple[Place, Credential | None]]
) -> tuple[dict[str, str], list[str]]:
    """Return by way of which places in Vault Secrets are to be written, and what is foreseen of it.

    Raises AnotherValueError when one would replace what others may use.
    """
    keeper, places, foreseen = session.keeper(lambda _: None), dict[str, str](), list[str]()
    for place, one in given:
        kept = keeper.look(place) if one and not one.stored else None
        if one and kept and kept.in_vault and kept.maker is not Maker.OTHER:
            places[place.secret] = kept.vault_place
            foreseen.append(keeper.foresee(kept, one))
    return places, foreseen


def decide_update(
    session: Session,
    model: Model,
    verdict: Verdict,
    state: ClusterState,
    announced: str | None = None,
    *,
    allow_downtime: bool = False,
) -> Decision:
    """Make the plan that brings one model to the verdict's commit, and leaves all else as it is.

    A commit that serves already, and is the one that was `announced` or was not seen to answer, is
    only asked, wherever its revision stands by now. Raises as `moved_state` does.
    """
    proof = served_verdict(model, verdict, state)
    if proof and announced in {None, proof[1].commit}:
        made = _one_moved(session, *proof, state, allow_downtime=False)
        if announced or made.comes_first(made.desired.models[0]):
            return made
    state = knowing_alike(session, [model], [verdict], state)
    return _one_moved(session, model, verdict, state, allow_downtime=allow_downtime)


def _one_moved(
    session: Session, model: Model, verdict: Verdict, state: ClusterState, *, allow_downtime: bool
) -> Decision:
    desired = moved_state(model, verdict, session.settings, state)
    desired = replace(desired, allow_downtime=allow_downtime)
    made = Decision(session, desired, state, make_plan(desired, state), None, None)
    return replace(made, plan=replace(made.plan, refusal=session.refusal()))


def decide_update_now(
    settings: Settings, model: Model, *, allow_downtime: bool = False
) -> Decision:
    """Return what an update of the model would do now. Raises as `decide_update` does."""
    session = Session.open(settings)
    with asking_hub(session.hub(), [model], session.descriptions()) as verdicts:
        state = session.observe()
        (verdict,) = verdicts
    return decide_update(session, model, verdict, state, allow_downtime=allow_downtime)


def _new_selectors(
    session: Session, desired: Desired, state: ClusterState
) -> Mapping[str, Mapping[str, str]]:
    """Return what the Deployments are to select, where another chart may have changed it."""
    if not chart_changes(state.release, desired.chart.version):
        return {}
    rendered = session.helm.rendered(desired.chart, desired.values)
    return selectors(one for one in rendered if one["kind"] == "Deployment")


def decide_now(settings: Settings, aim: Aim) -> Decision:
    """Return what a run would do now. Raises what the cluster's adapter raises."""
    session = Session.open(settings)
    with asking_hub(session.hub(), aim.models, session.descriptions()) as verdicts:
        state = session.observe()
        return decide(session, aim, list(verdicts), state)


@contextmanager
def asking_hub(
    hub: Hub, models: Sequence[Model], known: Mapping[str, Known]
) -> Iterator[Iterator[Verdict]]:
    """Ask about all models at the same time; yield the verdicts, in the models' order.

    `known` has for some models by name what is known of their commits.
    """
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        yield pool.map(lambda model: _verdict(hub, model, known.get(model.name, {})), models)


def _verdict(hub: Hub, model: Model, known: Known) -> Verdict:
    """Return the Hub's verdict on a model; its silence is a problem of that model alone."""
    try:
        return hub.verdict(model.name, model.model_url, model.revision, known)
    except HubUnavailableError as error:
        return Verdict(model.name, model.model_url, access=Access.SILENT, problems=(error,))
