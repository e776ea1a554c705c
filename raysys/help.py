"""What `--help` shows: first the settings that people change, then the groups, of which each has a page.

--help                what a command is for, how it is called, the usual settings, the groups
--help training       every setting of a group; also `--help.training`, or one setting by its name
--help all            every setting there is
"""

import inspect
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from raysys.catalogue import Group, Setting, catalogue
from raysys.errors import ConfigError, nearest

USUAL = (
    "corpus.name",
    "corpus.root",
    "corpus.skip_bad",
    "features.audio",
    "features.text",
    "features.audio_transformers.model",
    "features.transformers.model",
    "features.normalise",
    "folds.method",
    "folds.groups",
    "folds.n_splits",
    "model.name",
    "model.modalities",
    "loss.mu1",
    "loss.mu2",
    "loss.omega",
    "balance.method",
    "training.seeds",
    "training.max_epochs",
    "training.batch_size",
    "training.learning_rate",
    "cluster.workers",
    "cluster.gpus_per_fold",
    "storage.runs",
    "tracking.uri",
)
"""The settings that most people change."""
OPTIONS = {
    "resume": "Finish the latest unfinished run of this command, on any cluster, instead of starting a new one.",
    "retry": "Resume an unfinished run if there is one, otherwise start a new run.",
    "debug": "Show the traceback of an error.",
}
"""Flags that say how to run, not what."""
_WIDEST = 100


def topic_of(arguments: Sequence[str]) -> str | None:
    """What help is asked for: a name, empty for the first page; None where none is asked for."""
    for place, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag in ("-h", "--help"):
            after = next(iter(arguments[place + 1 :]), "")
            return value or ("" if after.startswith("-") else after)
        if flag.startswith("--help."):
            return flag.removeprefix("--help.")
    return None


def help_page(topic: str, *, program: str, about: str, own: str = "") -> str:
    """The page of a topic.

    Args:
        topic: empty, `all`, or the dotted name of a group or setting.
        program: how the user called it.
        about: what the command does, and its examples (a job's docstring).
        own: the group that only this command reads, shown on its first page.

    Raises:
        ConfigError: there is no such topic.
    """
    known = catalogue()
    if not topic:
        return "\n".join(_first_page(program, about, own))
    if topic == "all":
        return "\n".join(_page(known.values()))
    entry = known.get(topic)
    if entry is None:
        raise ConfigError(f"no help on '{topic}': {nearest(topic, known)}")
    under = [one for name, one in known.items() if name.startswith(f"{topic}.")]
    return "\n".join(_page([entry, *under]))


def usage(program: str) -> str:
    """One line."""
    return f"usage: {program} [PRESET.yaml] [--GROUP.FIELD VALUE]... [--resume | --retry] [--debug]"


def _first_page(program: str, about: str, own: str) -> Iterator[str]:
    known = catalogue()
    yield from (usage(program), "", *inspect.cleandoc(about).splitlines(), "")
    yield "A preset (a YAML file, see configs/) holds settings; a flag overrides it."
    yield ""
    for name, meaning in OPTIONS.items():
        yield from _entry(f"--{name}", meaning)
    for title, names in (
        ("The usual settings:", USUAL),
        (
            f"Read by this command alone ({own}):",
            [n for n in known if own and n.startswith(f"{own}.")],
        ),
    ):
        if names:
            yield from ("", title)
            for name in names:
                yield from _line_of(known[name], briefly=True)
    yield from ("", f"All groups ({program} --help GROUP; --help all shows every setting):")
    for name, one in known.items():
        if isinstance(one, Group) and "." not in name:
            yield f"  {name:<11} {one.meaning}"


def _page(entries: Iterable[Setting | Group]) -> Iterator[str]:
    for one in entries:
        yield from _line_of(one)


def _line_of(one: Setting | Group, *, briefly: bool = False) -> Iterator[str]:
    if isinstance(one, Group):
        yield from ("", f"{one.name}: {one.meaning}")
    else:
        meaning = one.meaning.split(". ")[0].rstrip(".") + "." if briefly else one.meaning
        yield from _entry(f"--{one.name}  {one.accepts} (default: {one.default})", meaning)


def _entry(head: str, meaning: str) -> Iterator[str]:
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    yield f"  {head}"
    yield from textwrap.wrap(meaning, width, initial_indent=" " * 8, subsequent_indent=" " * 8)
