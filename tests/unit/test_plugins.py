"""Models, encoders and corpora of a user's own: found, checked, and part of what a run is."""

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from raysys import plugins
from raysys.commandline import parse
from raysys.config import Config
from raysys.corpus import CorpusConfig, read_raw
from raysys.corpus.table import Utterance
from raysys.encoders.extraction import encode_rows
from raysys.errors import ConfigError, CorpusError, FeatureError
from raysys.models.plugged import try_model
from raysys.running.code import plugin_code
from raysys.search.space import make_space
from raysys.settings import digest, replaced
from raysys.storage import Folder
from tests.plugins import write_plugins

OWN = (
    "--corpus.name", "mine:read", "--features.text", "mine:LettersConfig", "--model.name", "mine:MeansConfig",
    "--model.modalities", "[text]",
)  # fmt: skip


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    file = write_plugins(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield file
    sys.modules.pop("mine", None)


def config_of(*more: str) -> Config:
    config, _ = parse([*OWN, *more], program="jobs.tune")
    return config


def read_with(config: CorpusConfig, folder: Path):
    return read_raw(config, config, Folder(str(folder)))


@pytest.mark.usefixtures("module")
def test_a_model_an_encoder_and_a_corpus_of_ones_own_are_built_with_their_options(tmp_path: Path):
    config = config_of(
        "--model.options.width", "7", "--corpus.root", str(tmp_path / "data"), "--corpus.options.first", "20",
        "--features.options", "{text: {letters: abc}}",
    )  # fmt: skip
    assert config.model.chosen.width == 7
    assert config.model.chosen.dropout == 0.1
    (words,) = config.features.build("text").encode(["a cab"])
    assert words[1].tolist() == [[1, 0, 0], [1, 1, 1]]
    raw = read_with(config.corpus, tmp_path)
    assert len(raw.utterances) == 20
    assert raw.emotions == ("anger", "joy", "sadness")


@pytest.mark.parametrize(
    "given, said",
    [
        (["--model.name", "mine:Nothing"], "plug-in 'mine:Nothing': mine has no Nothing"),
        (
            ["--model.name", "mine:Means"],
            "must be a subclass of raysys.models.output.ModelSettings",
        ),
        (["--model.name", "nomodule:X"], "No module named 'nomodule': install its package"),
        (["--model.name", "mine"], "unknown model 'mine'"),
        (["--model.name", ":X"], "unknown model ':X'"),
        (["--features.text", "mine:MeansConfig"], "must be a subclass of .*EncoderConfig"),
        (["--corpus.name", "mine:PAGE"], "mine has no PAGE"),
        (["--model.options.widht", "16"], "model.options: .*'widht': did you mean 'width'"),
        (["--model.options.width", "many"], "model.options: width: .*valid integer.*'many'"),
        (["--features.options", "{text: {letter: a}}"], "features.options.text: .*'letters'"),
        (
            ["--features.audio", "mine:LettersConfig", "--model.modalities", "[audio]"],
            "features.audio is mine:LettersConfig, which encodes text",
        ),
    ],
)
@pytest.mark.usefixtures("module")
def test_what_a_plugin_cannot_be_is_one_line(given: list[str], said: str, tmp_path: Path):
    def use() -> None:
        config = config_of(*given, "--corpus.root", str(tmp_path / "data"))
        assert config.model.chosen
        config.features.encoder(config.model.modalities[0])
        read_with(config.corpus, tmp_path)

    with pytest.raises(ConfigError, match=said):
        use()


@pytest.mark.usefixtures("module")
def test_a_study_searches_over_options_of_a_plugin():
    space = "{model.options.width: {choices: [8, 16]}}"
    found = make_space(config_of("--search.space", space))
    assert found.settings["model.options.width"].choices == (8, 16)
    assert found.base_values() == {"model.options.width": 32}
    for bad, said in (
        ("{model.options.widht: {choices: [8]}}", "did you mean 'model.options.width'"),
        ("{model.options.width: {choices: [8.5]}}", "of type int"),
    ):
        with pytest.raises(ConfigError, match=said):
            make_space(config_of("--search.space", bad))
    changed = replaced(config_of(), {"model.options.width": 5})
    assert changed.model.chosen.width == 5


def test_what_is_registered_is_found_by_its_name_and_listed_alone(monkeypatch: pytest.MonkeyPatch):
    point = importlib.metadata.EntryPoint("short", "json:loads", "raysys.corpora")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    plugins._entry_points.cache_clear()
    try:
        found = plugins.PlugIns({"demo": len}, "raysys.corpora")
        assert list(found) == ["demo"]
        assert found["short"] is importlib.import_module("json").loads
        assert "short" in found
        assert "other" not in found
    finally:
        plugins._entry_points.cache_clear()


def test_changed_code_of_a_plugin_is_another_run(module: Path):
    config = config_of()
    before = plugin_code(config)
    assert set(before) == {"plug-ins"}
    text = module.read_text()
    module.write_text(text + "\n# a remark\n")
    assert plugin_code(config) == before
    module.write_text(text.replace("torch.relu", "torch.tanh"))
    assert plugin_code(config) != before
    assert plugin_code(Config()) == {}


def test_every_module_of_a_plugins_package_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "ourpackage"
    (package / "deep").mkdir(parents=True)
    for name in ("__init__.py", "deep/__init__.py", "deep/model.py", "helper.py"):
        (package / name).write_text("loads = len\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = plugins.sources_of("ourpackage.deep.model:loads")
    assert {str(one.relative_to(package)) for one in found} == {
        "__init__.py", "deep/__init__.py", "deep/model.py", "helper.py",
    }  # fmt: skip


BROKEN = """
import numpy as np
import torch
from dataclasses import dataclass
from typing import ClassVar

from mine import Letters, LettersConfig, MeansConfig
from raysys.models.output import ModelOutput


def raises(source, options, cache):
    return {}["lines"]


def nothing(source, options, cache):
    return None


class Flat(Letters):
    def encode(self, items):
        for k, _ in enumerate(items):
            yield k, np.zeros(3)


class Fewer(Letters):
    def encode(self, items):
        yield from list(super().encode(items))[:-1]


class Raises(Letters):
    def read(self, source, root):
        return {}["nothing"]


@dataclass(frozen=True)
class FlatConfig(LettersConfig):
    def build(self, modality):
        return Flat(self)


@dataclass(frozen=True)
class FewerConfig(LettersConfig):
    def build(self, modality):
        return Fewer(self)


@dataclass(frozen=True)
class RaisesConfig(LettersConfig):
    def build(self, modality):
        return Raises(self)


@dataclass(frozen=True)
class NoneConfig(LettersConfig):
    def build(self, modality):
        return None


class Mute(torch.nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, modalities, layout):
        return self.answer


@dataclass(frozen=True)
class NoModel(MeansConfig):
    def build(self, modalities, *, dims, n_outputs):
        return None


@dataclass(frozen=True)
class TupleModel(MeansConfig):
    def build(self, modalities, *, dims, n_outputs):
        return Mute((torch.zeros(2, n_outputs),))


@dataclass(frozen=True)
class ShortModel(MeansConfig):
    def build(self, modalities, *, dims, n_outputs):
        return Mute(ModelOutput(torch.zeros(2, n_outputs - 1), torch.zeros(2, 3), {}))


@dataclass(frozen=True)
class RaisingModel(MeansConfig):
    def build(self, modalities, *, dims, n_outputs):
        return torch.nn.Linear(-1, n_outputs)
"""


@pytest.fixture
def broken(module: Path) -> Iterator[None]:
    (module.parent / "broken.py").write_text(BROKEN)
    yield
    sys.modules.pop("broken", None)


@pytest.mark.parametrize(
    "reader, said",
    [
        ("raises", r"plug-in 'broken:raises' failed: KeyError: 'lines' \(broken.py, line 12\)"),
        (
            "nothing",
            "plug-in 'broken:nothing' returned a NoneType, but must return a raysys.corpus",
        ),
    ],
)
@pytest.mark.usefixtures("broken")
def test_what_fails_in_a_reader_is_a_line_with_its_place(reader: str, said: str, tmp_path: Path):
    config = config_of("--corpus.name", f"broken:{reader}", "--corpus.root", str(tmp_path / "data"))
    with pytest.raises(CorpusError, match=said):
        read_with(config.corpus, tmp_path)


@pytest.mark.parametrize(
    "encoder, said",
    [
        ("FlatConfig", r"encode yielded \[3\] for an item, but must yield an array \[time, dim\]"),
        ("FewerConfig", "encode yielded nothing for 1 of 2 items: each must be yielded once"),
        ("RaisesConfig", r"failed: KeyError: 'nothing' \(broken.py, line"),
        ("NoneConfig", "build returned a NoneType, but must return a raysys.encoders"),
    ],
)
@pytest.mark.usefixtures("broken")
def test_what_fails_in_an_encoder_is_a_line_with_its_place(encoder: str, said: str):
    config = config_of("--features.text", f"broken:{encoder}")
    rows = [Utterance("a", text="how"), Utterance("b", text="so")]
    with pytest.raises(FeatureError, match=said):
        encode_rows(config.features.build("text"), rows, Path())


@pytest.mark.usefixtures("broken")
def test_two_encoders_never_share_features():
    names = ("mine:Letters", "broken:Flat", "broken:Fewer")
    configs = [config_of("--features.text", f"{name}Config") for name in names]
    prints = [one.features.build("text").fingerprint() for one in configs]
    assert len({digest(one) for one in prints}) == 3


@pytest.mark.parametrize(
    "model, said",
    [
        ("NoModel", "build returned a NoneType"),
        ("TupleModel", "forward returned a tuple"),
        ("ShortModel", r"logits of 2 utterances are \[2, 2\], but must be \[2, 3\]"),
        ("RaisingModel", "failed: RuntimeError: .*negative dimension"),
    ],
)
@pytest.mark.usefixtures("broken")
def test_what_fails_in_a_model_is_a_line(model: str, said: str):
    settings = config_of("--model.name", f"broken:{model}").model.chosen
    with pytest.raises(ConfigError, match=said):
        try_model(settings, f"broken:{model}", dims={"text": 4}, n_outputs=3)


@pytest.mark.usefixtures("module")
def test_a_model_that_works_is_left_as_it_is():
    settings = config_of().model.chosen
    before = torch.random.get_rng_state()
    try_model(settings, "mine:MeansConfig", dims={"text": 4, "audio": 5}, n_outputs=3)
    assert torch.equal(torch.random.get_rng_state(), before)
