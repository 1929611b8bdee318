# The recipes that users of the shell scripts know, each the verb of the same name: `just install`, or
# `just vllm::install` from a justfile that says `mod vllm 'path/to/this/folder'`.
# They run here, so models.yaml and .env are those of this folder.

set positional-arguments := true

program := source_directory() / ".venv/bin/vllm-flows"

[private]
default:
    @just --justfile {{ quote(justfile()) }} --list

install *arguments:
    @{{ program }} install "$@"

upgrade *arguments:
    @{{ program }} upgrade "$@"

uninstall *arguments:
    @{{ program }} uninstall "$@"

list-models *arguments:
    @{{ program }} list-models "$@"

add-model *arguments:
    @{{ program }} add-model "$@"

remove-model *arguments:
    @{{ program }} remove-model "$@"

status *arguments:
    @{{ program }} status "$@"

logs *arguments:
    @{{ program }} logs "$@"

router-logs *arguments:
    @{{ program }} router-logs "$@"

list-api-models *arguments:
    @{{ program }} list-api-models "$@"

port-forward *arguments:
    @{{ program }} port-forward "$@"

test-completions *arguments:
    @{{ program }} test-completions "$@"

set-hf-token *arguments:
    @{{ program }} set-hf-token "$@"

get-hf-token *arguments:
    @{{ program }} get-hf-token "$@"

delete-hf-token *arguments:
    @{{ program }} delete-hf-token "$@"

set-api-key *arguments:
    @{{ program }} set-api-key "$@"

get-api-key *arguments:
    @{{ program }} get-api-key "$@"

delete-api-key *arguments:
    @{{ program }} delete-api-key "$@"

plan *arguments:
    @{{ program }} plan "$@"

doctor *arguments:
    @{{ program }} doctor "$@"
