"""All verbs, by topic, as data; each is imported when it is run or asked for its own help.

The help of the whole and the completion of verbs import none: that is what makes them quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem


class Verb(NamedTuple):
    """Where a verb's command stands (`module:attribute` below `cli`), and its help in a line."""

    place: str
    help: str


TOPICS: dict[str, dict[str, Verb]] = {
    "Change the cluster": {
        "install": Verb(
            "changing:install",
            "Bring the cluster to what models.yaml says, and ask every model for an answer.",
        ),
        "upgrade": Verb("changing:upgrade", "Apply a changed models.yaml; the same as install."),
        "update": Verb(
            "updating:update",
            "Bring one model to the commit that its revision stands for now, and change nothing "
            "else.",
        ),
        "uninstall": Verb(
            "changing:uninstall",
            "Remove the models, the Hub token and the API key; the weights stay unless asked for.",
        ),
    },
    "models.yaml": {
        "list-models": Verb(
            "listing:list_models",
            "List the models of models.yaml; the cluster and the Hub are not asked.",
        ),
        "add-model": Verb(
            "editing:add_model",
            "Add a model to models.yaml; on a terminal it asks for what is not given.",
        ),
        "remove-model": Verb(
            "editing:remove_model",
            "Take models out of models.yaml; the cluster is changed by the next upgrade.",
        ),
        "validate": Verb(
            "reading:validate",
            "Check a models file and list its models; the cluster and the Hub are not asked.",
        ),
    },
    "Look": {
        "status": Verb(
            "looking:status",
            "Show how each model is: revision, replicas, GPUs, nodes, restarts, and what is wrong.",
        ),
        "check": Verb(
            "checking:check",
            "Check the health of models: answers, speed, restarts, weights, access, drift.",
        ),
        "plan": Verb("reading:plan", "Show what install would do, and why; touch nothing."),
        "check-revisions": Verb(
            "revisions:check_revisions",
            "Show whether a branch or tag of models.yaml moved on the Hub, and what changed.",
        ),
        "doctor": Verb(
            "doctor:doctor",
            "Check all prerequisites: this machine, the cluster, the Hub; say what mends each.",
        ),
    },
    "What runs": {
        "wait": Verb(
            "waiting:wait", "Wait until models are ready and answer; say what keeps them from it."
        ),
        "logs": Verb(
            "following:logs",
            "Show what the engines of a model write; with several pods each line names its own.",
        ),
        "router-logs": Verb("following:router_logs", "Show what the router writes."),
        "endpoints": Verb(
            "calling:endpoints", "Show where the router and each model are reached, and how."
        ),
        "list-api-models": Verb(
            "calling:list_api_models",
            "Show which models the API itself lists, and which are missing.",
        ),
        "port-forward": Verb(
            "forwarding:port_forward",
            "Forward a port of this machine to the router; goes on when its pod is replaced.",
        ),
        "test-completions": Verb(
            "questioning:test_completions",
            "Ask a model through the API: a chat, streamed as it comes, and a plain completion.",
        ),
    },
    "Repair and maintain": {
        "rollback": Verb(
            "repairing:rollback", "Bring back what served before, and ask every model that changes."
        ),
        "prune": Verb(
            "repairing:prune", "Remove weights from the volumes that nobody needs any more."
        ),
        "unlock": Verb(
            "repairing:unlock", "Take away the lock, or the pending release, that a dead run left."
        ),
        "device-plugin": Verb(
            "device_plugin:device_plugin",
            "Install NVIDIA's device plugin, without which nodes offer no GPUs; say what they "
            "offer.",
        ),
    },
    "Secrets": {
        "set-hf-token": Verb(
            "secrets:set_hf_token",
            "Store a Hugging Face token in the cluster, for gated models.",
        ),
        "get-hf-token": Verb(
            "secrets:get_hf_token", "Print the stored Hugging Face token, alone, on stdout."
        ),
        "delete-hf-token": Verb(
            "secrets:delete_hf_token",
            "Delete the stored Hugging Face token; models that are served go on.",
        ),
        "set-api-key": Verb(
            "secrets:set_api_key",
            "Store the API key that protects the endpoint; install applies it to the engines.",
        ),
        "get-api-key": Verb("secrets:get_api_key", "Print the stored API key, alone, on stdout."),
        "delete-api-key": Verb(
            "secrets:delete_api_key",
            "Delete the stored API key; install then opens the endpoint to all who reach it.",
        ),
        "move-secrets": Verb(
            "moving:move_secrets",
            "Move the Hub token and the API key to Vault, or back to plain Secrets.",
        ),
    },
    "This machine": {
        "completion": Verb(
            "completing:completion", "Print the script that completes verbs, options and models."
        ),
        "serve": Verb(
            "serving:serve",
            "Serve the flows to the Prefect UI, to schedules and to events, on this machine.",
        ),
        "webhook": Verb(
            "webhook:webhook",
            "Receive the Hub's webhooks: look at once at a repository that changed, and tell of "
            "it.",
        ),
        "deploy-flows": Verb(
            "registering:deploy_flows",
            "Register the flows on the configured Prefect server, for workers of a work pool.",
        ),
        "sandbox": Verb(
            "sandboxing:sandbox",
            "Run a Kubernetes to try it on: up, down, status, env; no Docker, no root, no GPU.",
        ),
    },
}
VERBS = {name: verb for topic in TOPICS.values() for name, verb in topic.items()}


class Verbs(click.Group):
    """The group of all verbs; finds a command by its place when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Return the names of all verbs, topic by topic."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- click's signature
        """Import the verb's module and return its command; None for an unknown verb."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        module, _, attribute = verb.place.partition(":")
        command: click.Command = getattr(import_module(f"cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- click's signature
        """List the verbs with their help, topic by topic."""
        for topic, verbs in TOPICS.items():
            with formatter.section(topic):
                formatter.write_dl([(name, verb.help) for name, verb in verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the verbs, and the options that stand before them."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=verb.help)
            for name, verb in VERBS.items()
            if name.startswith(incomplete)
        ]
