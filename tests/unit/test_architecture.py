"""The tree: imports point one way, Ray and MLflow have their rooms, jobs are thin."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = [
    {"errors"}, {"config"}, {"storage", "commandline"}, {"corpus"}, {"features"}, {"models"},
    {"losses", "similarity", "balance"}, {"training"}, {"report"}, {"tracking"},
    {"cluster"}, {"search"}, {"benchmarks"},
]  # fmt: skip
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
MODULES = sorted((ROOT / "raysys").rglob("*.py"))
JOBS = sorted(path for path in (ROOT / "jobs").glob("*.py") if path.name != "__init__.py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path}"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT / "raysys").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way_and_frameworks_stay_in_their_rooms(path: Path):
    here = room(path)
    names = imports(path)
    roots = {name.split(".")[0] for name in names}
    if here != "__init__":
        for name in names:
            parts = name.split(".")
            if parts[0] == "raysys" and len(parts) > 1 and parts[1] in LEVEL:
                same = parts[1] == here
                assert same or LEVEL[parts[1]] < LEVEL[here], f"{here} must not import {name}"
    assert "ray" not in roots or here in ("cluster", "search", "benchmarks")
    assert "mlflow" not in roots or here == "tracking"
    if here in ("similarity", "balance"):
        assert not roots & {"torch", "ray"}
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.name)
def test_a_job_is_one_thin_main(path: Path):
    tree = ast.parse(path.read_text())
    assert len(path.read_text().splitlines()) <= 100
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["main"]
