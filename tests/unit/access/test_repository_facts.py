from __future__ import annotations

import pytest

from vllm_flows.observed import HubFile
from vllm_flows.repository_facts import Scan, custom_code, parse_configuration, plain, scan_of

FILES = [HubFile("a.bin", 1), HubFile("b.py", 1)]


@pytest.mark.parametrize(
    ("configuration", "code"),
    [
        ({}, ()),
        ({"auto_map": {}}, ()),
        ({"auto_map": None}, ()),
        ({"auto_map": 7}, ()),
        ({"auto_map": {"AutoConfig": 7, "AutoModel": None}}, ()),
        ({"auto_map": {"B": "m.B", "A": "m.A", "Again": "m.A"}}, ("m.A", "m.B")),
        ({"auto_map": {"AutoTokenizer": ["t.Slow", None]}}, ("t.Slow",)),
        ({"auto_map": ["t.Slow", "t.Fast"]}, ("t.Fast", "t.Slow")),
        ({"auto_map": {"AutoConfig": "other/repo--m.A"}}, ("other/repo--m.A",)),
        ({"auto_map": {"AutoConfig": "org/name--m.A"}}, ("m.A",)),
        ({"auto_map": {"AutoConfig": "m.A\x1b[2J\nB"}}, ("m.A?[2J B",)),
    ],
)
def test_custom_code_is_what_the_auto_map_refers_to(
    configuration: dict[str, object], code: tuple[str, ...]
):
    assert custom_code("org/name", configuration) == code


def test_the_code_of_all_configurations_is_told():
    found = custom_code("org/name", {"auto_map": {"A": "m.A"}}, {"auto_map": {"T": ["t.T", None]}})
    assert found == ("m.A", "t.T")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"1" * 5000, b"[" * 100_000])
def test_what_is_no_configuration_is_a_value_error(data: bytes):
    with pytest.raises(ValueError, match=r".+"):
        parse_configuration(data)


def test_what_is_too_deep_to_be_kept_is_no_configuration():
    assert parse_configuration(b'{"a":' * 99 + b"[1]" + b"}" * 99)
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_configuration(b'{"a":' * 100 + b"[1]" + b"}" * 100)


def issues(*found: object, done: object = True) -> dict[str, object]:
    return {"scansDone": done, "filesWithIssues": list(found)}


UNTOLD = Scan(
    notes=("the Hub tells no security scan: whether a file is unsafe is not known",), told=False
)


@pytest.mark.parametrize(
    ("status", "scan"),
    [
        (None, UNTOLD),
        ([], UNTOLD),
        ({}, Scan()),
        ({"filesWithIssues": "a.bin"}, Scan()),
        (issues(), Scan()),
        (issues({"path": "a.bin", "level": "unsafe"}), Scan(("a.bin",))),
        (issues({"path": "a.bin", "level": "suspicious"}), Scan(("a.bin",))),
        (issues({"path": "not-fetched.bin", "level": "unsafe"}), Scan()),
        (
            issues({"path": "b.py", "level": "caution"}),
            Scan(notes=("the Hub's scan says caution of b.py",)),
        ),
        (issues({"path": "b.py"}), Scan(notes=("the Hub's scan says issue of b.py",))),
        (issues("a.bin", {"level": "unsafe"}, 7), Scan()),
        (issues({"path": ["a.bin"]}, {"path": {}}, {"path": None}), Scan()),
        (
            issues(done=False),
            Scan(notes=("the Hub has not finished its security scan of this repository",)),
        ),
    ],
)
def test_the_scan_is_read_for_the_files_that_would_be_fetched(status: object, scan: Scan):
    assert scan_of(status, FILES) == scan


def test_a_strangers_text_is_one_short_line():
    assert plain("a\nb\tc\x07") == "a b c?"
    assert len(plain("x" * 5000)) == 200
