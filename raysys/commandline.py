"""From an argument list to a `Config`, and from an exception to an exit status.

    argv -> [preset.yaml] [--dotted.name value]... [--resume | --retry] [--debug] -> Config, Options

What can be answered without the classes of the settings is answered first, within a second: help, names that do not
exist, a preset or a corpus that is not there. jsonargparse does the typing and the YAML; this module adds what it
leaves out: the positional preset, its `base` (a preset, relative to the file, that it builds on) and its `corpora`
(name of a corpus: a preset that is laid over it there), unknown keys answered with the nearest field, and one-line
errors.
"""

import os
import re
import signal
import sys
import threading
import traceback
from argparse import ArgumentParser as PlainParser
from argparse import RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import yaml

from raysys.background import say_last_words, work_is_kept_in
from raysys.catalogue import Group, Setting, catalogue, unknown
from raysys.errors import ConfigError, CorpusError, HeadLostError, RaysysError
from raysys.help import OPTIONS, help_page, topic_of
from raysys.presets import find_preset

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from raysys.config import Config


@dataclass(frozen=True)
class Options:
    """What a command line says besides the config: how to run, not what."""

    resume: bool | None = False
    """None: where there is something to resume."""
    debug: bool = False


def parse(
    argv: Sequence[str], *, program: str, about: str | None = None, own: str = "", task: str = ""
) -> "tuple[Config, Options]":
    """Read `[preset.yaml] [--dotted.name value]...`.

    Args:
        argv: arguments without the program's name.
        program: how the user called it, for the usage line.
        about: what it does, for its help: a command that is going to do it, so the corpus must be there, and a first
            line says that the arguments are understood.
        own: the group of settings that no other program reads.
        task: the only one that the program does; empty: any.

    Raises:
        ConfigError: an unreadable preset, an unknown key, a value of the wrong type or out of range.
        CorpusError: the folder of the corpus is not there (with `about`).
        SystemExit: after `--help`.
    """
    topic = topic_of(argv)
    if topic is not None:
        print(help_page(topic, program=program, about=about or "", own=own))
        raise SystemExit(0)
    arguments = list(argv)
    has_preset = bool(arguments) and not arguments[0].startswith("-")
    preset = find_preset(Path(arguments.pop(0))) if has_preset else None
    _refuse_unknown_flags(arguments)
    _refuse_resume_and_retry(arguments)
    values = _for_corpus(_read_preset(preset), arguments) if preset else {}
    if about is not None:
        _refuse_missing_corpus(values, arguments)
        what = f"{program.rpartition('.')[2]} {preset or 'without a preset'}"
        print(f"{what}: loading PyTorch, Ray and MLflow", flush=True)
    config, options = _build(values, arguments, preset)
    if about is not None:
        _tell_idle(config, arguments)
    if task and config.task != task:
        raise ConfigError(
            f"the task is {config.task}, but {program} does {task}: take a preset of it, as in configs/labels/, or "
            "python -m jobs.cross_validate"
        )
    return config, options


def _tell_idle(config: "Config", arguments: Sequence[str]) -> None:
    """Say which flags do nothing as the other settings stand."""
    from raysys.config.names import check_effect

    for argument in arguments:
        name = argument.removeprefix("--").partition("=")[0]
        if argument.startswith("--") and "." in name:
            try:
                check_effect(config, name, where="note")
            except ConfigError as error:
                print(f"note         {str(error).removeprefix('note: ')}", flush=True)
            except AttributeError:  # a key of a map
                continue


def plain_parser(verb: str, about: str) -> PlainParser:
    """Arguments of a job without a config, which works on runs that there are.

    Args:
        verb: of the job.
        about: its docstring.
    """
    parser = PlainParser(
        prog=f"python -m jobs.{verb}",
        description=about,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--runs", "--storage.runs", default="runs", help="folder or URI of the run folders"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_encoder_flag(parser: PlainParser) -> None:
    """The flag of jobs that encode with what a run was trained on."""
    parser.add_argument(
        "--encoder",
        action="append",
        default=[],
        metavar="MODALITY=FOLDER",
        help="where an encoder's model is now, as audio=models/whisper; may be repeated",
    )


def encoder_places(given: Sequence[str]) -> dict[str, str]:
    """Modality -> folder (absolute, where there is one here), from MODALITY=FOLDER.

    Raises:
        ConfigError: one is not of that form.
    """
    found = {}
    for one in given:
        modality, _, place = one.partition("=")
        if not (modality and place):
            raise ConfigError(f"--encoder is {one}, but must be as audio=FOLDER")
        here = Path(place).expanduser()
        found[modality] = str(here.resolve()) if here.exists() else place
    return found


def _build(
    values: dict[str, Any], arguments: Sequence[str], preset: Path | None
) -> "tuple[Config, Options]":
    """Settings of a preset and flags as the classes have them."""
    from raysys.config import Config  # torch and more, which take seconds

    parser = _parser()
    try:
        defaults = parser.parse_object(values)
        parsed = parser.parse_args(list(arguments), namespace=defaults)
        built = vars(parser.instantiate(parsed))
    except RaysysError:
        raise
    except Exception as error:
        raise ConfigError(_one_line(error, preset)) from error
    given = {name: built.pop(name) for name in OPTIONS}
    options = Options(None if given["retry"] else given["resume"], given["debug"])
    if not built["name"]:
        built["name"] = preset.stem if preset else "run"
    return Config(**built), options


_SIGNALLED: set[int] = set()
"""Signals that have ended this process' job."""
_LINGER_SECONDS = 3.0


def run_job(job: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Call a job's main and turn its errors into one line and an exit status.

    Returns:
        The job's own status; 2 after a `RaysysError`; 130 after Ctrl-C, SIGTERM or a closed terminal; 141 where nobody
        reads its output any more.
    """
    signal.signal(signal.SIGTERM, _as_interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup has it ignored
        signal.signal(signal.SIGHUP, _as_interrupt)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reads it when it is imported
    try:
        return job(argv)
    except RaysysError as error:
        if "--debug" in argv:
            traceback.print_exc()
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        if isinstance(error, HeadLostError):
            _end_at_once(2)
        return 2
    except BrokenPipeError:  # whoever read what is printed has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        kept = work_is_kept_in()
        go_on = f"what is done is kept in {kept}; the same command with --resume finishes it"
        print(f"interrupted; {go_on if kept else 'no run had begun'}", file=sys.stderr)
        if _SIGNALLED:  # Ray, too, may have been ended by it, and would be waited for
            timer = threading.Timer(_LINGER_SECONDS, _end_at_once, [130])
            timer.daemon = True
            timer.start()
        return 130


def console_script() -> int:
    """The command `raysys`: `raysys tune ...` does what `python -m jobs.tune ...` does."""
    return run_job(import_module("jobs.__main__").main, sys.argv[1:])


def _end_at_once(status: int) -> None:
    """End the process without what Ray does at its end, which would wait for the head."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    _SIGNALLED.add(number)
    say_last_words()
    signal.signal(number, signal.SIG_IGN)  # sent twice, as by timeout(1), it counts once
    raise KeyboardInterrupt(f"signal {number}")


class _Loader(yaml.SafeLoader):
    """Safe; `off`, `on`, `yes` and `no` are words (YAML 1.2), as in `balance.method: off`; no key may come twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":bool")]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = [key for key, count in Counter(map(str, keys)).items() if count > 1]
        if twice:
            line = node.start_mark.line + 1
            raise ConfigError(f"'{twice[0]}' is set twice in the group at line {line}: keep one")
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


@cache
def _parser() -> "ArgumentParser":
    from jsonargparse import ArgumentParser

    from raysys.config import Config

    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(Config)
    for name in OPTIONS:
        parser.add_argument(f"--{name}", action="store_true")
    return parser


def _read_preset(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings of a preset, on top of those of its `base`."""
    if path.resolve() in above:
        raise ConfigError(f"preset {path} is its own base: remove its 'base'")
    if not path.is_file():
        raise ConfigError(
            f"preset {path} is not a file: give the path of a YAML file (configs/*.yaml)"
        )
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"preset {path} is not YAML: {' '.join(str(error).split())}") from error
    except ConfigError as error:
        raise ConfigError(f"preset {path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"preset {path} must be a mapping of settings, not {type(values).__name__}"
        )
    base, corpora = values.pop("base", None), values.pop("corpora", None)
    _refuse_unknown_keys(values, path, prefix="")
    if corpora is not None:
        if not isinstance(corpora, dict):
            raise ConfigError(f"preset {path}: corpora is {{corpus name: PRESET}}, not {corpora!r}")
        values["corpora"] = {name: path.parent / str(file) for name, file in corpora.items()}
    if base is None:
        return values
    return _merged(_read_preset(path.parent / str(base), (*above, path.resolve())), values)


def _for_corpus(values: dict[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """A preset with what its `corpora` lay over it for the corpus that is used."""
    corpora = values.pop("corpora", {})
    name = _flag("corpus.name", arguments) or values.get("corpus", {}).get("name")
    return _merged(values, _read_preset(corpora[name])) if name in corpora else values


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Settings of `above` in front of those of `below`, group by group; a study's space is one, as are variants."""
    both = {**below, **above}
    whole = ("space", "variants", "columns")
    groups = {key for key in both if key not in whole and key in below and key in above}
    for key in groups:
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = _merged(below[key], above[key])
    return both


def _refuse_unknown_keys(values: dict[str, Any], path: Path, prefix: str) -> None:
    known = catalogue()
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name not in known:
            raise ConfigError(f"{path}: {unknown(name, known)}")
        if isinstance(known[name], Group):
            if not isinstance(value, dict):
                raise ConfigError(f"{path}: '{name}' is a group of settings, not {value!r}")
            _refuse_unknown_keys(value, path, f"{name}.")


def _refuse_unknown_flags(arguments: Sequence[str]) -> None:
    known = catalogue()
    settings = {name for name, one in known.items() if not isinstance(one, Group)} | {*OPTIONS}
    for position, argument in enumerate(arguments):
        after_flag = position > 0 and arguments[position - 1].startswith("--")
        if argument.endswith((".yaml", ".yml")) and not after_flag:
            raise ConfigError(f"'{argument}': a command takes one preset, before all flags")
        name = argument[2:].split("=", 1)[0]
        if not argument.startswith("--") or name in settings or _is_map(name.rpartition(".")[0]):
            continue
        if name in known:
            raise ConfigError(
                f"'{name}' is a group of settings: set one of them, see --help {name}"
            )
        raise ConfigError(unknown(name, settings))


def _is_map(name: str) -> bool:
    found = catalogue().get(name)
    return isinstance(found, Setting) and found.accepts == "map"


def _refuse_resume_and_retry(arguments: Sequence[str]) -> None:
    if {"--resume", "--retry"} <= set(arguments):
        raise ConfigError("--resume and --retry exclude each other: keep one")


def _refuse_missing_corpus(values: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Say that the corpus is not there before anything is loaded that would need it."""
    root = _flag("corpus.root", arguments) or values.get("corpus", {}).get("root") or ""
    if isinstance(root, str) and root and not Path(root).expanduser().is_dir():
        raise CorpusError(f"corpus.root {root} is not a folder: set --corpus.root to the corpus")


def _flag(name: str, arguments: Sequence[str]) -> str:
    """The value of a flag, the last one if it comes twice; empty where it is not given."""
    found = ""
    for place, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag == f"--{name}":
            found = value or next(iter(arguments[place + 1 :]), "")
    return found


def _one_line(error: Exception, preset: Path | None) -> str:
    source = f"{preset} or the command line: " if preset else ""
    message = " ".join(str(error).split()).replace("Parser key ", "")
    message = re.sub(r"Problem with given class_path '[\w.]+': ", "", message)
    if '"search.space"' in message:
        found = re.search(r"Option '\w+' is not accepted", message)
        what = f" ({found.group()})" if found else ""
        message = f"search.space: an entry is setting: {{low: A, high: B}} or setting: {{choices: [A, B]}}{what}"
    if '"ablation.variants"' in message:
        message = (
            "ablation.variants: an entry is NAME: {settings: {setting: value}, published: PER CENT}"
        )
    message = re.sub(
        r"Does not validate against any of the Union subtypes Subtypes: \[(.*)\] Errors: .* Given value: ",
        lambda found: f"Expected {found[1].replace(', typing', ' or typing')}, given ",
        message,
    )
    message = re.sub(r"<class '(\w+)'>", r"\1", message).replace("typing.Literal", "one of ")
    message = message.replace("Expected a tuple", "Expected a list, as in [a,b]")
    return f"{source}{message}; --help lists every setting"
