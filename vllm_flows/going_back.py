"""What serves again when changed models do not answer. Pure.

A model was proven with all that its pods are made of: its own entry, what all engines share, and
the chart. So where only its entry changed it goes back alone; else the release goes back, and
every model that was in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vllm_flows.differences import entries
from vllm_flows.errors import RolloutError, VllmFlowsError, WorseError
from vllm_flows.models import Model
from vllm_flows.observed import REVISION_ANNOTATION
from vllm_flows.outage import Outage
from vllm_flows.sizes import human_seconds
from vllm_flows.waves import shares_alike, values_back, with_entries

Values = Mapping[str, Any]
Failures = Mapping[str, VllmFlowsError]
GoneBack = Mapping[str, VllmFlowsError | str]
"""By model the commit that serves again, or why going back did not help."""

_LOOK_INTO_IT = (
    "correct it in models.yaml; or set onFailure: keep there and run this again, and its pods stay "
    "to be looked into"
)
"""What was wrong went with the pods that were wrong."""
_TRY_AGAIN = "vllm-flows update {0} --again   (it is not tried again by itself)"
_STAY = (
    "write revision: {2} for {0} in models.yaml, and it stays at what serves   ({1:.8} is named "
    "there: the next vllm-flows upgrade tries it again)"
)
_PODS_STAY = "and run vllm-flows upgrade: its pods stay to be looked into"
_LOOK_INTO_THE_COMMIT = f"or name the commit in models.yaml, with onFailure: keep, {_PODS_STAY}"
_LOOK_INTO_THE_NAMED = f"or set onFailure: keep there, {_PODS_STAY}"


@dataclass(frozen=True)
class Past:
    """An earlier revision of the release: the chart's version, its values, helm's words for it."""

    revision: int
    chart_version: str
    values: Values
    status: str = ""
    description: str = ""


@dataclass(frozen=True)
class Refused:
    """A commit that a model did not do with, and the one that serves."""

    model: Model
    commit: str
    served: str

    @property
    def again(self) -> str:
        """How it is tried again; one that models.yaml names: how it is not."""
        text = _STAY if self._is_named else _TRY_AGAIN
        return text.format(self.model.name, self.commit, self.served)

    @property
    def look(self) -> str:
        """How its pods stay."""
        return _LOOK_INTO_THE_NAMED if self._is_named else _LOOK_INTO_THE_COMMIT

    @property
    def _is_named(self) -> bool:
        return self.model.revision == self.commit


@dataclass(frozen=True)
class WayBack:
    """The models that go back, and the values by which.

    `past` is there when the chart has to go back too: then Helm brings back that revision as it
    was: with the models in `returned`, which were removed since, and without those `taken` away,
    which are new.
    """

    models: tuple[str, ...]
    values: Values
    past: Past | None = None
    returned: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()

    def commit(self, model: str) -> str:
        """Return the commit that the model serves again."""
        return str(entries(self.values)[model]["podAnnotations"][REVISION_ANNOTATION])


def way_back(now: Values, chart_version: str, pasts: Mapping[str, Past]) -> WayBack:
    """Return the way back for models from `now` to the revisions that they last answered in.

    Where these are several that differ in more than the models' entries, to the newest of them.
    """
    alone = all(
        past.chart_version == chart_version and shares_alike(past.values, now)
        for past in pasts.values()
    )
    if alone:
        back = {name: entries(past.values)[name] for name, past in pasts.items()}
        return WayBack(tuple(pasts), with_entries(now, back))
    whole = max(pasts.values(), key=lambda past: past.revision)
    models = tuple(name for name in entries(whole.values) if name in entries(now))
    if whole.chart_version == chart_version:
        return WayBack(models, values_back(whole.values, now))
    before, after = entries(whole.values), entries(now)
    returned = tuple(name for name in before if name not in after)
    taken = tuple(name for name in after if name not in before)
    return WayBack(models, whole.values, whole, returned, taken)


def failure(
    failed: Failures,
    gone_back: GoneBack,
    silence: Mapping[str, Outage],
    way: WayBack | None = None,
    refused: Mapping[str, Refused] = MappingProxyType({}),
) -> RolloutError:
    """Say of each model what it failed by, what serves now, and how long nobody answered.

    Of the models in `refused` the commit is to blame.
    """
    name, first = next(iter(failed.items()))
    if name in refused:
        mend = [f"after that: {refused[name].again}", refused[name].look]
    else:
        mend = [_LOOK_INTO_IT] if name in gone_back else []
    lines = [
        f"{model}: {error.what}" + (f" ({error.why})" if error.why else "")
        for model, error in failed.items()
    ]
    lines += [_along(model, state) for model, state in gone_back.items() if model not in failed]
    lines += _came_along(way) if way else []
    what = "; ".join(_what_serves(model, gone_back, silence) for model in failed)
    return RolloutError(
        f"after its change {_how(failed)}: {what}",
        why="\n".join(lines),
        next_command="\n".join(filter(None, [first.next_command, *mend])),
        model=name if len(failed) == 1 else None,
    )


def _how(failed: Failures) -> str:
    worse = all(isinstance(error, WorseError) for error in failed.values())
    return "it answers worse than before" if worse else "it does not answer"


def _along(model: str, state: VllmFlowsError | str) -> str:
    """Say of a model that did answer why it is as before all the same."""
    how = f"does not answer so: {state.what}" if isinstance(state, VllmFlowsError) else "answers"
    return f"{model}: went back too, as what changed is common to all engines, and {how}"


def _came_along(way: WayBack) -> list[str]:
    """Say which models came back, or went, with a release that went back as a whole."""
    return [
        *(f"{name}: was removed, and is there again with the release" for name in way.returned),
        *(f"{name}: was new, and is gone again with the release" for name in way.taken),
    ]


def _what_serves(model: str, gone_back: GoneBack, silence: Mapping[str, Outage]) -> str:
    state = gone_back.get(model)
    outage = silence[model]
    if state is None:
        serves = "it stays as it is, nothing of before was brought back"
    elif isinstance(state, VllmFlowsError):
        serves = f"going back did not help either: {state.what}"
    else:
        serves = f"{state} serves again, as before"
    gap = ", ".join(filter(None, [_silence(outage, since=state is None), outage.not_measured]))
    return "; ".join(filter(None, [serves, gap]))


def _silence(outage: Outage, *, since: bool) -> str:
    """Say for how long nobody answered; `since`: and whether that goes on."""
    if outage.seconds or outage.lasting:
        gap = f"nobody answered for {human_seconds(outage.seconds)} of this run"
        return f"{gap}, and since" if since and outage.lasting else gap
    return "it was never silent" if outage.asked else ""
