"""What a model costs: parameters, seconds an utterance on one core and on the GPU where it ran, peak memory."""

import copy
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from raysys.batches.batch import Part
from raysys.models.fitted import Fitted
from raysys.predictions import Predictions
from raysys.training.bundle import Bundle

_SAMPLE = 64
"""Utterances that are predicted on one core where a fold ran on a GPU."""
_GB = 1e9


class Meter:
    """Measures a fold while it is done.

    Args:
        device: of the fold.
    """

    def __init__(self, device: str) -> None:
        self._on_gpu = device.startswith("cuda")
        self._forgets = _forget_peak()
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()

    def predict(
        self, bundle: Bundle, part: Part, few: Callable[[int], Part]
    ) -> tuple[Predictions, dict[str, float]]:
        """Predictions of a part, and what the fold cost.

        Args:
            bundle: what was trained.
            part: to be predicted.
            few: a part of up to so many of its utterances, on the CPU.

        Returns:
            `parameters` that are trained; `seconds` an utterance of one core's time; `peak_gb` of the worker's memory,
            with libraries and features; on a GPU also `gpu_seconds` and `gpu_gb`.
        """
        with _clock(on_gpu=self._on_gpu) as spent:
            found = bundle.predict(part)
        cost = {
            "parameters": float(_parameters(bundle.model)),
            "seconds": spent[0] / len(part),
            "peak_gb": self._peak(),
        }
        if self._on_gpu:
            sample = few(_SAMPLE)
            cost["gpu_seconds"] = cost["seconds"]
            cost["gpu_gb"] = torch.cuda.max_memory_allocated() / _GB
            fitted = {name: value.cpu() for name, value in bundle.fitted.items()}
            here = replace(bundle, model=copy.deepcopy(bundle.model).cpu(), fitted=fitted)
            with _clock(on_gpu=False) as spent:
                here.predict(sample)
            cost["seconds"] = spent[0] / len(sample)
        return found, cost

    def _peak(self) -> float:
        """Highest resident memory since `_forget_peak`, or of the process' life where that is all that is known."""
        if self._forgets:
            status = Path("/proc/self/status").read_text(encoding="ascii")
            line = next(one for one in status.splitlines() if one.startswith("VmHWM"))
            return int(line.split()[1]) * 1024 / _GB
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GB


def _parameters(model: nn.Module) -> int:
    """Parameters that are trained; for a model that is fitted without epochs, all numbers that make it."""
    if isinstance(model, Fitted):
        return sum(one.numel() for one in model.buffers())
    return sum(one.numel() for one in model.parameters() if one.requires_grad)


@contextmanager
def _clock(*, on_gpu: bool) -> Iterator[list[float]]:
    """Seconds of one core's time, or of a clock where a GPU works."""
    spent: list[float] = []
    if on_gpu:
        torch.cuda.synchronize()
    now = time.perf_counter if on_gpu else time.process_time
    begun = now()
    yield spent
    if on_gpu:
        torch.cuda.synchronize()
    spent.append(now() - begun)


def _forget_peak() -> bool:
    """Have the kernel begin anew with the peak of this process' memory; whether it did."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
