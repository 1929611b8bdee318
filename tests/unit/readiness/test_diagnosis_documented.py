from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from vllm_flows.diagnosis_categories import NEXT_COMMANDS, Category

PAGE = Path(__file__).parents[3] / "docs" / "diagnosis.md"
ROW = re.compile(r"\| `(?P<category>[a-z-]+)` \| [^|]+ \| [^|]+ \| `(?P<command>[^`]+)` \|")


def shown(template: str) -> str:
    """Return a command as the page shows it: what is filled in stands in capitals."""
    names = set(re.findall(r"{(\w+)}", template))
    filled = {name: name.upper() for name in names} | {"previous": ""}
    return template.format_map(defaultdict(str, filled))


def test_the_page_has_the_tables_categories_and_commands_in_its_order():
    rows = [match.groups() for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))]
    assert rows == [(str(category), shown(NEXT_COMMANDS[category])) for category in Category]
