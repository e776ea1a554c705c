"""Settings: every field documented and checked, unknown names answered, presets valid."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from raysys.catalogue import RENAMED, Group, Setting, catalogue
from raysys.commandline import parse
from raysys.config import Config
from raysys.config.training import TrainingConfig
from raysys.errors import ConfigError
from raysys.help import OPTIONS, USUAL, help_page, topic_of
from raysys.running.variants import variant_configs
from raysys.settings import differences, digest, field_names, from_dict, replaced, to_dict, value_of
from raysys.tracking.provenance import flat_settings
from tests.plugins import write_plugins
from tests.unit.test_guides import GUIDES

ROOT = Path(__file__).resolve().parents[2]
PRESETS = sorted(ROOT.glob("configs/**/*.yaml"))


def parse_all(*arguments: str) -> Config:
    return parse(arguments, program="test")[0]


@pytest.mark.parametrize(
    "preset",
    [p for p in PRESETS if p.parent.name not in ("kubernetes", "corpora") and p.stem != "emobox"],
    ids=lambda path: path.stem,
)
def test_every_preset_parses_and_begins_with_its_record(preset: Path):
    config = parse_all(str(preset))
    assert config.name == preset.stem
    if config.ablation.variants:
        assert list(variant_configs(config)) == [cell.name for cell in config.ablation.cells]
    record = preset.read_text().split("\n\n")[0]
    for word in ("command", "source", "hardware", "expected"):
        assert word in record.lower(), f"the head comment of {preset.name} does not tell its {word}"
    assert not re.search("TIME|EXPECTED", record), f"{preset.name} has a figure to fill in"


def test_a_flag_overrides_the_preset_and_the_preset_the_default(tmp_path: Path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("training: {batch_size: 7, patience: 3}\n")
    config = parse_all(str(preset), "--training.patience", "5")
    assert (config.training.batch_size, config.training.patience) == (7, 5)
    assert config.training.max_epochs == TrainingConfig().max_epochs


def test_a_preset_builds_on_its_base_group_by_group(tmp_path: Path):
    (tmp_path / "below.yaml").write_text("seed: 4\ntraining: {batch_size: 7, patience: 3}\n")
    (tmp_path / "sub").mkdir()
    preset = tmp_path / "sub" / "above.yaml"
    preset.write_text("base: ../below.yaml\ntraining: {patience: 5}\n")
    config = parse_all(str(preset))
    assert (config.seed, config.training.batch_size, config.training.patience) == (4, 7, 5)
    assert config.name == "above"


def test_a_preset_may_have_another_laid_over_it_for_a_corpus(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "small.yaml").write_text("training: {batch_size: 7}\n")
    preset = tmp_path / "table.yaml"
    preset.write_text(
        "corpora: {demo: sub/small.yaml}\ncorpus: {name: meld}\ntraining: {batch_size: 64, patience: 3}\n"
    )
    sizes = {
        flags: parse_all(str(preset), *flags).training.batch_size
        for flags in [(), ("--corpus.name", "demo"), ("--corpus.name=demo",)]
    }
    assert list(sizes.values()) == [64, 7, 7]
    on_demo = parse_all(str(preset), "--corpus.name", "demo", "--training.batch_size", "9").training
    assert (on_demo.batch_size, on_demo.patience) == (9, 3)
    preset.write_text("corpora: small.yaml\n")
    with pytest.raises(ConfigError, match="corpora is {corpus name: PRESET}, not 'small.yaml'"):
        parse_all(str(preset))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--model.name", "mat", "--model.modalities", "[video]"],
            "model.name is 'mat', which reads audio and text, not video: set --model.modalities, or a --model.name "
            "among cltnet, multiemo, bimodal_attention",
        ),
        (
            ["--model.name", "speechtext", "--model.modalities", "[audio,video]"],
            "which reads audio and text, not video",
        ),
        (
            ["--tracking.attention", "1"],
            "tracking.attention is 1, but must be 0 with cltnet (audio + text), which has no attention between "
            "modalities (with two of them have: bimodal_attention, mat, mcsan)",
        ),
        (
            ["--tracking.attention", "1", "--model.name", "mcsan", "--model.modalities", "[text]"],
            "must be 0 with mcsan (text), which has no attention between modalities",
        ),
        (["--folds.tested", "[5]"], "folds.tested is [5], but must be empty unless folds.method"),
        (
            ["--folds.tested", "[0]", "--folds.method", "leave_one_group_out"],
            "must be different groups, by name or by number from 1",
        ),
    ],
)
def test_what_a_model_or_split_cannot_do_is_one_clear_line(flags: list[str], message: str):
    with pytest.raises(ConfigError) as caught:
        parse_all(*flags)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("off", ["off", "'off'"])
def test_off_is_a_word_and_not_a_truth(tmp_path: Path, off: str):
    (tmp_path / "a.yaml").write_text(
        f"balance: {{method: {off}}}\nsearch: {{space: {{balance.method: {{choices: [{off}, pdds]}}}}}}\n"
        "corpus: {skip_bad: true}\n"
    )
    config = parse_all(str(tmp_path / "a.yaml"))
    assert config.balance.method == "off"
    assert config.search.space["balance.method"].choices == ("off", "pdds")
    assert config.corpus.skip_bad is True


def test_a_space_replaces_that_of_its_base(tmp_path: Path):
    low_high = "{low: 0.1, high: 0.2}"
    (tmp_path / "a.yaml").write_text(f"search: {{num_trials: 3, space: {{loss.mu1: {low_high}}}}}")
    (tmp_path / "b.yaml").write_text(f"base: a.yaml\nsearch: {{space: {{loss.mu2: {low_high}}}}}")
    config = parse_all(str(tmp_path / "b.yaml"))
    assert list(config.search.space) == ["loss.mu2"]
    assert config.search.num_trials == 3


def test_what_differs_from_the_defaults_makes_the_same_config_again(tmp_path: Path):
    config = parse_all(
        "configs/studies/demo_loss_weights.yaml", "--loss.mu1", "0.30000000000000004"
    )
    preset = tmp_path / "again.yaml"
    preset.write_text(yaml.safe_dump(differences(config, Config())))
    assert parse_all(str(preset)) == config


def test_replaced_values_are_checked_together():
    config = replaced(Config(), {"loss.mu1": 0.6, "loss.mu2": 0.4, "model.cltnet.dim": 7})
    assert (config.loss.mu1, config.loss.mu2, config.model.cltnet.dim) == (0.6, 0.4, 7)
    with pytest.raises(ConfigError, match="loss.mu2 is 0.5, but must be at most"):
        replaced(Config(), {"loss.mu1": 0.6, "loss.mu2": 0.5})


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--training.batch_sise", "3"], "did you mean 'training.batch_size'"),
        (["--trainig.batch_size=3"], "did you mean 'training.batch_size'"),
        (["--training.batch_size", "0"], "training.batch_size is 0, but must be >= 1"),
        (["--training.batch_size", "many"], "training.batch_size"),
        (["--training.learning_rate", "nan"], "learning_rate"),
        (["--folds.method", "random"], "folds.method"),
        (["--model.modalities", "[audio,audio]"], "each once"),
        (["--model.cltnet.heads", "7"], "a divisor of model.cltnet.text_dim"),
        (["--name", "a/b"], "a plain folder name"),
        (["no_such.yaml"], "no_such.yaml is not a file"),
        (["--seed", "1", "configs/demo.yaml"], "one preset, before all flags"),
        (["--seed", "5000000000"], "seed is 5000000000, but must be 0 to"),
        (["--model.modalities", "audio"], r"Expected a list, as in \[a,b\]"),
        (["--features.logmel.hop_seconds", "0.00001"], "hop_seconds is 1e-05, but must be"),
        (["--zzz", "1"], "unknown setting 'zzz': see --help"),
    ],
)
def test_a_bad_argument_is_answered_with_rule_and_remedy(arguments: list[str], message: str):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        parse_all(*arguments)


@pytest.mark.parametrize(
    "text, message",
    [
        ("training: {batchsize: 3}", "did you mean 'training.batch_size'"),
        ("trainning: {}", "did you mean 'training'"),
        ("training: 3", "is a group of settings"),
        ("- 1", "must be a mapping"),
        ("a: [", "is not YAML"),
        ("loss: {mu1: 0.1, mu1: 0.2}", "'mu1' is set twice in the group at line 1"),
        ("base: bad.yaml", "is its own base"),
    ],
)
def test_a_bad_preset_is_named_with_its_fault(tmp_path: Path, text: str, message: str):
    preset = tmp_path / "bad.yaml"
    preset.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        parse_all(str(preset))
    assert "bad.yaml" in str(caught.value)


def shown(*arguments: str, job: str = "jobs.cross_validate") -> str:
    """What a job prints that ends well."""
    command = [sys.executable, "-m", job, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_all_help_lists_every_setting_with_a_meaning():
    printed = "\n" + shown("--help", "all")
    settings = [name for name, group in field_names(Config).items() if group is None]
    for name in settings:
        meaning = printed.split(f"\n  --{name} ", 1)[1].split("\n  --", 1)[0].split("\n", 1)[1]
        assert len(" ".join(meaning.split())) >= 18, f"--{name} is not explained"
    assert set(re.findall(r"^  --(\S+)", printed, re.MULTILINE)) == set(settings)


@pytest.mark.parametrize("job", sorted(p.stem for p in (ROOT / "jobs").glob("[a-z]*.py")))
def test_the_help_of_every_verb_has_two_examples(job: str):
    printed = shown("--help", job=f"jobs.{job}")
    assert len(re.findall(rf"^ *python -m jobs\.{job} ", printed, re.MULTILINE)) == 2
    assert len(printed.splitlines()) <= 160
    assert job in shown(job="jobs")


def test_every_flag_of_the_first_page_is_taken():
    flags = re.findall(r"^  --(\S+)", shown("--help"), re.MULTILINE)
    assert flags == [*OPTIONS, *USUAL]
    assert len(USUAL) == 25
    for name in USUAL:
        one = catalogue()[name]
        assert isinstance(one, Setting)
        parse_all(f"--{name}", "" if one.default == "empty" else one.default)


@pytest.mark.parametrize("ask", [["--help", "training"], ["--help.training"], ["--help=training"]])
def test_a_group_has_a_page_of_its_own(ask: list[str]):
    printed = help_page(topic_of(ask) or "", program="p", about="")
    own = [name for name in catalogue() if name.startswith("training.")]
    assert re.findall(r"^  --(\S+)", printed, re.MULTILINE) == own
    assert "batch_size" in help_page("training.batch_size", program="p", about="")
    with pytest.raises(ConfigError, match="no help on 'trainin': did you mean 'training'"):
        help_page("trainin", program="p", about="")


def test_the_catalogue_is_that_of_the_classes():
    groups = {name: isinstance(one, Group) for name, one in catalogue().items()}
    assert groups == {name: kind is not None for name, kind in field_names(Config).items()}
    assert list(groups) == list(field_names(Config))
    for name, one in catalogue().items():
        if isinstance(one, Setting):
            value = value_of(Config(), name)
            assert (
                yaml.safe_load(one.default.replace("empty", "''"))
                == (list(value) if isinstance(value, tuple) else value)
                or str(value) == one.default
            )


def test_arguments_are_answered_before_anything_heavy_is_imported():
    program = (
        "import sys; from raysys.commandline import parse, run_job; "
        "job = lambda argv: parse(argv, program='p', about='a'); "
        "print([run_job(job, [a]) for a in ('--loss.mu3', 'no.yaml', '--corpus.root=/no')], "
        "sorted({'torch', 'numpy', 'pydantic', 'jsonargparse', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[2, 2, 2] []\n", done.stderr
    assert done.stderr.count("error: ") == 3


def test_a_setting_that_was_renamed_is_answered_by_its_new_name(tmp_path: Path):
    assert all(new in catalogue() and old not in catalogue() for old, new in RENAMED.items())
    with pytest.raises(ConfigError, match="'ablation.seeds' is now called 'training.seeds'"):
        parse_all("--ablation.seeds", "3")
    preset = tmp_path / "old.yaml"
    preset.write_text("ablation: {seeds: 3}\n")
    with pytest.raises(ConfigError, match="'ablation.seeds' is now called 'training.seeds'"):
        parse_all(str(preset))
    plain = to_dict(Config())
    plain["features"]["normalize"] = plain["features"].pop("normalise")
    with pytest.raises(ConfigError, match="did you mean 'features.normalise'"):
        from_dict(Config, plain)
    plain = to_dict(Config())
    plain["ablation"]["seeds"] = 3
    with pytest.raises(ConfigError, match="'ablation.seeds' is now called 'training.seeds'"):
        from_dict(Config, plain)


def test_the_digest_covers_defaults_too():
    config = Config()
    assert digest(to_dict(config)) == digest(to_dict(Config()))
    assert digest(to_dict(config)) != digest(to_dict(Config(seed=1)))
    assert "max_epochs" in str(to_dict(config))


@pytest.mark.parametrize(
    "guess, meant",
    {
        "trials": "search.num_trials",
        "epochs": "training.max_epochs",
        "seeds": "training.seeds",
    }.items(),
)
def test_a_setting_s_last_word_alone_is_answered_with_the_setting(guess: str, meant: str):
    with pytest.raises(ConfigError, match=f"unknown setting '{guess}': did you mean '{meant}'"):
        parse_all(f"--{guess}", "4")


def guide_commands() -> list[list[str]]:
    """Arguments of every job that the README or a guide calls with a preset."""
    found = re.findall(
        r"python -m jobs\.(?:prepare|cross_validate|tune|ablate|map_labels|embed_content) +([^#`|\n]*)",
        "\n".join((ROOT / guide).read_text() for guide in GUIDES),
    )
    asked = [shlex.split(line) for line in found if "--help" not in line]
    return [one for one in asked if not {"...", "PRESET"} & {*one}]


def test_every_command_of_the_guides_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_plugins(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(ROOT)
    commands = guide_commands()
    assert len(commands) >= 20
    for arguments in commands:
        has_preset = not arguments[0].startswith("-")
        assert parse_all(*arguments).name == (Path(arguments[0]).stem if has_preset else "run")


def test_every_other_command_of_the_guides_has_the_flags_that_it_is_given(
    capsys: pytest.CaptureFixture[str],
):
    text = "\n".join((ROOT / guide).read_text() for guide in GUIDES)
    found = re.findall(r"python -m jobs\.(\w+) +([^#`|\n]*)", text)
    flags: dict[str, set[str]] = {}
    for verb, line in found:
        flags.setdefault(verb, set()).update(re.findall(r"--([\w.]+)", line))
    asked = {"compare", "nearest", "predict", "register", "report", "robustness", "runs", "serve"}
    assert asked <= set(flags)
    for verb in asked:
        with pytest.raises(SystemExit):
            importlib.import_module(f"jobs.{verb}").main(["--help"])
        known = set(re.findall(r"--([\w.]+)", capsys.readouterr().out))
        assert flags[verb] <= known, verb


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:se@cr:et@db/mlflow", "postgresql://me:***@db/mlflow"),
        ("http://:secret@host:5000/x", "http://:***@host:5000/x"),
        (
            "mysql+pymysql://db/x?user=me&password=secret",
            "mysql+pymysql://db/x?user=me&password=***",
        ),
        ("https://host:5000/a@b", "https://host:5000/a@b"),
        ("sqlite:////runs/mlflow.db", "sqlite:////runs/mlflow.db"),
    ],
)
def test_the_password_of_a_uri_is_in_nothing_that_is_stored_or_logged(uri: str, shown: str):
    config = replaced(Config(), {"tracking.uri": uri})
    assert config.tracking.uri == uri
    assert to_dict(config)["tracking"]["uri"] == shown
    assert flat_settings(config)["tracking.uri"] == shown
