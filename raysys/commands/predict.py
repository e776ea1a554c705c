"""`jobs.predict`: from names on a command line to a table, a file, a picture."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.progress import Progress

from raysys.commandline import encoder_places
from raysys.corpus.table import Utterance
from raysys.errors import ConfigError
from raysys.predicting.inputs import in_windows, read_inputs
from raysys.predicting.large import Source, predict_into
from raysys.predicting.members import Ensemble, load_ensemble
from raysys.predicting.predict import check_reads, dialogue_note, predict
from raysys.predicting.table import answers_table, check_out, records, scores_line
from raysys.predicting.transcribe import Transcriber, with_texts
from raysys.report.tables import as_rich
from raysys.settings import require
from raysys.storage import resolve_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 10
"""Reasons that are printed."""
_MANY = 50
"""Rows whose progress is shown."""
_FIRST = 5000
"""Records that are kept for the terminal and the picture."""


def predict_command(given: argparse.Namespace) -> int:
    """Predict, and say or write what was found.

    Args:
        given: arguments of `jobs.predict`.

    Returns:
        0, or 1 where a row could not be read.

    Raises:
        RaysysError: no such run or input, or nothing that its model reads.
    """
    console = Console()
    _check(given)
    runs = resolve_folder(given.runs)
    encoders = encoder_places(given.encoder)
    ensemble = load_ensemble(given.run, runs, fold=given.fold, encoders=encoders)
    check_reads(ensemble)
    rows = _rows(given, console)
    if note := dialogue_note(ensemble, rows):
        _say(console, f"note: {note}")
    with _bar(console, len(rows)) as told:
        if given.out:
            source = Source(given.run, runs.uri, given.fold, given.threshold, encoders=encoders)
            file = Path(given.out).expanduser().resolve()
            found = Found()
            for table in predict_into(
                file, ensemble, rows, source, workers=given.workers, told=told
            ):
                found.take(table.to_pylist())
        else:
            answers = list(predict(ensemble, rows, told=told))
            shown = records(ensemble, answers, threshold=given.threshold)
            labels = [one.row.label for one in answers]
            found = Found()
            found.take([{**r, "label": one} for r, one in zip(shown, labels, strict=True)])
    if given.out:
        read = len(rows) - len(found.reasons)
        _say(console, f"table        {given.out}, {len(rows)} rows, {read} of them predicted")
        for note, times in list(found.notes.items())[:_NAMED]:
            _say(console, f"note         {times} rows: {note}")
    else:
        console.print(as_rich(answers_table(ensemble, found.first)))
    if given.picture:
        over_time(ensemble, found.first).savefig(Path(given.picture).expanduser(), dpi=120)
        _say(console, f"picture      {given.picture}")
    if line := scores_line(ensemble, found.labelled):
        _say(console, line)
    if ensemble.tested:
        _say(console, f"tested       {ensemble.tested}")
    for reason in found.reasons[:_NAMED]:
        _say(console, f"not read     {reason}")
    if len(found.reasons) > _NAMED:
        _say(console, f"             and {len(found.reasons) - _NAMED} more")
    if not given.out:
        _say(
            console,
            "next         the same with --out FILE.csv writes all of it, with your own columns",
        )
    return 1 if found.reasons else 0


@dataclass
class Found:
    """What is kept of the records of many rows."""

    first: list[dict[str, Any]] = field(default_factory=list)
    labelled: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """Why rows could not be read."""
    notes: Counter[str] = field(default_factory=Counter)
    """What readers must know of rows that could be."""

    def take(self, records: Sequence[dict[str, Any]]) -> None:
        """Keep of some more what is shown: the first ones, those with a label, and what could not be read."""
        self.first += records[: max(0, _FIRST - len(self.first))]
        self.labelled += [row for row in records if row["label"]]
        self.reasons += [row["note"] for row in records if not row["members"]]
        self.notes.update(row["note"] for row in records if row["members"] and row["note"])


def _check(given: argparse.Namespace) -> None:
    require(0 <= given.threshold <= 1, "threshold", given.threshold, "from 0 to 1")
    if given.out:
        check_out(given.out)
    if given.picture and not Path(given.picture).expanduser().parent.is_dir():
        raise ConfigError(f"--picture {given.picture}: there is no such folder")
    if (given.step is not None or given.picture) and given.window is None:
        raise ConfigError("--step and --picture go with --window SECONDS")
    if given.workers is not None:
        require(given.workers >= 0, "workers", given.workers, "0 or more")
        if not given.out:
            raise ConfigError("--workers goes with --out FILE: what they find is written there")


def _rows(given: argparse.Namespace, console: Console) -> list[Utterance]:
    """What is to be predicted: cut into stretches and written down where that is wanted."""
    rows = read_inputs(given.inputs, given.text, columns=_columns(given.columns))
    if given.window is not None:
        step = given.window / 2 if given.step is None else given.step
        rows = in_windows(rows, seconds=given.window, step=step)
        if any(row.text for row in rows):
            _say(console, "note: the text of a recording goes to each of its stretches")
    if given.transcribe:
        transcriber = Transcriber(given.transcribe)
        with _bar(console, len(rows), "transcribing") as told:
            rows = list(with_texts(rows, transcriber, told))
        if not any(row.text for row in rows):
            raise ConfigError(
                f"--transcribe {given.transcribe} found no words in any of {len(rows)} recordings: give --text, or a "
                "table with texts"
            )
    return rows


@contextmanager
def _bar(console: Console, total: int, what: str = "predicting") -> Iterator[Callable[[int], None]]:
    with Progress(console=console, transient=True, disable=total < _MANY) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)


def _columns(given: str) -> Mapping[str, str]:
    if not given:
        return {}
    try:
        found = yaml.safe_load(given)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"--columns is {given}, but must be as {{audio: file, text: words}}")
    return {str(ours): str(theirs) for ours, theirs in found.items()}


def over_time(ensemble: Ensemble, rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Probabilities over the seconds of the first recording that was cut into stretches.

    Args:
        ensemble: of a classification.
        rows: records with start and end.

    Raises:
        ConfigError: nothing was cut.
    """
    cut = [row for row in rows if row.get("start") is not None and row["members"]]
    if not cut or ensemble.task.name != "classification":
        raise ConfigError("--picture draws the probabilities of audio that --window has cut")
    first = cut[0]["utterance"].rsplit(" ", 1)[0]
    own = [row for row in cut if row["utterance"].rsplit(" ", 1)[0] == first]
    middle = [(row["start"] + row["end"]) / 2 for row in own]
    from matplotlib.figure import Figure  # half a second

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    for name in ensemble.task.outputs:
        axes.plot(middle, [row[f"p_{name}"] for row in own], marker="o", markersize=3, label=name)
    axes.set_ylim(0, 1)
    axes.set_xlabel("seconds (middle of each stretch)")
    axes.set_ylabel("probability")
    axes.set_title(first, fontsize=10)
    axes.legend(ncols=4, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
