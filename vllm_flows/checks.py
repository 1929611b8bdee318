"""What stands against serving a model, of all that can be known before anything is written. Pure.

In this order: the Hub's refusal, files that may run code, the volume, what vLLM would refuse, the
GPUs' memory. Room on the nodes is `placement`'s matter, since models compete for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from vllm_flows.capacity import (
    forbidden_by_level,
    meant_nodes,
    no_runtime_class,
    possible_nodes,
    runtime_class_missing,
)
from vllm_flows.desired import Desired
from vllm_flows.engine_rules import engine_refusals
from vllm_flows.errors import AccessError, FitError, VllmFlowsError
from vllm_flows.fit import Fit, Fits, fit_of
from vllm_flows.models import Model
from vllm_flows.nodes import GPU, Node
from vllm_flows.observed import Access, ClusterState, Verdict
from vllm_flows.obstacles import shown
from vllm_flows.quantities import parse_quantity
from vllm_flows.repository_facts import plain
from vllm_flows.repository_files import (
    has_safetensors,
    missing_shards,
    pickle_files,
    weight_files,
)
from vllm_flows.settings import Settings
from vllm_flows.sizes import human_bytes
from vllm_flows.storage import Said, Storage, check_storage
from vllm_flows.weights_manifests import list_is_too_long

_ORDER = (Fits.FITS, Fits.TIGHT, Fits.UNKNOWN, Fits.NOT)
_LISTED = 3
"""Names that a sentence lists; the others are counted."""
_ENGINE_MEMORY = Decimal(4 * 1024**3)
_WORKER_MEMORY = Decimal(2 * 1024**3)
"""Host memory of vLLM's server and of each GPU's worker with its CUDA context: a rule of thumb."""


@dataclass(frozen=True)
class Findings:
    """What was found on one model: problems block it, notes are told.

    `barred` are hosts whose GPUs are too small for it.
    """

    problems: tuple[VllmFlowsError, ...] = ()
    notes: tuple[str, ...] = ()
    fit: Fit | None = None
    barred: Mapping[str, str] = field(default_factory=dict)


def check_model(
    model: Model, verdict: Verdict, desired: Desired, state: ClusterState, *, runs: bool
) -> Findings:
    """Return what stands against the model; `runs`: it is served already just as it should be.

    What vLLM would refuse and what does not fit is then no matter: it was seen to work.
    """
    if verdict.problems:
        return Findings(verdict.problems, verdict.notes)
    nodes = possible_nodes(model, state)
    storage = Storage(model, state.claims.get(model.name), desired.settings)
    said: list[Said] = [*verdict.notes, *trust(model, verdict)]
    said += check_storage(storage, verdict, state, nodes)
    fit, barred = _fit(model, verdict, nodes, desired.settings, state)
    if not runs:
        said += _engine(model, verdict, str(desired.settings.engine_image), fit)
        said += [_too_small_somewhere(barred)] if barred else []
        said += _host_memory(model, verdict)
        if runtime_class_missing(model, desired.settings, state.around):
            said.append(no_runtime_class(model, desired.settings))
        if forbidden := forbidden_by_level(model, desired.settings, state.around):
            said.append(forbidden)
    return Findings(
        problems=tuple(one for one in said if isinstance(one, VllmFlowsError)),
        notes=tuple(one for one in said if isinstance(one, str)),
        fit=fit,
        barred=barred,
    )


def trust(model: Model, verdict: Verdict) -> Iterable[Said]:
    """Refuse what can run code of the repository's, unless models.yaml says that it may.

    Yields an error for each refusal, and a text for what models.yaml allows.
    """
    yield from _allowed(model, "trustRemoteCode", "code of its own", verdict.custom_code)
    if verdict.access in {Access.SILENT, Access.STAYS}:
        return  # what lies on the volume was looked at when it was fetched
    if not weight_files(verdict.files):
        yield _refused(model, "the repository holds no weights that vLLM loads", "", "modelURL")
    if lost := missing_shards(verdict.files):
        yield _refused(model, "the repository lacks a part of its weights", _listed(lost), "shards")
    if list_is_too_long(verdict):
        what = f"the repository has {len(verdict.files)} files, too many for the Job's ConfigMap"
        yield _refused(model, what, "", "files")
    part = "parts" if has_safetensors(verdict.files) else "weights"
    pickles = pickle_files(verdict.files)
    unsafe = "files that the Hub's scan calls unsafe"
    yield from _allowed(model, "allowPickle", f"{part} as pickles only", pickles)
    yield from _allowed(model, "allowUnsafe", unsafe, verdict.unsafe_files)


def _allowed(model: Model, name: str, what: str, found: tuple[str, ...]) -> Iterable[Said]:
    """Note what models.yaml allows by its field `name`; refuse what it is silent on."""
    if not found:
        return
    listed = _listed(found)
    said = {
        "allowPickle": model.allow_pickle or None,
        "allowUnsafe": model.allow_unsafe or None,
        "trustRemoteCode": model.trust_remote_code,
    }[name]
    if said is None:
        yield _refused(model, f"the repository has {what}", listed, name)
    else:
        yield f"{what}, {'allowed' if said else 'not run'} by {name}: {listed}"


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(plain, names[:_LISTED])) + more


_WAYS_OUT = {
    "modelURL": "correct `modelURL` in models.yaml (GGUF, ONNX and adapters alone are not served)",
    "files": "serve a copy of the model with its weights in fewer files (`modelURL`, `revision`)",
    "shards": "its upload is not finished, or went wrong: ask its owner, or set another `revision` "
    "in models.yaml",
    "trustRemoteCode": "read it, then set trustRemoteCode: true in models.yaml (false serves "
    "without it)",
}
"""By what is refused; a field of models.yaml that is not here allows it."""


def _refused(model: Model, what: str, why: str, about: str) -> AccessError:
    allow = (
        "serve another revision or repository; or, if you trust it, set "
        f"{about}: true in models.yaml"
    )
    hint = _WAYS_OUT.get(about, allow)
    return AccessError(what, why=why, next_command=hint, model=model.name)


def _fit(
    model: Model, verdict: Verdict, nodes: list[Node], settings: Settings, state: ClusterState
) -> tuple[Fit | None, dict[str, str]]:
    """Judge the model by the best GPUs that could take it; name the hosts whose are too small.

    Where these hold it not, by those that a taint or another resource keeps it off.
    """
    if not model.request_gpu or not verdict.config:
        return None, {}
    most, image = _most_gpus(model, settings, state), str(settings.engine_image)

    def fits_on(those: list[Node]) -> dict[int, Fit]:
        return {
            memory: fit_of(model, verdict, memory, most_gpus=most.get(memory, 0), image=image)
            for memory in {node.gpu_memory for node in those}
        }

    meant, fits = meant_nodes(model, state), fits_on(nodes)
    nowhere = fit_of(model, verdict, 0, most_gpus=max(most.values(), default=0), image=image)
    best = min((fits or fits_on(meant)).values() or [_on_no_gpu(nowhere, state)], key=_rank)
    if best.result is Fits.NOT:
        behind = min(fits_on(meant).values(), key=_rank)
        best = best if behind.result is Fits.NOT else behind
    if best.result is Fits.NOT or model.ignore_fit:
        return best, {}
    barred = {
        node.host: f"its GPUs ({node.gpu_product or human_bytes(node.gpu_memory)}) are too small"
        for node in nodes
        if fits[node.gpu_memory].result is Fits.NOT
    }
    return best, barred


def _rank(fit: Fit) -> tuple[int, bool, int]:
    """Order by the result; then GPUs of which some number would do, then the largest."""
    hopeless = fit.smallest_tensor_parallel_size is None
    return _ORDER.index(fit.result), hopeless, -fit.available


def _most_gpus(model: Model, settings: Settings, state: ClusterState) -> dict[int, int]:
    """Return how many GPUs of each size of memory one node has; nothing where more may come."""
    if settings.autoscaling:
        return {}
    any_number = model.model_copy(update={"request_gpu": 0})
    most: dict[int, int] = {}
    for node in possible_nodes(any_number, state) or meant_nodes(any_number, state):
        gpus = int(node.allocatable.get(GPU, 0))
        most[node.gpu_memory] = max(gpus, most.get(node.gpu_memory, 0))
    return most


def _on_no_gpu(fit: Fit, state: ClusterState) -> Fit:
    """Say what is needed; other nodes tell nothing of the GPUs that it will get."""
    if not state.around.nodes:
        return fit
    return replace(fit, text=f"{fit.text}; no node has the labels and the GPUs that it asks for")


def _engine(model: Model, verdict: Verdict, image: str, fit: Fit | None) -> Iterable[Said]:
    """Say what vLLM would refuse or lack memory for: problems, or notes with `ignoreFit`."""
    problems: list[VllmFlowsError] = list(engine_refusals(model, verdict, image, fit))
    if fit and fit.result is Fits.NOT:
        problems.append(
            FitError(
                "does not fit its GPUs",
                why=fit.text,
                next_command=f"{fit.advice}   (ignoreFit: true goes on all the same)",
                model=model.name,
            )
        )
    for problem in problems:
        yield f"ignored as models.yaml says: {problem.what}" if model.ignore_fit else problem
    if fit and fit.result is Fits.TIGHT:
        yield f"tight: {fit.text}"


def _too_small_somewhere(barred: Mapping[str, str]) -> str:
    hosts = ", ".join(f"{host}: {why}" for host, why in sorted(barred.items()))
    return f"some nodes could not serve it ({hosts}); a nodeSelector keeps it off them"


def _host_memory(model: Model, verdict: Verdict) -> Iterable[str]:
    """Say when requests or limits leave less memory on the host than vLLM itself takes."""
    needed = _ENGINE_MEMORY + _WORKER_MEMORY * max(1, model.request_gpu)
    what = f"vLLM itself takes about {shown('memory', needed)}"
    if not model.request_gpu:
        needed = _ENGINE_MEMORY + verdict.total_bytes
        what = f"without a GPU the weights and vLLM take about {shown('memory', needed)}"
    for name, text in (
        ("requestMemory", model.request_memory),
        ("limitMemory", model.limit_memory),
    ):
        if text and parse_quantity(text) < needed:
            yield f"{name} {text} is little: {what} of the host's memory"
