"""One family of errors for the conditions that a user can meet and fix.

A message names the thing, the rule that it broke and the remedy, in one line. Jobs print it and exit with
status 2; anything outside this family is a fault of raysys and keeps its traceback.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

_FEW = 20


class RaysysError(Exception):
    """A condition outside the code: input, settings or resources that do not fit."""


class ConfigError(RaysysError):
    """A setting is unknown, out of range, or contradicts another."""


class CorpusError(RaysysError):
    """A corpus is missing, unreadable, or breaks a rule of its format."""


class FeatureError(RaysysError):
    """An encoder cannot be loaded, or a feature store is damaged or holds values that are not numbers."""


class LeakError(RaysysError):
    """The folds would let a group of the test part into training."""


class PoolError(RaysysError):
    """The fold pool cannot start or has lost its workers."""


class HeadLostError(PoolError):
    """The cluster's head is gone, and with it all that Ray would need to wind up."""


class GpuError(RaysysError):
    """A GPU that is asked for cannot be used."""


class GpuLostError(GpuError):
    """An error has left CUDA unusable in this process; another process may go on."""


class FoldFailedError(RaysysError):
    """A fold did not end with a result: it raised, diverged, or lost its worker too often."""


class TrackingError(RaysysError):
    """MLflow does not answer, or holds no such run or artifact."""


class StorageError(RaysysError):
    """A run folder or file cannot be read or written."""


class DamagedError(StorageError):
    """A stored file is not what was written; whoever reads it does its content again, or says how."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the closest known one, or all of them when they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(names)}" if len(names) <= _FEW else "see --help"


def lookup(registry: Mapping[str, T], name: str, *, kind: str) -> T:
    """The entry of a registry.

    Raises:
        ConfigError: no such entry; the message names the closest one.
    """
    if name not in registry:
        raise ConfigError(f"unknown {kind} '{name}': {nearest(name, registry)}")
    return registry[name]
