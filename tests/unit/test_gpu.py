"""What is said of a GPU, and what its errors come to, as far as a machine without one can tell; with one: tests/gpu."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from raysys import gpu
from raysys.benchmarks.gpu import _TASK as BENCHMARK_TASK
from raysys.benchmarks.gpu import Case, _config, make_part
from raysys.cluster.gpus import folds_a_gpu
from raysys.config import Config
from raysys.config.running import ClusterConfig
from raysys.errors import ConfigError, FoldFailedError, GpuError, GpuLostError
from raysys.models.bimodal_attention import BimodalAttentionConfig
from raysys.models.cltnet import CltnetConfig
from raysys.models.mat import MatConfig
from raysys.models.mcsan import McsanConfig
from raysys.models.multiemo import MultiemoConfig
from raysys.models.output import ModelOutput
from raysys.models.probe import Probe, ProbeConfig
from raysys.models.speechtext import SpeechtextConfig
from raysys.running.gpu_share import share_of
from raysys.running.plan import deciding
from raysys.settings import replaced
from raysys.training.arithmetic import settle
from raysys.training.fold import make_learner, run_fold
from raysys.training.memory import FoldMemory, measure_memory
from tests.conftest import with_training
from tests.unit.test_training import arrays, go_on, task

without = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
FAULTS: dict[str, Callable[[], Exception]] = {
    "memory": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "assert": lambda: torch.AcceleratorError("CUDA error: device-side assert triggered"),
    "library": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    "own": lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
}
"""Errors as PyTorch raises them."""
SMALL: dict[str, dict[str, Any]] = {
    "cltnet": {"model.cltnet": CltnetConfig(channels=6, text_dim=6, dim=6, layers=1, heads=2)},
    "multiemo": {
        "model.multiemo": MultiemoConfig(dim=6, state=6, layers=1, heads=2, feedforward=8)
    },
    "bimodal_attention": {
        "model.bimodal_attention": BimodalAttentionConfig(dim=6, heads=2, feedforward=8)
    },
    "speechtext": {"model.speechtext": SpeechtextConfig(hidden=6)},
    "mat": {"model.mat": MatConfig(hidden=6, heads=2, feedforward=8, layers=1)},
    "mcsan": {"model.mcsan": McsanConfig(dim=6, heads=2, feedforward=8)},
}
"""Models of two modalities."""


@dataclass(frozen=True)
class FaultyConfig(ProbeConfig):
    """A probe whose forward raises at some of its calls."""

    faults: ClassVar[list[str]] = []
    """What the next calls raise; empty for none."""

    def build(self, modalities: Any, *, dims: Any, n_outputs: int) -> "Faulty":
        return Faulty(self, modalities, dims=dims, n_outputs=n_outputs)


class Faulty(Probe):
    def forward(self, modalities: Any, layout: Any) -> ModelOutput:
        if FaultyConfig.faults and (fault := FaultyConfig.faults.pop(0)):
            raise FAULTS[fault]()
        return super().forward(modalities, layout)


def faulty(small: Config, faults: list[str]) -> Config:
    FaultyConfig.faults[:] = faults
    named = {"model.name": f"{__name__}:FaultyConfig", "model.modalities": ("audio", "text")}
    return with_training(replaced(small, named), max_epochs=3)


def test_a_fold_without_memory_goes_on_with_streamed_frames_to_the_same_numbers(
    small: Config, tmp_path: Path
):
    whole = run_fold(task(faulty(small, []), tmp_path / "whole"), arrays(), go_on)
    calls = [""] * 3 + ["memory"]
    epochs: list[int] = []

    def on_epoch(record: Any) -> bool:
        epochs.append(record.epoch)
        return True

    again = run_fold(task(faulty(small, calls), tmp_path / "again"), arrays(), on_epoch)
    assert FaultyConfig.faults == []
    assert again.val == whole.val
    for name in ("test_probabilities.npy", "test_embeddings.npy"):
        one, other = (np.load(tmp_path / run / name) for run in ("whole", "again"))
        np.testing.assert_array_equal(one, other)
    assert epochs[-1] == 3


def test_a_fold_that_has_too_little_memory_twice_says_what_to_set(small: Config, tmp_path: Path):
    config = faulty(small, ["memory", "memory"])
    with pytest.raises(FoldFailedError, match=r"too little memory.*Tried to allocate.*batch_size"):
        run_fold(task(config, tmp_path), arrays(), go_on)


@pytest.mark.parametrize("fault", ["assert", "library"])
def test_an_error_that_spoils_cuda_is_told_apart(fault: str, small: Config, tmp_path: Path):
    with pytest.raises(GpuLostError, match="cannot be used any more"):
        run_fold(task(faulty(small, [fault]), tmp_path), arrays(), go_on)


def test_an_error_of_a_model_stays_its_own(small: Config, tmp_path: Path):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run_fold(task(faulty(small, ["own"]), tmp_path), arrays(), go_on)


@without
def test_a_gpu_that_is_asked_for_and_cannot_be_used_is_one_line_with_the_reason(small: Config):
    for settings in ({"cluster.gpus_per_fold": 0.5}, {"training.device": "cuda"}):
        with pytest.raises(GpuError, match=r"asks for a GPU that cannot be used: .*driver"):
            settle(replaced(small, settings))
    assert settle(small) == "cpu"
    assert (
        settle(replaced(small, {"training.device": "cpu", "cluster.gpus_per_fold": 1.0})) == "cpu"
    )


@pytest.mark.parametrize("share", [-0.1, 1.5, 2.0])
def test_a_fold_uses_one_gpu(share: float):
    with pytest.raises(ConfigError, match="since a fold uses one GPU"):
        ClusterConfig(gpus_per_fold=share)


def test_shares_of_a_gpu_leave_room_for_the_processes_and_the_driver():
    total = 80.0
    for count in (2, 5, 8):
        share = gpu.memory_share(1 / count, total)
        contexts = (count + 1) * gpu._CONTEXT_GB
        assert share * total * count + contexts <= total + 1e-9
        assert share > 0
    assert gpu.memory_share(0.01, 4.0) > 0
    assert gpu.shares_that_fit(10.0, total) == 7
    assert gpu.shares_that_fit(200.0, total) == 1


def test_a_fold_gets_the_nth_of_a_gpu_on_which_n_have_memory_and_cpus():
    nodes = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 64.0}, {"CPU": 4.0, "GPU": 1.0}]
    assert folds_a_gpu(nodes, 1.0) == 8
    assert folds_a_gpu(nodes, 3.0) == 2
    assert folds_a_gpu([{"CPU": 8.0}], 1.0) == folds_a_gpu(nodes, 20.0) == 1
    for fold_gb in (1.0, 8.0, 30.0, 79.0, 200.0):
        share = share_of(FoldMemory(fold_gb, 80.0, "a GPU"), most=100)
        fits = 80 * gpu.memory_share(share, 80.0)
        assert fits >= fold_gb or share == 1
    assert share_of(FoldMemory(1.0, 80.0, "a GPU"), most=3) == pytest.approx(1 / 3)
    assert share_of(FoldMemory(1.0, 80.0, "a GPU"), most=3, together=5) == pytest.approx(1 / 15)
    assert share_of(FoldMemory(9.0, 80.0, "a GPU"), most=9, together=3) == pytest.approx(1 / 6)
    with pytest.raises(ConfigError, match=r"no more than 2 such folds fit on a GPU: set it to 2"):
        share_of(FoldMemory(30.0, 80.0, "a GPU"), most=3, together=5)


def test_memory_is_that_of_a_fold_alone_whatever_is_trained_together(small: Config):
    sizes = MultiemoConfig(dim=6, state=6, layers=1, heads=2, feedforward=8)
    more = {"model.name": "multiemo", "model.multiemo": sizes, "training.together": 5}
    config = replaced(small, {**more, "cluster.gpus_per_fold": "auto"})
    if gpu.why_not():
        with pytest.raises(GpuError, match="cannot be used"):
            measure_memory(config, arrays(), None)
    else:
        assert measure_memory(config, arrays(), None).fold_gb > 0


def test_any_share_of_a_gpu_gives_the_same_result(small: Config):
    shares = ("auto", 0.0, 0.25, 1.0)
    decided = [deciding(replaced(small, {"cluster.gpus_per_fold": share})) for share in shares]
    assert decided[0] == decided[1] == deciding(small)
    assert decided[2] == decided[3] != decided[0]


@without
def test_memory_cannot_be_measured_without_a_gpu(small: Config):
    with pytest.raises(GpuError, match="asks for a GPU that cannot be used"):
        measure_memory(small, arrays(), None)


class Waits(TorchDispatchMode):
    """Notes what a GPU would have to be waited for: numbers that come to the CPU, and sizes that depend on values."""

    ALWAYS: ClassVar = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        indices = args[1] if name.startswith(("index", "_index")) and len(args) > 1 else ()
        by_mask = [
            one for one in indices if isinstance(one, torch.Tensor) and one.dtype == torch.bool
        ] if isinstance(indices, list | tuple) else []  # fmt: skip
        if name in self.ALWAYS or by_mask:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", SMALL)
def test_a_training_step_does_not_wait_for_the_gpu(name: str):
    """Forward, losses and backward of a batch, here on the CPU, where what would wait can be counted."""
    case = Case(
        {"model.name": name, **SMALL[name], "loss.mu1": 0.2, "loss.mu2": 0.1, "loss.omega": 0.0},
        {"audio": (9, 6), "text": (5, 4)},
        3,
        turns=(2, 4) if name == "multiemo" else None,
    )
    config = _config(case, "cpu")
    part = make_part(case, 2, "cpu")
    learner = make_learner(config, BENCHMARK_TASK, fold=0, train=part, prior=None, tops={})
    for batch in part.batches(3, dialogues=name == "multiemo"):
        with Waits() as waits:
            output = learner.model(batch.modalities, batch.layout)
            learner.objective(output, batch).backward()
        assert waits.found == []
