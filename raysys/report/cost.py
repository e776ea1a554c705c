"""What models cost, for people: a line of one, a table of several side by side."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from raysys.encoders.cost import EncoderCost
from raysys.report.scores import Cost
from raysys.tasks.exhibits import Table
from raysys.training.records import FoldResult


def cost_of(
    folds: Sequence[FoldResult], encoders: Mapping[str, EncoderCost], modalities: Sequence[str]
) -> Cost | None:
    """Means over the folds, peaks of all; None of folds that an earlier raysys trained.

    Args:
        folds: of one configuration.
        encoders: modality -> what its encoder costs.
        modalities: that the model reads.
    """
    if not all(fold.cost for fold in folds):
        return None
    own = [encoders[m] for m in modalities if m in encoders]
    seconds, before = _mean(folds, "seconds"), sum(one.seconds for one in own)
    audio = encoders["audio"].audio_seconds if "audio" in modalities and own else math.nan
    return Cost(
        parameters=int(folds[0].cost["parameters"]),
        encoder_parameters=sum(one.parameters for one in own),
        seconds=seconds,
        encoder_seconds=before,
        real_time=seconds / audio,
        real_time_with_encoders=(seconds + before) / audio,
        peak_gb=max(fold.cost["peak_gb"] for fold in folds),
        gpu_seconds=_mean(folds, "gpu_seconds"),
        gpu_gb=max(fold.cost.get("gpu_gb", math.nan) for fold in folds),
    )


def _mean(folds: Sequence[FoldResult], name: str) -> float:
    return float(np.mean([fold.cost.get(name, math.nan) for fold in folds]))


def cost_line(cost: Cost) -> str:
    """The cost of one model as a line."""
    parts = [
        f"{count(cost.parameters)} parameters"
        + (
            f" (and {count(cost.encoder_parameters)} of encoders)"
            if cost.encoder_parameters
            else ""
        ),
        f"an utterance takes {milliseconds(cost.seconds)} on one core, "
        f"{milliseconds(cost.seconds + cost.encoder_seconds)} with its encoders"
        + (
            f" ({cost.real_time:.2g} and {cost.real_time_with_encoders:.2g} of its length)"
            if cost.real_time == cost.real_time
            else ""
        ),
        f"peak memory {cost.peak_gb:.1f} GB",
    ]
    if cost.gpu_seconds == cost.gpu_seconds:
        parts.append(f"on the GPU {milliseconds(cost.gpu_seconds)}, {cost.gpu_gb:.1f} GB")
    return f"cost         {'; '.join(parts)}"


def cost_table(costs: Mapping[str, Cost]) -> Table:
    """The costs of several models as a table.

    Args:
        costs: name -> cost.
    """
    heads = ("", "parameters", "of encoders", "an utterance", "with encoders", "real time", "GB")
    rows = [
        (
            name,
            count(one.parameters),
            count(one.encoder_parameters),
            milliseconds(one.seconds),
            milliseconds(one.seconds + one.encoder_seconds),
            "-" if math.isnan(one.real_time) else f"{one.real_time_with_encoders:.2g}",
            f"{one.peak_gb:.1f}",
        )
        for name, one in costs.items()
    ]
    note = "Time of one core; real time: with encoders, as a share of the audio's length; GB: peak of a worker."
    return Table("cost", heads, rows, note=note)


def cost_figures(cost: Cost | None) -> dict[str, float]:
    """Figures of the cost by their names in MLflow; empty without a cost."""
    return {f"usage/{name}": float(value) for name, value in vars(cost).items()} if cost else {}


def count(number: int) -> str:
    """A number of parameters as people say it."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def milliseconds(seconds: float) -> str:
    """Seconds as people say it; a dash for what is not known."""
    return "-" if math.isnan(seconds) else f"{1000 * seconds:.3g} ms"
