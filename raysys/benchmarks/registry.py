"""Every benchmark by its name; the modules import what they measure, so they are imported when they are asked for."""

from collections.abc import Mapping

BENCHMARKS: Mapping[str, str] = {
    name: f"raysys.benchmarks.{name}"
    for name in (
        "startup",
        "orchestration",
        "search",
        "swfc",
        "multiemo",
        "extraction",
        "scale",
        "faults",
        "packing",
        "batches",
        "predict",
        "gpu",
    )
}
"""Name -> module, whose `measure` takes (console, temporary folder) and returns what is printed as one JSON object."""
ON_A_CORPUS = ("extraction", "packing", "batches", "predict")
"""Those whose `measure` takes a config before."""
