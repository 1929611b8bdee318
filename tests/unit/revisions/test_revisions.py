"""What a new commit changes for who serves an older one: the classes, as a table."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from vllm_flows.errors import AccessError
from vllm_flows.models import Model
from vllm_flows.observed import HubFile, Verdict
from vllm_flows.repository_files import needed_files
from vllm_flows.revision_class import Change
from vllm_flows.revisions import Assessment, Contents, assess

SERVED: Mapping[str, str] = {
    "README.md": "r1",
    "LICENSE": "l1",
    "config.json": "c1",
    "tokenizer.json": "t1",
    "tokenizer_config.json": "tc1",
    "chat_template.jinja": "j1",
    "model.safetensors": "w1",
    "onnx/model.onnx": "o1",
}


def model(**fields: object) -> Model:
    return Model.model_validate({"name": "m", "modelURL": "org/name", **fields})


def files(named: Mapping[str, str]) -> tuple[HubFile, ...]:
    return tuple(
        HubFile(name, 1, mark * 16, mark)
        if name.endswith((".safetensors", ".bin"))
        else HubFile(name, 1, None, mark)
        for name, mark in named.items()
    )


def at(named: Mapping[str, str] = SERVED, **more: str | None) -> Contents:
    return Contents(files(named), **{"license": "mit", "gated": "no", **more})  # type: ignore[arg-type]  # texts


def verdict(named: Mapping[str, str], **more: object) -> Verdict:
    return Verdict("m", "org/name", "2" * 40, files=needed_files(files(named)), **more)  # type: ignore[arg-type]  # of its fields


def judged(
    named: Mapping[str, str],
    old: Contents | None = None,
    models: Model | None = None,
    terms: Mapping[str, str | None] | None = None,
    **told: object,
) -> Assessment:
    new = at(named, **(terms or {}))
    return assess(models or model(), old or at(), new, verdict(named, **told))


@pytest.mark.parametrize(
    ("changes", "change", "named"),
    [
        ({}, Change.DOCUMENTATION, ()),
        ({"README.md": "r2"}, Change.DOCUMENTATION, ()),
        ({"docs/guide.md": "g1", "figure.png": "p1"}, Change.DOCUMENTATION, ()),
        ({"README.md": None}, Change.DOCUMENTATION, ()),
        ({"onnx/model.onnx": "o2"}, Change.DOCUMENTATION, ()),
        ({"pytorch_model.bin": "b1"}, Change.DOCUMENTATION, ()),
        ({"config.json": "c2"}, Change.CONFIGURATION, ("config.json",)),
        ({"tokenizer.json": "t2"}, Change.CONFIGURATION, ("tokenizer.json",)),
        ({"chat_template.jinja": "j2"}, Change.CONFIGURATION, ("chat_template.jinja",)),
        ({"chat_template.jinja": None}, Change.CONFIGURATION, ("chat_template.jinja",)),
        ({"generation_config.json": "g1"}, Change.CONFIGURATION, ("generation_config.json",)),
        ({"model.safetensors": "w2"}, Change.WEIGHTS, ("model.safetensors",)),
        (
            {"model.safetensors": "w2", "config.json": "c2", "README.md": "r2"},
            Change.WEIGHTS,
            ("model.safetensors", "config.json"),
        ),
        (
            # Renamed: the same bytes under another name.
            {"model.safetensors": None, "weights.safetensors": "w1"},
            Change.CONFIGURATION,
            ("model.safetensors", "weights.safetensors"),
        ),
        (
            {"model.safetensors": None, "a.safetensors": "a1", "b.safetensors": "b1"},
            Change.WEIGHTS,
            ("a.safetensors", "b.safetensors", "model.safetensors"),
        ),
    ],
)
def test_the_files_that_an_engine_reads_make_the_class(
    changes: Mapping[str, str | None], change: Change, named: tuple[str, ...]
):
    now = {name: mark for name, mark in {**SERVED, **changes}.items() if mark}
    found = judged(now)
    assert (found.change, found.files, found.reasons) == (change, named, ())


@pytest.mark.parametrize(
    ("changes", "told", "terms", "reason"),
    [
        ({"README.md": "r2"}, {}, {"license": "other"}, "license was mit and is other now"),
        ({"README.md": "r2"}, {}, {"license": ""}, "license was mit and is unknown now"),
        ({"model.safetensors": "w2"}, {}, {"license": "other"}, "license was mit and is other"),
        ({"LICENSE": "l2"}, {}, {}, "text of its license changed: LICENSE"),
        ({"LICENSE": None}, {}, {}, "text of its license changed: LICENSE"),
        ({"USE_POLICY.md": "u1"}, {}, {}, "text of its license changed: USE_POLICY.md"),
        ({"README.md": "r2"}, {}, {"gated": "manual"}, "gate was 'no' and is 'manual' now"),
        (
            {"model.safetensors": None, "pytorch_model.bin": "b1"},
            {},
            {},
            "weights as pickles only: pytorch_model.bin",
        ),
        (
            {"model.safetensors": "w2"},
            {"unsafe_files": ("model.safetensors",)},
            {},
            "the Hub's scan calls unsafe: model.safetensors",
        ),
        (
            {"config.json": "c2", "modeling_m.py": "p1"},
            {"custom_code": ("modeling_m.M",)},
            {},
            "code of its own: modeling_m.M",
        ),
        ({"model.safetensors": None}, {}, {}, "no weights that vLLM loads"),
        (
            {"model.safetensors": None, "model-00001-of-00002.safetensors": "w2"},
            {},
            {},
            "lacks a part of its weights: model-00002-of-00002.safetensors",
        ),
        (
            {"model.safetensors": "w2"},
            {"problems": (AccessError("org/name is gated and there is no token"),)},
            {"gated": "manual"},
            "org/name is gated and there is no token",
        ),
    ],
)
def test_a_person_is_asked_about_terms_and_about_what_could_run_code(
    changes: Mapping[str, str | None],
    told: Mapping[str, object],
    terms: Mapping[str, str],
    reason: str,
):
    now = {name: mark for name, mark in {**SERVED, **changes}.items() if mark}
    found = judged(now, terms=terms, **told)
    assert found.change is Change.ASK
    assert any(reason in one for one in found.reasons), found.reasons


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"allowPickle": True}, {}),
        ({"allowPickle": True, "allowUnsafe": True}, {"unsafe_files": ("pytorch_model.bin",)}),
        ({"allowPickle": True, "trustRemoteCode": False}, {"custom_code": ("m.M",)}),
        ({"allowPickle": True, "trustRemoteCode": True}, {"custom_code": ("m.M",)}),
    ],
)
def test_what_models_yaml_allows_is_no_question(
    fields: Mapping[str, object], told: Mapping[str, object]
):
    now = {name: mark for name, mark in SERVED.items() if name != "model.safetensors"}
    found = judged({**now, "pytorch_model.bin": "b1"}, models=model(**fields), **told)
    assert (found.change, found.reasons) == (Change.WEIGHTS, ())


def test_new_code_is_asked_about_even_where_the_repository_is_trusted():
    before = {**SERVED, "modeling_m.py": "p1"}
    trusting, code = model(trustRemoteCode=True), ("modeling_m.M",)
    same = judged({**before, "config.json": "c2"}, at(before), trusting, custom_code=code)
    assert same.change is Change.CONFIGURATION
    other = judged({**before, "modeling_m.py": "p2"}, at(before), trusting, custom_code=code)
    assert other.change is Change.ASK
    assert "modeling_m.py" in other.reasons[0]


def test_code_that_is_not_run_makes_no_difference():
    before, wary = {**SERVED, "modeling_m.py": "p1"}, model(trustRemoteCode=False)
    found = judged({**before, "modeling_m.py": "p2"}, at(before), wary, custom_code=("m.M",))
    assert found.change is Change.DOCUMENTATION


GONE = Contents(
    None,
    {"c1": 1, "t1": 1, "tc1": 1, "j1": 1, "w1w1w1w1w1w1": 1},
    license="mit",
    gated="no",
)
"""A commit that a forced push took away, as the volume's record knows it."""


@pytest.mark.parametrize(
    ("changes", "change"),
    [
        ({"README.md": "r2", "LICENSE": "l2"}, Change.DOCUMENTATION),
        ({"config.json": "c2"}, Change.CONFIGURATION),
        ({"model.safetensors": "w2"}, Change.WEIGHTS),
        ({"model.safetensors": None, "weights.safetensors": "w1"}, Change.DOCUMENTATION),
    ],
)
def test_after_a_forced_push_the_volumes_record_stands_for_the_older_commit(
    changes: Mapping[str, str | None], change: Change
):
    now = {name: mark for name, mark in {**SERVED, **changes}.items() if mark}
    assert judged(now, GONE).change is change


def test_a_license_that_nobody_knows_any_more_is_asked_about():
    found = judged(SERVED, Contents(None, GONE.blobs))
    assert found.change is Change.ASK
    assert "license of what is served is not known; it is mit now" in found.reasons[0]


def test_a_gate_that_nobody_knows_any_more_is_no_question():
    assert judged(SERVED, at(gated=None), terms={"gated": "manual"}).change is Change.DOCUMENTATION


def test_reasons_and_files_are_few_and_can_be_shown():
    many = {f"part{n}\x1b.json": "x" for n in range(100)}
    found = assess(model(), at(), at({**SERVED, **many}), verdict(SERVED), ["a\nb"] * 9)
    assert found.reasons == ("a b",) * 4
    assert len(found.files) == 5
    assert all(name.isprintable() for name in found.files)
