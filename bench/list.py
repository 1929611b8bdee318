"""What can be measured: `make bench NAME=x`."""

from __future__ import annotations

import ast
from pathlib import Path

for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
    words = ast.get_docstring(ast.parse(path.read_text())) or ""
    print(f"{path.stem:10} {words.splitlines()[0]}")
