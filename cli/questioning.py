"""`vllm-flows test-completions`: ask a model, and see the answer come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.choosing import choose_model
from cli.completing import complete_models
from cli.options import Options
from cli.output import emit, note, output_option
from vllm_flows.errors import ConfigurationError

if TYPE_CHECKING:
    from vllm_flows.asking import Asked
    from vllm_flows.completions import ModelsApi

_PROMPT = "Say in one sentence what you can do."


@click.command("test-completions")
@click.argument("model", required=False, shell_complete=complete_models)
@click.argument("prompt", default=_PROMPT)
@click.option("--no-chat", is_flag=True, help="Only a plain completion.")
@click.option("--chat-only", is_flag=True, help="Only a chat.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Longest answer.",
)
@output_option
@click.pass_obj
def test_completions(
    options: Options,
    *,
    model: str | None,
    prompt: str,
    no_chat: bool,
    chat_only: bool,
    max_tokens: int,
    form: str,
) -> None:
    """Ask a model through the API: a chat, streamed as it comes, and a plain completion."""
    if no_chat and chat_only:
        raise ConfigurationError(
            "--no-chat and --chat-only leave nothing to ask",
            next_command="the same command with one of them",
        )
    if not prompt.strip():
        raise ConfigurationError(
            "the prompt is blank", next_command="vllm-flows test-completions MODEL 'Hello!'"
        )
    from vllm_flows.reaching import reached_api
    from vllm_flows.refused_key import explaining_refusals
    from vllm_flows.router_key import explaining_unknown
    from vllm_flows.session import Session

    session = Session.open(options.settings())
    name = choose_model(session, model, "test-completions")
    _insist_on_prompts(options, name)
    kinds = [kind for kind, wanted in ((True, not no_chat), (False, not chat_only)) if wanted]
    with (
        reached_api(session, name) as api,
        explaining_unknown(session),
        explaining_refusals(session),
    ):
        answers = _ask(api, name, prompt, kinds, max_tokens, shown=form == "table")
    if form != "table":
        emit([answer.data for answer in answers], form)


def _insist_on_prompts(options: Options, name: str) -> None:
    """Raise ConfigurationError for a model that only embeds, as far as models.yaml tells."""
    from vllm_flows.models import answers_prompts

    try:
        models = options.read_models()
    except ConfigurationError:  # a model can be asked without its file, or beside a broken one
        return
    for model in models:
        if model.name == name and model.replica_count and not answers_prompts(model):
            raise ConfigurationError(
                "answers no prompts: it is a pooling model (vllmConfig.runner or convert)",
                why="it turns texts into vectors or scores, at /v1/embeddings, /pooling or /score",
                next_command="vllm-flows endpoints   (where it is reached)",
                model=name,
            )


def _ask(
    api: ModelsApi, name: str, prompt: str, kinds: list[bool], tokens: int, *, shown: bool
) -> list[Asked]:
    """Ask for a chat (True), a completion (False) or both.

    A model that was not made for chats is no failure where a completion is asked for too.
    """
    from vllm_flows.asking import ask, insist_on
    from vllm_flows.completions import NoChatTemplateError

    insist_on(api, name)
    answers, screen = [], _Screen(shown)
    for chat in kinds:
        note(f"{name}, {'chat' if chat else 'completion'}: {prompt}")
        try:
            with screen:
                answer = ask(api, name, prompt, chat=chat, tokens=tokens, show=screen.show)
        except NoChatTemplateError as error:
            if len(kinds) == 1:
                raise
            note(f"  {error.what}: it was not made for chats")
            continue
        _time(answer)
        answers.append(answer)
    return answers


class _Screen:
    """Shows an answer while it comes, unless it is printed as data at the end."""

    def __init__(self, shown: bool) -> None:  # noqa: FBT001 -- its one property
        self._shown, self._begun = shown, False

    def __enter__(self) -> None:
        self._begun = False

    def __exit__(self, *_: object) -> None:
        if self._begun:
            click.echo()

    def show(self, text: str) -> None:
        """Print a piece at once, without what could steer a terminal."""
        if self._shown:
            self._begun = True
            plain = "".join(one if one.isprintable() or one in "\n\t" else "?" for one in text)
            click.echo(plain.encode("utf-8", "replace").decode(), nl=False)


def _time(answer: Asked) -> None:
    from vllm_flows.sizes import human_seconds

    facts = [
        f"first token after {human_seconds(answer.first_token_seconds)}",
        f"{answer.tokens} tokens in {human_seconds(answer.seconds)}",
    ]
    if answer.tokens_per_second is not None:
        facts.append(f"{answer.tokens_per_second:.3g} tokens per second")
    if answer.cut:
        facts.append("cut at --max-tokens")
    note(f"  {', '.join(facts)}")
