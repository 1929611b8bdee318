"""One run's view of the outside: settings and adapters for one namespace, and how to observe it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from vllm_flows import credentials
from vllm_flows.changed_outside import changed_outside
from vllm_flows.claims import weights_claims
from vllm_flows.cluster import Cluster, Object, Patience
from vllm_flows.cluster_questions import missing_rights, user_name
from vllm_flows.completions import ModelsApi
from vllm_flows.credentials import Credential, Place
from vllm_flows.drift import Drift
from vllm_flows.errors import ClusterError, ClusterUnavailableError, NoRightError
from vllm_flows.guarding import Guard, unguarded
from vllm_flows.helm import Helm
from vllm_flows.hub import Hub
from vllm_flows.keeping import Keeper, raise_if_pending
from vllm_flows.key_mark import mark_of
from vllm_flows.lease import current_holder
from vllm_flows.metrics import Measured
from vllm_flows.names import ROUTER_DEPLOYMENT, ROUTER_SERVICE, engine_service
from vllm_flows.observe import ENGINE_SELECTOR, deployed_models, engine_pods
from vllm_flows.observed import ClusterState, Description, Release, ReleaseState
from vllm_flows.overlap import held_models, kept_models, leftovers
from vllm_flows.portforward import forwarded
from vllm_flows.replicas import Replica, ready_replicas
from vllm_flows.rights import Right, judge_needed, needed_to_remove, needed_to_write
from vllm_flows.selectors import LEFT_LABEL, deployment_of, left_alone, selectors
from vllm_flows.settings import Settings
from vllm_flows.surroundings import surroundings
from vllm_flows.waiting import StoppableClock
from vllm_flows.weights_manifests import any_weights_pod

API_PORT = 8000
"""Where engines and the router listen, in their pods."""
_PROMPT_SECONDS = 2.0
"""An API server that takes longer carries no questions."""
_WRITTEN = {
    ReleaseState.DEPLOYED,
    ReleaseState.FAILED,
    ReleaseState.PENDING_INSTALL,
    ReleaseState.PENDING_UPGRADE,
    ReleaseState.PENDING_ROLLBACK,
}
"""Where the objects are as helm wrote them, or half-way between two revisions."""


@dataclass(frozen=True)
class Session:
    """The adapters a run works with.

    `keyless`: the engines know no API key, even if there is one. `measured` is what the run found
    out that is told as metrics; all sessions that are made from this one share it.
    """

    settings: Settings
    cluster: Cluster
    helm: Helm
    clock: StoppableClock
    keyless: bool = False
    measured: Measured = field(default_factory=dict)

    @classmethod
    def open(cls, settings: Settings, measured: Measured | None = None) -> Session:
        """Read the kubeconfig; nothing is asked yet. Raises ClusterError without one."""
        return cls(
            settings,
            Cluster.connect(settings.namespace, settings.kube_context),
            Helm(settings.namespace, settings.kube_context),
            StoppableClock(),
            measured={} if measured is None else measured,
        )

    def with_key(self, key: Credential) -> Session:
        """Return a session that asks with this API key, whatever is stored."""
        given = self.settings.model_copy(update={"api_key": SecretStr(key.value)})
        return replace(self, settings=given)

    def patient(self, say: Callable[[str], None], seconds: float = 180.0) -> Session:
        """Return a session that waits out an API server that does not answer for a while."""
        patience = Patience(seconds, say, self.clock)
        return replace(self, cluster=replace(self.cluster, patience=patience))

    def guarded(self, guard: Guard) -> Session:
        """Return a session of which every write calls `guard` first; the namespace is there."""
        namespace = self.cluster.get("Namespace", self.settings.namespace) or {}
        place = str((namespace.get("metadata") or {}).get("uid", ""))
        return replace(
            self,
            cluster=replace(self.cluster, guard=guard),
            helm=replace(self.helm, guard=guard, place=place),
        )

    def token(self) -> Credential | None:
        """Return the Hub token at hand: the environment's, else the cluster's Secret's.

        Raises SecretStoreError when an ExternalSecret has not made the Secret yet.
        """
        return self._at_hand(credentials.HF_TOKEN, self.settings.hf_token)

    def api_key(self) -> Credential | None:
        """Return the API key: the environment's, else the cluster's Secret's; as `token`."""
        if self.keyless:
            return None
        return self._at_hand(credentials.API_KEY, self.settings.api_key)

    def key_mark(self) -> str | None:
        """Return the mark of pods with the API key that is stored; as `api_key` otherwise.

        None without a key, or when the environment's is another than the Secret's.
        """
        key = self.api_key()
        return mark_of(self.cluster, key.value).digest if key and key.stored else None

    def _at_hand(self, place: Place, given: SecretStr | None) -> Credential | None:
        found = credentials.read(self.cluster, place, given)
        if found is None:
            raise_if_pending(self.cluster, place)
        return found

    def keeper(self, say: Callable[[str], None]) -> Keeper:
        """Return what keeps the secrets of the namespace."""
        return Keeper(self.cluster, self.settings, say, self.clock)

    def hub(self) -> Hub:
        """Return the Hub with the token at hand."""
        token = self.token()
        value, source = (token.value, token.source) if token else (None, "")
        return Hub(self.settings.hub_endpoint, value, source, clock=self.clock)

    def descriptions(self) -> dict[str, Mapping[str, Description]]:
        """Return by model what the weights claims remember of the commits on them."""
        claims = weights_claims(self.cluster.find("PersistentVolumeClaim"))
        return {name: claim.described for name, claim in claims.items()}

    def observe(self) -> ClusterState:
        """Read everything that the plan looks at."""
        claims = weights_claims(self.cluster.find("PersistentVolumeClaim"))
        release = self.helm.release()
        engines = self.cluster.find("Deployment", ENGINE_SELECTOR)
        router = self.cluster.get("Deployment", ROUTER_DEPLOYMENT)
        deployments = [*engines, *([router] if router else [])]
        left = self._left(deployments)
        pods = self.cluster.find("Pod", ENGINE_SELECTOR)
        return ClusterState(
            release=release,
            cluster=self.cluster.identity(),
            drifts=tuple(filter(None, (one.but_held for one in self._drifts(release, left)))),
            held=held_models(engines),
            kept=kept_models(engines),
            deployments=deployed_models([*left.values(), *engines]),
            claims=claims,
            router=router is not None,
            router_ready=bool(router and (router.get("status") or {}).get("readyReplicas")),
            selectors=selectors(deployments),
            left=frozenset(left),
            pods=engine_pods(pods),
            leftovers=leftovers(pods, engines),
            at_work=self.another_at_work(),
            around=surroundings(
                self.cluster,
                self.settings.runtime_class,
                claims.values(),
                any_weights_pod(self.settings),
            ),
        )

    def another_at_work(self) -> bool:
        """Say whether another run holds the lock, as far as this account may see it."""
        if self.cluster.guard is not unguarded:
            return False
        try:
            return current_holder(self.cluster) is not None
        except NoRightError:
            return False

    def changed_outside(self) -> tuple[Release, tuple[Drift, ...]]:
        """Return the release, and what somebody changed on its objects."""
        release = self.helm.release()
        engines = self.cluster.find("Deployment", ENGINE_SELECTOR)
        return release, self._drifts(release, self._left(engines))

    def refusal(self) -> NoRightError | None:
        """Return which of the rights that a change needs this account has not.

        None when it has all, or when the API does not tell.
        """
        return self._refused(needed_to_write(router=self.settings.router_enabled))

    def refusal_to_remove(self) -> NoRightError | None:
        """Return which of the rights that removing the release needs this account has not.

        None as for `refusal`.
        """
        return self._refused(needed_to_remove(router=self.settings.router_enabled))

    def _refused(self, needed: Sequence[Right]) -> NoRightError | None:
        try:
            missing = missing_rights(self.cluster, needed)
            user = user_name(self.cluster) if missing else ""
        except ClusterError:
            return None
        found = judge_needed(missing, self.settings.namespace, user)
        return NoRightError(found.found, next_command=found.fix) if missing else None

    def _left(self, deployments: Iterable[Object]) -> dict[str, Object]:
        """Return by the Deployment's name the ReplicaSets that run without it."""
        there = {one["metadata"]["name"] for one in deployments}
        try:
            found = self.cluster.find("ReplicaSet", LEFT_LABEL)
        except NoRightError:  # without the right to see them no run of ours has left any
            return {}
        left = {deployment_of(one): one for one in left_alone(found)}
        return {name: one for name, one in left.items() if name not in there}

    def _drifts(self, release: Release, left: Mapping[str, Object]) -> tuple[Drift, ...]:
        """Return what somebody changed; what a run of ours left half-way is nobody's change."""
        if release.state not in _WRITTEN:
            return ()
        begun = range(release.revision, release.finished - 1, -1)
        written = [manifest for one in begun if (manifest := self.helm.manifest(one))]
        if not release.ever_finished:
            written.append([])
        drifts = changed_outside(self.cluster, written)
        return tuple(one for one in drifts if one.changes or one.name not in left)

    @property
    def shared_api(self) -> bool:
        """Whether one address serves all models: a router's, or the one of VLLM_ROUTER_URL."""
        return bool(self.settings.router_url) or self.settings.router_enabled

    @contextmanager
    def models_api(self, model: str = "") -> Iterator[ModelsApi]:
        """Reach the API: by VLLM_ROUTER_URL, in the cluster by its Service, else a port-forward.

        Where `shared_api` holds it serves every model, also from many threads; elsewhere the
        `model`'s own engine is asked.
        """
        with (
            self._address(model) as address,
            ModelsApi.at(address, self._key_to_send(), direct=not self.shared_api) as api,
        ):
            yield api

    def _key_to_send(self) -> str | None:
        """Return the API key; the environment's needs no right to read Secrets."""
        given = self.settings.api_key
        if given is not None and not self.keyless:
            place = credentials.API_KEY
            return credentials.checked(given.get_secret_value(), place.variable, place)
        key = self.api_key()
        return key.value if key else None

    def way_is_open(self) -> bool:
        """Say whether questions can reach the models now.

        Port-forwards go through the API server: one that does not answer at once carries none.
        """
        if self.settings.router_url or self.cluster.inside:
            return True
        hurried = replace(self.cluster, patience=None, read_seconds=_PROMPT_SECONDS)
        try:
            hurried.get("Namespace", self.settings.namespace)
        except ClusterError as error:
            return not error.retryable
        return True

    def ready_replicas(self, model: str) -> list[Replica]:
        """Return the model's engine pods that are ready now."""
        return ready_replicas(self.cluster.find("Pod", f"model={model},{ENGINE_SELECTOR}"))

    def engine_replicas(self) -> dict[str, list[Replica]]:
        """Return by model all engine pods that are ready now."""
        found: dict[str, list[Object]] = {}
        for pod in self.cluster.find("Pod", ENGINE_SELECTOR):
            found.setdefault(str(pod["metadata"]["labels"].get("model")), []).append(pod)
        return {model: ready_replicas(pods) for model, pods in found.items()}

    def router_replicas(self) -> list[Replica]:
        """Return the router's pods that are ready now."""
        return ready_replicas(self.cluster.find("Pod", self.router_selector()))

    def is_alone(self, model: str) -> bool:
        """Say whether no more than one pod can answer for the model; those that end still do."""
        return len(self.cluster.find("Pod", f"model={model},{ENGINE_SELECTOR}")) <= 1

    @contextmanager
    def replica_api(self, replica: Replica, api_key: str | None) -> Iterator[ModelsApi]:
        """Reach one engine pod itself: in the cluster by its IP address, else a port-forward."""
        with (
            self._replica_address(replica) as address,
            ModelsApi.at(address, api_key, direct=True) as api,
        ):
            yield api

    @contextmanager
    def _replica_address(self, replica: Replica) -> Iterator[str]:
        if self.cluster.inside:
            yield f"http://{replica.host}:{API_PORT}"
        else:
            with forwarded(self.cluster, lambda: replica.pod, API_PORT) as port:
                yield f"http://127.0.0.1:{port}"

    @contextmanager
    def _address(self, model: str) -> Iterator[str]:
        if self.settings.router_url:
            yield self.settings.router_url
        elif self.cluster.inside:
            yield f"http://{self._service(model)}"
        else:
            # Each connection asks in a thread of its own, where nobody hears that it waits.
            asking = replace(self, cluster=replace(self.cluster, patience=None))
            with forwarded(self.cluster, lambda: asking.ready_pod(model), API_PORT) as port:
                yield f"http://127.0.0.1:{port}"

    def _service(self, model: str) -> str:
        enabled = self.settings.router_enabled
        name = ROUTER_SERVICE if enabled else engine_service(model)
        return f"{name}.{self.settings.namespace}.svc"

    def ready_pod(self, model: str) -> str:
        """Name a ready pod behind the API; the router's labels are its Service's selector."""
        selector = self.router_selector() if self.settings.router_enabled else f"model={model}"
        for replica in ready_replicas(self.cluster.find("Pod", selector)):
            return replica.pod
        raise ClusterUnavailableError(
            "no ready pod serves the API",
            next_command=f"kubectl -n {self.settings.namespace} get pods -l {selector}",
        )

    def router_selector(self) -> str:
        """Return the labels by which the router's Service finds its pods."""
        service = self.cluster.get("Service", ROUTER_SERVICE) or {}
        labels = service.get("spec", {}).get("selector") or {"environment": "router"}
        return ",".join(f"{key}={value}" for key, value in labels.items())
