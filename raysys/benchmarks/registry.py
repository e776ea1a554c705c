"""Every benchmark by its name."""

from collections.abc import Callable, Mapping
from typing import Any

from raysys.benchmarks import (
    extraction,
    faults,
    multiemo,
    orchestration,
    packing,
    scale,
    search,
    swfc,
)

BENCHMARKS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "orchestration": orchestration.measure,
    "search": search.measure,
    "swfc": swfc.measure,
    "multiemo": multiemo.measure,
    "extraction": extraction.measure,
    "scale": scale.measure,
    "faults": faults.measure,
    "packing": packing.measure,
}
"""Name -> measurement of (console, temporary folder); what it returns is printed as one JSON object."""
ON_A_CORPUS = ("extraction", "packing")
"""Those whose first argument is a config."""
