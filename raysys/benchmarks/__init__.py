"""Measurements side by side in one run; `python -m jobs.benchmark NAME` prints one."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from raysys.benchmarks import multiemo, orchestration, search, swfc
from raysys.storage import Folder

BENCHMARKS: Mapping[str, Callable[[Console, Folder], dict[str, Any]]] = {
    "orchestration": orchestration.measure,
    "search": search.measure,
    "swfc": swfc.measure,
    "multiemo": multiemo.measure,
}
"""Name -> measurement; what it returns is printed as one JSON object."""
