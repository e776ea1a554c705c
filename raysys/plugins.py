"""Models, encoders and corpora of a user's own package, besides those that are registered here.

    package.module:Name       wherever a model, an encoder or a corpus is named (--model.name, --features.audio, ...)
    name                      of an entry point in the group raysys.models, raysys.encoders or raysys.corpora

A plug-in's settings are given in the group's `options`. It must be importable on every node: as a package that is
installed there, or as a module in the folder that the job uploads.
"""

import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from raysys.errors import ConfigError, RaysysError, nearest
from raysys.settings import from_dict

T = TypeVar("T")


class PlugIns(Mapping[str, T]):
    """What is registered by name, and whatever else can be imported.

    Args:
        known: registered ones; those alone are listed.
        group: of entry points, such as `raysys.models`.
        base: class of which an imported one must be; None: it must be callable.
    """

    def __init__(self, known: Mapping[str, T], group: str, base: type | None = None) -> None:
        self._known, self._group, self._base = known, group, base

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: object) -> bool:
        return name in self._known or bool(place_of(str(name), self._group))

    def __getitem__(self, name: str) -> T:
        if name in self._known:
            return self._known[name]
        place = place_of(name, self._group)
        if not place:
            raise KeyError(name)
        return _imported(name, place, self._base)


@contextmanager
def blamed(name: str, kind: type[RaysysError]) -> Iterator[None]:
    """Whatever a plug-in's code raises inside is said in a line, with the place in its own file.

    Args:
        name: of the plug-in.
        kind: of the error that is raised in its place; errors of raysys stay as they are.
    """
    try:
        yield
    except RaysysError:
        raise
    except Exception as error:  # it is somebody else's code
        own = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
        steps = traceback.extract_tb(error.__traceback__)
        last = next((one for one in reversed(steps) if one.filename == own), steps[-1])
        where = f"{Path(last.filename).name}, line {last.lineno}"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise kind(
            f"plug-in '{name}' failed: {reason} ({where}); --debug shows its traceback"
        ) from error


def configured(kind: type[T], options: Mapping[str, Any], setting: str) -> T:
    """The settings of a plug-in.

    Args:
        kind: class of them.
        options: as a preset or flags have them.
        setting: dotted name of the options, for messages.

    Raises:
        ConfigError: they are not those of the class.
    """
    try:
        return from_dict(kind, options)
    except ConfigError as error:
        raise ConfigError(f"{setting}: {error}") from error


def place_of(name: str, group: str) -> str:
    """`package.module:Name` of a plug-in; empty where there is none of that name.

    Args:
        name: such a place itself, or that of an entry point.
        group: of entry points.
    """
    return name if all(name.partition(":")) else _entry_points(group).get(name, "")


def sources_of(place: str) -> tuple[Path, ...]:
    """Files that decide what a plug-in does: its module, or all modules of the package that it is in.

    Args:
        place: see `place_of`.

    Raises:
        ConfigError: it cannot be imported.
    """
    file = inspect.getsourcefile(_module(place, place))
    if not file:
        return ()
    above = place.partition(":")[0].count(".")
    return tuple(sorted(Path(file).parents[above - 1].rglob("*.py"))) if above else (Path(file),)


@cache
def _entry_points(group: str) -> dict[str, str]:
    return {one.name: one.value for one in entry_points(group=group)}


def _module(name: str, place: str) -> Any:
    module = place.partition(":")[0]
    if "" not in sys.path:  # a console script does not look where it is started
        sys.path.append("")
    with blamed(place, ConfigError):
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            own = module == error.name or module.startswith(f"{error.name}.")
            remedy = "install its package, or start where its module is" if own else "install that"
            raise ConfigError(f"plug-in '{name}': {error}: {remedy}") from error


def _imported(name: str, place: str, base: type | None) -> Any:
    module, _, own = place.partition(":")
    there = _module(name, place)
    found = getattr(there, own, None)
    if found is None:
        known = [one for one in vars(there) if not one.startswith("_")]
        raise ConfigError(f"plug-in '{name}': {module} has no {own}: {nearest(own, known)}")
    fits = callable(found) if base is None else isinstance(found, type) and issubclass(found, base)
    if not fits:
        wanted = (
            "a function" if base is None else f"a subclass of {base.__module__}.{base.__name__}"
        )
        raise ConfigError(
            f"plug-in '{name}' is a {type(found).__name__}, but must be {wanted}, written package.module:Name"
        )
    return found
