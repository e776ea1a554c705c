"""The tree: imports point one way, Ray and MLflow have their rooms, plug-ins are one module each, jobs are thin."""

import ast
import re
import subprocess
import sys
from collections import deque
from functools import cache
from pathlib import Path

import pytest

from raysys.corpus import READERS
from raysys.encoders import FeaturesConfig
from raysys.losses import LossConfig
from raysys.models import model_names
from raysys.settings import groups_with
from raysys.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
ORDER = [
    {"errors", "background", "presets"}, {"catalogue", "object_storage"}, {"settings", "storage", "help"},
    {"sealed", "plugins", "gpu"}, {"predictions"},
    {"corpus", "balance", "similarity"}, {"encoders"}, {"batches"}, {"models"}, {"losses"}, {"tasks"}, {"config"},
    {"training", "commandline"}, {"trials"}, {"report"}, {"tracking", "cluster"}, {"search"}, {"predicting"},
    {"running"}, {"commands"},
    {"benchmarks", "api", "contracts"},
]  # fmt: skip
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
MODULES = sorted((ROOT / "raysys").rglob("*.py"))
JOBS = sorted(path for path in (ROOT / "jobs").glob("*.py") if path.name != "__init__.py")


@cache
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


def file_of(module: str) -> Path | None:
    """Of a dotted name, where it is a module of ours."""
    path = ROOT / module.replace(".", "/")
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


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
    if here in ("similarity", "balance", "predictions"):
        assert not roots & {"torch", "ray"}
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
    assert len(path.read_text().splitlines()) <= 400


def test_no_module_imports_itself_by_a_detour():
    graph = {
        path: {found for name in imports(path) if (found := file_of(name)) and found != path}
        for path in MODULES
    }
    for path in MODULES:
        packages = {parent / "__init__.py" for parent in path.parents}
        graph[path] -= packages  # a package's own members are imported by it
    done: set[Path] = set()

    def visit(path: Path, above: tuple[Path, ...]) -> None:
        assert path not in above, " -> ".join(str(p.relative_to(ROOT)) for p in (*above, path))
        if path not in done:
            for other in graph[path]:
                visit(other, (*above, path))
            done.add(path)

    for path in MODULES:
        visit(path, ())


def test_from_the_job_to_the_equation_is_a_short_way():
    start, goal = ROOT / "jobs/cross_validate.py", ROOT / "raysys/losses/classification.py"
    steps, waiting = {start: 1}, deque([start])
    while goal not in steps:
        path = waiting.popleft()
        for name in sorted(imports(path)):
            found = file_of(name)
            if found is not None and found not in steps:
                steps[found] = steps[path] + 1
                waiting.append(found)
    assert steps[goal] <= 5


TRAVELS = {
    "jobs/cross_validate.py": "cross_validate(",
    "raysys/commands/cross_validate.py": "runner.run(",
    "raysys/running/runner.py": "pool.submit(",
    "raysys/cluster/pool.py": "queue.submit.remote(",
    "raysys/cluster/queue.py": "ticket",
    "raysys/training/fold.py": "objective(",
    "raysys/losses/objective.py": "self.main(output, batch)",
    "raysys/losses/classification.py": "kl_div(",
}
"""Files that a fold's task passes through, and where it leaves each."""


def test_a_task_travels_through_eight_files():
    assert len(TRAVELS) == 8
    for file, word in TRAVELS.items():
        assert word in (ROOT / file).read_text(), f"{file} no longer passes it on"


PLUG_INS = {
    "corpus": {name: reader.__module__ for name, reader in READERS.items()},
    "encoders": {n: k.__module__ for n, k in groups_with(FeaturesConfig, "modalities").items()},
    "models": {name: kind.__module__ for name, kind in model_names().items()},
    "losses": {kind.__name__: kind.__module__ for kind in LossConfig.__bases__},
    "tasks": {name: kind.__module__ for name, kind in TASKS.items()},
}


@pytest.mark.parametrize("where", PLUG_INS)
def test_a_plug_in_is_one_module_that_only_its_registry_knows(where: str):
    registry = ROOT / "raysys" / where / "__init__.py"
    modules = PLUG_INS[where].values()
    assert len(set(modules)) == len(PLUG_INS[where]) >= 2
    for module in modules:
        own = file_of(module)
        assert own is not None
        assert own.parent == registry.parent
        knowing = {
            path for path in MODULES if module in imports(path) and room(path) != "benchmarks"
        }
        shared = (
            set((ROOT / "raysys/tasks").glob("*.py")) if where == "losses" else set()
        )  # main losses
        shared |= (
            {registry.with_name("demo.py")} if where == "corpus" else set()
        )  # it writes a manifest
        assert registry in knowing
        assert knowing <= {registry, *shared}, f"{module} is known to {knowing - {registry}}"


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.name)
def test_a_job_is_one_thin_main(path: Path):
    tree = ast.parse(path.read_text())
    assert len(path.read_text().splitlines()) <= 100
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["main"]


def test_what_ray_s_own_processes_import_is_light():
    """Controllers, queue and aggregation actor are processes each: torch would cost them seconds and 500 MB."""
    program = (
        "import sys, raysys.cluster.worker, raysys.cluster.queue, raysys.cluster.aggregator, "
        "raysys.similarity.matrix, raysys.predictions; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n", done.stderr


@cache
def spoken(path: Path) -> set[str]:
    """Words of a module's code: names, parts of our imports, and of strings that are no docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [
                line
                for line in body
                if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(re.findall(r"\w+", node.value))
        found |= {getattr(node, key, None) or "" for key in ("id", "attr", "arg")}
    ours = [name for name in imports(path) if name.split(".")[0] in ("raysys", "jobs")]
    return found | {part for name in ours for part in name.split(".")}


@pytest.mark.parametrize("name", model_names())
def test_a_model_is_one_module_its_settings_and_one_line(name: str):
    own = {ROOT / "raysys" / "models" / f"{name}.py", ROOT / "raysys" / "models" / "__init__.py"}
    assert (ROOT / "raysys" / "models" / f"{name}.py").is_file()
    outside = [path for path in MODULES if path not in own and room(path) != "benchmarks"]
    assert [str(path) for path in [*outside, *JOBS] if name in spoken(path)] == []
