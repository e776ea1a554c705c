"""Models, encoders and corpora of a user's own: found, checked, and part of what a run is."""

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysys import plugins
from raysys.commandline import parse
from raysys.config import Config
from raysys.corpus import CorpusConfig, read_raw
from raysys.errors import ConfigError
from raysys.running.code import plugin_code
from raysys.search.space import make_space
from raysys.settings import replaced
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
