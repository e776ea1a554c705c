"""Every setting of raysys as its source says it, without importing what it sets: torch and Ray take seconds.

    raysys/config/__init__.py -> class Config -> its groups, wherever they are imported from -> Setting, Group

`--help` and unknown names are answered from here. What a setting accepts is checked later, by the class itself.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from raysys.errors import nearest

MOVED: Mapping[str, str] = {
    "features.audio_transformers.tune_layers": "features.audio_transformers.finetune_layers",
    "features.transformers.tune_layers": "features.transformers.finetune_layers",
    "loss.untaught": "loss.left_out",
}
"""Dotted name that a setting once had -> its name now, with the same values: stored configs are read by it."""
RENAMED: Mapping[str, str] = {
    **MOVED,
    "ablation.seeds": "training.seeds",
    "features.transformers.layer": "features.transformers.layers",
}
"""Dotted name that a setting once had -> the one that it has now. Whoever renames a setting adds a line."""
_GUESSES = (
    "search.num_trials",
    "training.max_epochs",
    "training.seeds",
    "training.batch_size",
    "training.learning_rate",
    "folds.n_splits",
    "cluster.workers",
    "storage.runs",
    "corpus.root",
    "model.name",
    "model.modalities",
)
"""Settings whose last word people try alone, as in --trials."""
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Setting:
    """One flag."""

    name: str
    """Dotted, as in `training.batch_size`."""
    accepts: str
    """For people: number, whole number, text, true or false, one of a list, or a list or map of these."""
    default: str
    """As a preset would have it."""
    meaning: str


@dataclass(frozen=True)
class Group:
    """Settings of one concern."""

    name: str
    meaning: str


@cache
def catalogue() -> Mapping[str, Setting | Group]:
    """Dotted name -> what it is, in the order of the classes; a group comes before its settings."""
    return {one.name: one for one in _entries(_Class("raysys.config", "Config"), "")}


def unknown(name: str, known: Iterable[str]) -> str:
    """What is said of a setting that there is not: its new name, or the closest one."""
    if name in RENAMED:
        return f"the setting '{name}' is now called '{RENAMED[name]}'"
    known = list(known)
    ends = [one for one in _GUESSES if name in one.rpartition(".")[2].split("_")]
    if "." not in name and ends:
        return f"unknown setting '{name}': did you mean '{ends[0]}'?"
    return f"unknown setting '{name}': {nearest(name, known)}"


@dataclass(frozen=True)
class _Class:
    """A class of settings in the module that defines it."""

    module: str
    name: str

    @property
    def node(self) -> ast.ClassDef:
        return next(
            node
            for node in _parsed(self.module).body
            if isinstance(node, ast.ClassDef) and node.name == self.name
        )

    def bases(self) -> list["_Class"]:
        """Those of ours."""
        found = (_resolve(self.module, ast.unparse(base)) for base in self.node.bases)
        return [one for one in found if isinstance(one, _Class)]

    def fields(self) -> dict[str, tuple[str, ast.AnnAssign, str]]:
        """Name -> (module, definition, docstring) of own and inherited fields, in the order of `dataclasses`."""
        found: dict[str, tuple[str, ast.AnnAssign, str]] = {}
        for base in reversed(self.bases()):
            found |= base.fields()
        body = self.node.body
        for line, after in zip(body, [*body[1:], ast.Pass()], strict=True):
            if not isinstance(line, ast.AnnAssign) or "ClassVar" in ast.unparse(line.annotation):
                continue
            found[ast.unparse(line.target)] = (self.module, line, _text(after))
        return found


def _entries(kind: _Class, prefix: str) -> Iterator[Setting | Group]:
    for own, (module, line, meaning) in kind.fields().items():
        group = _resolve(module, ast.unparse(line.annotation))
        if isinstance(group, _Class):
            yield Group(prefix + own, meaning)
            yield from _entries(group, f"{prefix}{own}.")
        else:
            yield Setting(prefix + own, _accepts(module, line.annotation), _default(line), meaning)


def _text(node: ast.AST) -> str:
    """A string that stands alone, as a docstring does, in one line."""
    value = getattr(node, "value", None)
    is_text = isinstance(node, ast.Expr) and isinstance(value, ast.Constant)
    return " ".join(str(value.value).split()) if is_text and value is not None else ""


def _accepts(module: str, annotation: ast.expr) -> str:
    """The values of an annotation, in words."""
    plain = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false"}
    if isinstance(annotation, ast.Name):
        if annotation.id in plain:
            return plain[annotation.id]
        meant = _resolve(module, annotation.id)
        return _accepts(*meant) if isinstance(meant, tuple) else "map"
    if isinstance(annotation, ast.BinOp):
        return f"{_accepts(module, annotation.left)} or {_accepts(module, annotation.right)}"
    if isinstance(annotation, ast.Subscript):
        outer, inner = ast.unparse(annotation.value), annotation.slice
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if outer == "Literal":
            return " | ".join(str(ast.literal_eval(part)) for part in parts)
        if outer == "tuple":
            return f"list of {_accepts(module, parts[0])}"
    return "map"


def _default(line: ast.AnnAssign) -> str:
    """As YAML has it."""
    if isinstance(line.value, ast.Call):
        return "{}"
    value: Any = ast.literal_eval(line.value) if line.value else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value) if value != "" else "empty"


def _resolve(module: str, name: str) -> "_Class | tuple[str, ast.expr] | None":
    """What a name in a module stands for: a class of ours, or (module, expression); None for what is not ours."""
    for node in _parsed(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _Class(module, name)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return module, node.value
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("raysys"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _resolve(str(node.module), alias.name)
    return None


@cache
def _parsed(module: str) -> ast.Module:
    place = _ROOT / module.replace(".", "/")
    file = place.with_suffix(".py")
    return ast.parse((file if file.is_file() else place / "__init__.py").read_text("utf-8"))
