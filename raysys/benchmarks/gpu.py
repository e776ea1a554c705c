"""What training and encoding make of a GPU, without Ray: ratios of things that are measured side by side in one run.

    a step of each model at its published sizes      seconds; its arithmetic as a share of the card's matrix speed
    five folds                                       one after another; in five processes; in five threads with streams;
                                                     together in one process, where the model can
    a step on one batch                              as it is, through torch.compile, as a CUDA graph
    DialogueRNN of five folds                        one after another, as streams of one
    Whisper and a text model of BERT's size          raysys, a hand-written loop

What cannot be measured on a machine is named with the reason, and the rest goes on.
"""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from rich.console import Console

from raysys import gpu
from raysys.batches.batch import Batch, Part, Turns
from raysys.benchmarks.gpu_encoders import EncoderSizes, measure_encoders
from raysys.benchmarks.speed import finish, gflop_of, matrix_gflops, seconds_of
from raysys.config import Config
from raysys.models.dialogue_rnn import DialogueRnn
from raysys.settings import replaced
from raysys.storage import Folder
from raysys.tasks.classification import Classification
from raysys.together import seated
from raysys.training.arithmetic import settled
from raysys.training.epoch import Learner, train_epoch
from raysys.training.fold import make_learner

_TASK = Classification(("anger", "happiness", "neutral", "sadness"))
_FOLDS = 5
_PATIENCE = 90
"""Seconds for a process that compiles, or captures a graph."""


@dataclass(frozen=True)
class Case:
    """A model and random batches of the kind that it is published with."""

    settings: Mapping[str, Any]
    """Settings of the config that differ from the defaults."""
    frames: Mapping[str, tuple[int, int]]
    """Modality -> frames of an utterance at most (a third of them at least), and their width."""
    batch_size: int
    """Utterances, or dialogues."""
    turns: tuple[int, int] | None = None
    """Utterances of a dialogue, at least and at most; None: utterances by themselves."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    cases: Mapping[str, Case]
    steps: int
    """Batches of an epoch."""
    rnn: tuple[int, int, int, int] = (6, 64, 50, 256)
    """Streams, dialogues, turns and width of a DialogueRNN."""
    matrix: int = 8192
    encoders: EncoderSizes = field(default_factory=EncoderSizes)


PUBLISHED = Sizes(
    {
        "cltnet": Case({"model.name": "cltnet"}, {"audio": (400, 80), "text": (40, 768)}, 16),
        "bimodal_attention": Case(
            {"model.name": "bimodal_attention"}, {"audio": (100, 768), "text": (40, 768)}, 32
        ),
        "multiemo": Case(
            {
                "model.name": "multiemo",
                "model.multiemo.context": ("audio", "text", "video"),
                "loss.mu1": 0.4,
                "loss.mu2": 0.4,
            },
            {"text": (1, 768), "audio": (1, 512), "video": (1, 1000)},
            64,
            turns=(30, 50),
        ),
    },
    steps=8,
)
"""Liang et al. 2023; Elabd & Jaf 2024; Shi & Huang 2023, whose batches hold about 2,600 utterances."""


def measure(console: Console, folder: Folder) -> dict[str, Any]:
    """Measure all of it on the GPU of this machine.

    Args:
        console: for progress.
        folder: for models and recordings that are made up.

    Returns:
        See `measure_on`; the reason where there is no GPU.
    """
    if reason := gpu.why_not():
        return {"skipped": reason}
    found = measure_on("cuda", PUBLISHED, console, folder)
    return {"gpu": torch.cuda.get_device_name(), "memory_gb": gpu.memory_gb(), **found}


def measure_on(device: str, sizes: Sizes, console: Console, folder: Folder) -> dict[str, Any]:
    """Measure on a device.

    Args:
        device: cuda, or cpu.
        sizes: of what is measured.
        console: for progress.
        folder: for models and recordings that are made up.

    Returns:
        `matrix_gflop_per_second`; by model `step` (seconds, share_of_matrix_speed), `folds` (seconds of five one after
        another; how many times faster they are in `processes`, in `threads` and `together`) and `on_one_batch` (times
        faster by `compile` and by `graph`); `stacked`: DialogueRNN of five folds as one, times faster; `extraction`:
        see `measure_encoders`. In the place of a figure there may be the reason why there is none.
    """
    found: dict[str, Any] = {}
    with settled(_config(next(iter(sizes.cases.values())), device)):
        speed = found["matrix_gflop_per_second"] = matrix_gflops(device, sizes.matrix)
        for name, case in sizes.cases.items():
            step = _tried(partial(_step, case, sizes.steps, device, speed), device)
            folds = _tried(partial(_folds, case, sizes.steps, device), device)
            once = {way: _apart(case, sizes.steps, device, way) for way in _WAYS}
            found[name] = {"step": step, "folds": folds, "on_one_batch": once}
            console.print(f"{name}: {found[name]}")
        found["stacked"] = _tried(partial(_stacked, sizes.rnn, device), device)
        console.print(f"DialogueRNN of five folds as one: {found['stacked']}")
        encoders = partial(measure_encoders, device, sizes.encoders, speed, folder)
        found["extraction"] = _tried(encoders, device)
        console.print(f"extraction: {found['extraction']}")
    return found


def _tried(work: Callable[[], Any], device: str) -> Any:
    """What is found, or why nothing is: the other figures are not lost for it."""
    try:
        return work()
    except Exception as error:  # whatever a card, its driver or a compiler makes of it
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        if device == "cuda":
            with suppress(RuntimeError):
                gpu.release()


def _config(case: Case, device: str) -> Config:
    dialogues = {"training.batch_size": case.batch_size, "training.device": device}
    modalities = {"model.modalities": tuple(case.frames)}
    made: Config = replaced(Config(), {**case.settings, **dialogues, **modalities})
    return made


def make_part(case: Case, steps: int, device: str, *, seed: int = 0) -> Part:
    """Random utterances for so many batches, on a device.

    Args:
        case: what they are like.
        steps: batches of an epoch.
        device: cpu or cuda.
        seed: of what is drawn.
    """
    random = torch.Generator().manual_seed(seed)
    dialogues = case.batch_size * steps
    turns = torch.ones(dialogues, dtype=torch.int64)
    if case.turns:
        turns = torch.randint(case.turns[0], case.turns[1] + 1, (dialogues,), generator=random)
    count = int(turns.sum())
    frames, offsets = {}, {}
    for modality, (longest, dim) in case.frames.items():
        shortest = max(1, longest // 3)
        lengths = torch.randint(shortest, longest + 1, (count,), generator=random)
        ends = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(dim=0)])
        frames[modality] = torch.randn(int(ends[-1]), dim, generator=random).to(device)
        offsets[modality] = ends.to(device)
    labels = torch.arange(count, device=device) % len(_TASK.outputs)
    places = Turns(
        torch.arange(dialogues).repeat_interleave(turns).to(device),
        torch.arange(count).to(device),
        torch.randint(0, 2, (count,), generator=random).to(device),
    )
    return Part(
        frames,
        offsets,
        targets=torch.eye(len(_TASK.outputs), device=device)[labels],
        labels=labels,
        turns=places if case.turns else None,
    )


@dataclass
class _Fold:
    """A model in training."""

    config: Config
    part: Part
    learner: Learner

    @classmethod
    def of(cls, case: Case, steps: int, device: str, *, seed: int = 0) -> "_Fold":
        config, part = _config(case, device), make_part(case, steps, device, seed=seed)
        learner = make_learner(config, _TASK, fold=seed, train=part, prior=None, tops={})
        return cls(config, part, learner)

    def epoch(self) -> float:
        return train_epoch(self.learner, self.part, self.config)

    @property
    def batch(self) -> Batch:
        dialogues = self.config.model.chosen.reads_dialogues
        return next(self.part.batches(self.config.training.batch_size, dialogues=dialogues))


def _step(case: Case, steps: int, device: str, speed: float) -> dict[str, float]:
    fold = _Fold.of(case, steps, device)
    fold.epoch()
    seconds = seconds_of(fold.epoch, device) / steps
    gflop = gflop_of(_Fold.of(case, 1, "cpu").epoch)
    return {"seconds": seconds, "gflop": gflop, "share_of_matrix_speed": gflop / seconds / speed}


def _folds(case: Case, steps: int, device: str) -> dict[str, Any]:
    folds = [_Fold.of(case, steps, device, seed=k) for k in range(_FOLDS)]
    for fold in folds:
        fold.epoch()
    seconds = seconds_of(lambda: [fold.epoch() for fold in folds], device)
    threads = _tried(lambda: seconds / _in_threads(folds, device), device)
    model = folds[0].config.model
    apart = model.chosen.why_apart(model.modalities)
    together = apart or _tried(lambda: seconds / _together(folds, device), device)
    del folds
    processes = _tried(lambda: seconds / _in_processes(case, steps, device), device)
    return {"seconds": seconds, "processes": processes, "threads": threads, "together": together}


def _in_threads(folds: list[_Fold], device: str) -> float:
    """Seconds of an epoch of all of them, each in a thread with a CUDA stream of its own."""

    def epoch(fold: _Fold) -> None:
        if device != "cuda":
            fold.epoch()
            return
        with torch.cuda.stream(torch.cuda.Stream()):
            fold.epoch()

    with ThreadPoolExecutor(len(folds)) as threads:
        list(threads.map(epoch, folds))  # each thread's handles are made now
        return seconds_of(lambda: list(threads.map(epoch, folds)), device)


def _together(folds: list[_Fold], device: str) -> float:
    """Seconds of an epoch of all of them, as `training.together` trains them."""

    def epoch(fold: _Fold) -> None:
        with seated():
            fold.epoch()

    with ThreadPoolExecutor(len(folds)) as threads:
        list(threads.map(epoch, folds))
        return seconds_of(lambda: list(threads.map(epoch, folds)), device)


def _in_processes(case: Case, steps: int, device: str) -> float:
    """Seconds from the first start of an epoch to the last end, in as many processes as there are folds."""
    context = multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(_FOLDS), context.SimpleQueue()
    arguments = [(case, steps, device, seed, barrier, times) for seed in range(_FOLDS)]
    processes = [context.Process(target=_process, args=one) for one in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a process of the five ended with an error")
    starts, ends = zip(*(times.get() for _ in processes), strict=True)
    return float(max(ends) - min(starts))


def _process(case: Case, steps: int, device: str, seed: int, barrier: Any, times: Any) -> None:
    """A fold in a process of its own, on its share of the card."""
    try:
        share = {"cluster.gpus_per_fold": 1 / _FOLDS if device == "cuda" else 0.0}
        with settled(replaced(_config(case, device), share)):
            fold = _Fold.of(case, steps, device, seed=seed)
            fold.epoch()
            finish(device)
            barrier.wait(timeout=120)
            started = time.perf_counter()  # one clock for all processes of a machine
            fold.epoch()
            finish(device)
            times.put((started, time.perf_counter()))
    except BaseException:
        barrier.abort()
        raise


def _apart(case: Case, steps: int, device: str, way: str) -> Any:
    """How many times faster forward, losses and backward are in some way than as they are, or why that is not known.

    In a process of its own: compiling may take longer than anybody waits, and a capture that fails may spoil CUDA.
    """
    if way == "graph" and device != "cuda":
        return "only CUDA has graphs"
    context = multiprocessing.get_context("spawn")
    found, sends = context.Pipe(duplex=False)
    process = context.Process(target=_on_one_batch, args=(case, steps, device, way, sends))
    process.start()
    sends.close()
    try:
        return found.recv() if found.poll(_PATIENCE) else f"took more than {_PATIENCE} s"
    except EOFError:
        return "its process has died"
    finally:
        process.kill()
        process.join()


def _on_one_batch(case: Case, steps: int, device: str, way: str, sends: Any) -> None:
    """In a process of its own; see `_apart`."""

    def seconds(work: Callable[[], object]) -> float:
        work()
        return seconds_of(lambda: [work() for _ in range(steps)], device) / steps

    with settled(_config(case, device)):
        fold = _Fold.of(case, 1, device)
        batch, learner = fold.batch, fold.learner
        plain = seconds(partial(_forward_backward, learner, batch))
        sends.send(_tried(lambda: plain / seconds(_WAYS[way](learner, batch)), device))


def _forward_backward(learner: Learner, batch: Batch) -> None:
    learner.optimizer.zero_grad()
    learner.objective(learner.model(batch.modalities, batch.layout), batch).backward()


def _compiled(learner: Learner, batch: Batch) -> Callable[[], object]:
    compiled: Any = torch.compile(learner.model)
    return partial(_forward_backward, replace(learner, model=compiled), batch)


def _captured(learner: Learner, batch: Batch) -> Callable[[], object]:
    """A CUDA graph of the step: its kernels are launched by one call."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # what is made on first use must be there before
        for _ in range(3):
            _forward_backward(learner, batch)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        _forward_backward(learner, batch)
    return graph.replay


_WAYS = {"compile": _compiled, "graph": _captured}


def _stacked(sizes: tuple[int, int, int, int], device: str) -> float:
    """How many times faster DialogueRNN's loop is over the streams of five folds than five times over those of one."""
    streams, dialogues, turns, dim = sizes

    def loop(count: int) -> Callable[[], None]:
        rnn = DialogueRnn(count, dim=dim, state=dim, dropout=0.0).to(device)
        inputs = torch.randn(count, dialogues, turns, dim, device=device)
        speakers = torch.randint(0, 2, (count, dialogues, turns), device=device)

        def work() -> None:
            rnn.zero_grad()
            rnn(inputs, speakers).square().mean().backward()

        work()
        return work

    one, all_of_them = loop(streams), loop(streams * _FOLDS)
    apart = seconds_of(lambda: [one() for _ in range(_FOLDS)], device)
    return apart / seconds_of(all_of_them, device)
