"""Frames one after the other and padded frames are the same batch, in numbers and in what a model learns."""

import importlib
from pathlib import Path

import pytest
import torch
from rich.console import Console

from raysys.batches.batch import Part
from raysys.batches.padded import Padded
from raysys.benchmarks.registry import BENCHMARKS
from raysys.commandline import parse
from raysys.storage import Folder
from tests.unit.test_config import ROOT

LENGTHS = torch.tensor([3, 1, 4, 1, 5])


def part() -> Part:
    frames = torch.arange(1.0, 29.0).reshape(14, 2)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), LENGTHS.cumsum(dim=0)])
    labels = torch.tensor([0, 1, 0, 1, 0])
    return Part({"text": frames}, {"text": offsets}, torch.eye(2)[labels], labels)


def test_a_batch_holds_its_utterances_frames_in_both_forms():
    rows = torch.tensor([4, 1, 2])
    text = part().batch(rows).modalities["text"]
    assert text.mask.sum(dim=1).tolist() == [5, 1, 4]
    wanted = [torch.arange(19.0, 29.0), torch.arange(7.0, 9.0), torch.arange(9.0, 17.0)]
    assert torch.equal(text.frames, torch.cat(wanted).reshape(-1, 2))
    assert torch.equal(text.values[text.mask], text.frames)
    assert not text.values[~text.mask].any()
    again = Padded(text.values, text.mask)
    assert torch.equal(again.frames, text.frames)


def test_a_mixture_is_as_long_as_the_longer_and_its_end_is_the_longers_share():
    mixed = part().with_mixtures(torch.tensor([2]), torch.tensor([1]), torch.tensor([0.75]))
    text = mixed.batch(torch.tensor([5])).modalities["text"]
    first = 0.75 * torch.tensor([9.0, 10.0]) + 0.25 * torch.tensor([7.0, 8.0])
    assert torch.equal(text.frames[0], first)
    assert torch.equal(text.frames[1:], 0.75 * torch.arange(11.0, 17.0).reshape(3, 2))


@pytest.mark.parametrize("model", ["multiemo", "cltnet"])
def test_an_epoch_on_either_form_ends_at_the_same_loss_to_the_bit(
    model: str, tmp_path: Path, cache_root: Path
):
    settings = ["--corpus.demo.utterances", "240", "--training.batch_size", "8"]
    settings += ["--model.name", model, "--model.modalities", "[text]"]
    settings += ["--storage.cache", str(cache_root), "--storage.runs", str(tmp_path)]
    config = parse([str(ROOT / "configs/demo.yaml"), *settings], program="test")[0]
    measure = importlib.import_module(BENCHMARKS["batches"]).measure
    found = measure(config, Console(), Folder(str(tmp_path)))
    assert found["same_loss"]
    assert 0 < found["fill"]["text"] <= 1
