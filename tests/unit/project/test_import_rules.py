from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert program
    return subprocess.run(
        [program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_one_module_alone_imports_hvac():
    importing = [
        path.name
        for path in sorted((ROOT / "vllm_flows").glob("*.py"))
        if re.search(r"^\s*(import|from) hvac\b", path.read_text(), re.MULTILINE)
    ]
    assert importing == ["vault_client.py"]


def test_the_library_cannot_import_prefect(tmp_path: Path):
    for package in ("vllm_flows", "tasks", "flows", "deployments", "cli", "sandbox"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "vllm_flows" / "sneaky.py").write_text("import prefect\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    assert "vllm_flows.sneaky -> prefect" in result.stdout
