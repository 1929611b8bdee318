"""Completion of the shell: its script, and the names of models."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

_PROGRAM = "vllm-flows"
_VARIABLE = "_VLLM_FLOWS_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes verbs, options and models.

    \b
    bash:  source <(vllm-flows completion bash)      in ~/.bashrc
    zsh:   source <(vllm-flows completion zsh)       in ~/.zshrc, after compinit
    fish:  vllm-flows completion fish > ~/.config/fish/completions/vllm-flows.fish
    """  # noqa: D301 -- click's mark of a paragraph that is not wrapped
    found = get_completion_class(shell)
    if found is None:  # pragma: no cover -- click knows these three
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(context.find_root().command, {}, _PROGRAM, _VARIABLE).source())


def complete_models(
    ctx: click.Context,
    param: click.Parameter,  # noqa: ARG001 -- click's signature
    incomplete: str,
) -> list[CompletionItem]:
    """Return the names in the models file that begin so; none when it cannot be read."""
    given = ctx.find_root().params.get("models")
    from vllm_flows.listed_names import read_listed

    names = read_listed(_file(given)).names
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _file(given: str | None) -> Path:
    if given:
        return Path(given)
    from vllm_flows.errors import ConfigurationError
    from vllm_flows.settings import load_settings

    try:
        return load_settings().models_file
    except ConfigurationError:  # a completion says nothing
        return Path("models.yaml")
