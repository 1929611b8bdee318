"""models.yaml changed on a terminal, with the sandbox's Hub to search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from tests.terminal import CTRL_C, terminal

if TYPE_CHECKING:
    from conftest import Product

MINE = "# mine\r\n- name: mine   # first\r\n  modelURL: 'org/mine'\r\n"


def test_a_model_is_found_on_the_hub_added_and_taken_out_again(product: Product):
    file = product.folder / "models.yaml"
    file.write_bytes(MINE.encode())
    with terminal(product, "add-model") as shown:
        shown.answer("words to search the Hub for:", "LLAMA\n")
        shown.answer("1  meta-llama/Llama-3.2-3B-Instruct", "1\n")
        shown.answer("Name [llama-3-2-3b-instruct]:", "Llama\n")
        shown.answer("did you mean llama?", "llama\n")
        shown.answer("GPUs per replica [1]:", "2\n")
        shown.answer("Memory per replica [16Gi]:", "\n")
        shown.answer("Volume for the weights [50Gi]:", "60Gi\n")
        shown.answer("Add this to models.yaml? [y/N]:", "y\n")
        shown.read_until("next: vllm-flows plan")
        assert shown.process.wait(30) == 0
    assert "12 MB of weights, llama3.2, gated" in shown.seen
    added = file.read_bytes().removeprefix(MINE.encode())
    assert b"\n" not in added.replace(b"\r\n", b"")
    assert yaml.safe_load(added) == [
        {
            "name": "llama",
            "modelURL": "meta-llama/Llama-3.2-3B-Instruct",
            "requestMemory": "16Gi",
            "requestGPU": 2,
            "pvcStorage": "60Gi",
            "vllmConfig": {"tensorParallelSize": 2},
        }
    ]
    with terminal(product, "remove-model") as shown:
        shown.answer("  2  llama", "2\n")
        shown.answer("Remove llama from models.yaml?", "y\n")
        shown.read_until("its weights stay")
        assert shown.process.wait(30) == 0
    assert file.read_bytes() == MINE.encode()


def test_ctrl_c_at_a_question_leaves_the_file_alone(product: Product):
    file = product.folder / "models.yaml"
    file.write_bytes(MINE.encode())
    with terminal(product, "add-model", "--model-url", "Qwen/Qwen3-4B") as shown:
        shown.answer("Name [qwen3-4b]:", CTRL_C)
        shown.read_until("error: interrupted")
        assert shown.process.wait(30) == 130
    assert [one.name for one in product.folder.iterdir()] == ["models.yaml"]
    assert file.read_bytes() == MINE.encode()
