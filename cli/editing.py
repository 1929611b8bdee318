"""The verbs that change models.yaml; all that they do not change keeps its bytes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from cli.completing import complete_models
from cli.confirming import asked, confirm, has_terminal, yes_option
from cli.hub_ids import complete_hub_ids
from cli.options import Options
from cli.output import note
from vllm_flows.errors import ConfigurationError
from vllm_flows.names import some_of

if TYPE_CHECKING:
    from vllm_flows.kept_file import KeptFile
    from vllm_flows.settings import Settings

_FIELDS = {
    "modelURL": ("--model-url", "Hub id, such as Qwen/Qwen3-4B."),
    "revision": ("--revision", "Branch, tag or commit of the Hub repository."),
    "replicaCount": ("--replicas", "Copies that share the requests."),
    "requestGPU": ("--gpus", "GPUs per replica."),
    "requestCPU": ("--cpu", "Cores per replica: 6, 1.5 or 500m."),
    "requestMemory": ("--memory", "Memory per replica, such as 16Gi."),
    "limitMemory": ("--limit-memory", "Memory limit per replica."),
    "pvcStorage": ("--storage", "Size of the volume that holds the weights."),
    "maxModelLen": ("--max-model-len", "Longest request in tokens."),
    "dtype": ("--dtype", "Number format of weights and activations."),
    "tensorParallelSize": ("--tensor-parallel-size", "GPUs that share a replica: all of them."),
    "gpuMemoryUtilization": ("--gpu-memory-utilization", "Fraction of each GPU that is filled."),
    "maxNumSeqs": ("--max-num-seqs", "Most requests computed in one step."),
    "nodeSelector": ("--node-selector", "Label a node must have, as KEY=VALUE; may be repeated."),
    "extraArgs": ("--extra-arg", "Further argument of `vllm serve`; may be repeated."),
    "trustRemoteCode": ("--trust-remote-code/--no-trust-remote-code", "Run the repository's code."),
}
_SEVERAL = {"nodeSelector", "extraArgs"}


def _complete_dtypes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 -- click's signature
    from vllm_flows.models import Dtype

    return [one for one in get_args(Dtype) if one.startswith(incomplete)]


_COMPLETED = {"modelURL": complete_hub_ids, "dtype": _complete_dtypes}


def _with_fields(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each field."""
    for field, (flag, text) in reversed(_FIELDS.items()):
        shape: dict[str, Any] = {"default": None} if "/" in flag else {"metavar": "VALUE"}
        if field in _COMPLETED:
            shape["shell_complete"] = _COMPLETED[field]
        option = click.option(flag, field, multiple=field in _SEVERAL, help=text, **shape)
        command = option(command)
    return command


@click.command("add-model")
@click.argument("name", required=False)
@_with_fields
@yes_option
@click.pass_obj
def add_model(options: Options, /, *, name: str | None, yes: bool, **given: Any) -> None:  # noqa: ANN401 -- click's own
    """Add a model to models.yaml; on a terminal it asks for what is not given.

    Without a terminal, or with --yes, NAME and --model-url are needed. The Hub, where it answers,
    is asked which volume and how many GPUs the model takes.
    """
    from vllm_flows.model_entry import entry_of
    from vllm_flows.models_edit import insist_on_new, names_in, with_model

    values, settings = _values({"name": name, **given}), options.settings()
    path = settings.models_file
    kept, text = _read(path)
    names = names_in(text, str(path))
    insist_on_new(values.get("name"), names, str(path))
    values = _completed(values, names, settings, yes=yes)
    _write(kept, with_model(text, entry_of(values), str(path)))
    note(f"{values['name']} is in {path}\nnext: vllm-flows plan")


def _completed(
    values: dict[str, Any], names: Sequence[str], settings: Settings, *, yes: bool
) -> dict[str, Any]:
    """Return the values with what is not given: by asking, else by what the Hub proposes."""
    from cli.asking import ASKED, ask_for_rest, fill_in
    from vllm_flows.hub_advice import HubAdvice
    from vllm_flows.model_entry import entry_of
    from vllm_flows.yaml_entries import appended

    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    advice = HubAdvice(settings.hub_endpoint, token)
    if not yes and has_terminal() and not set(ASKED) <= set(values):
        values = ask_for_rest(values, names, advice)
        note(f"\n{appended('', entry_of(values))}")
        confirm(f"Add this to {settings.models_file}?")
        return values
    if not {"name", "modelURL"} <= set(values):
        raise ConfigurationError(
            "a model needs a name and a Hub id",
            next_command="vllm-flows add-model NAME --model-url ORGANISATION/MODEL",
        )
    return fill_in(values, advice)


@click.command("remove-model")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_models)
@yes_option
@click.pass_obj
def remove_model(options: Options, *, names: tuple[str, ...], yes: bool) -> None:
    """Take models out of models.yaml; the cluster is changed by the next upgrade."""
    from vllm_flows.models_edit import names_in, without_models
    from vllm_flows.models_text import read_text

    path = options.settings().models_file
    kept, text = _read(path)
    if kept.data is None:
        text = read_text(path)  # says how to make one
    known = names_in(text, str(path))
    chosen = list(dict.fromkeys(names)) or _chosen(known, path)
    result = without_models(text, chosen, str(path))
    listed = ", ".join(chosen)
    if not yes:
        confirm(f"Remove {listed} from {path}?")
    _write(kept, result)
    note(f"{listed}: no longer in {path}")
    if set(known) <= set(chosen):
        note("next: vllm-flows uninstall removes what is deployed; no model is left to upgrade to")
    else:
        note("next: vllm-flows upgrade removes it from the cluster; its weights stay there")


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given, as models.yaml would have it. Raises ConfigurationError."""
    from vllm_flows.model_entry import problems_of, value_of

    values: dict[str, Any] = {
        field: value_of(field, value) if isinstance(value, str) else value
        for field, value in given.items()
        if value not in {None, ()}
    }
    if "extraArgs" in values:
        values["extraArgs"] = list(values["extraArgs"])
    if "nodeSelector" in values:
        pairs = [text.partition("=") for text in values["nodeSelector"]]
        values["nodeSelector"] = {key: value for key, _, value in pairs}
    problems = problems_of(values)
    if label := _label_problem(given["nodeSelector"]):
        problems["nodeSelector"] = label
    if problems:
        raise ConfigurationError(
            "the model cannot be like this",
            why="\n".join(f"{_flag(field)}: {text}" for field, text in problems.items()),
            next_command="vllm-flows add-model --help",
        )
    return values


def _label_problem(texts: Sequence[str]) -> str:
    """Return which of these is no label, or a second value of one; "" when all are right."""
    keys: set[str] = set()
    for text in texts:
        key, sign, _ = text.partition("=")
        if not (key and sign):
            return f"{text!r} is no KEY=VALUE"
        if key in keys:
            return f"{text!r} is a second value of {key}; give one KEY=VALUE for each key"
        keys.add(key)
    return ""


def _flag(field: str) -> str:
    plain = re.split(r"[\[.]", field, maxsplit=1)[0]
    return _FIELDS[plain][0] if plain in _FIELDS else plain


def _chosen(known: Sequence[str], path: Path) -> list[str]:
    """Return which models the person wants; the only one unasked."""
    if not has_terminal():
        raise ConfigurationError(
            "no model is named",
            why=f"there is no terminal to ask on; {path} has: {some_of(known) or 'none'}",
            next_command="vllm-flows remove-model NAME --yes",
        )
    if not known:
        raise ConfigurationError(f"{path} lists no models", next_command="vllm-flows add-model")
    if len(known) == 1:
        return list(known)
    for number, name in enumerate(known, 1):
        note(f"  {number}  {name}")
    return _picked(known)


def _picked(known: Sequence[str]) -> list[str]:
    """Ask for numbers of the list, or names, until all are known."""
    numbers = {str(number): name for number, name in enumerate(known, 1)}

    def check(text: str) -> list[str]:
        found = [numbers.get(word, word) for word in text.replace(",", " ").split()]
        wrong = [word for word in found if word not in known]
        if wrong or not found:
            raise click.UsageError(f"{' '.join(wrong) or 'that'} is none of them")
        return list(dict.fromkeys(found))

    question = "Which? Numbers or names, several with a space between"
    return asked(lambda: click.prompt(question, value_proc=check, err=True))


def _read(path: Path) -> tuple[KeptFile, str]:
    """Return the file and its text, "" where there is none. Raises ConfigurationError."""
    from vllm_flows.kept_file import KeptFile
    from vllm_flows.models_text import decoded

    kept = KeptFile.read(path)
    kept.insist_on_writable()
    return kept, decoded(kept.data or b"", path)


def _write(kept: KeptFile, text: str) -> None:
    marked = (kept.data or b"").startswith(codecs.BOM_UTF8)
    kept.replace((codecs.BOM_UTF8 if marked else b"") + text.encode())
