"""Trials of a study that had ended before its command was resumed."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from raysys.config import Config
from raysys.config.running import SearchConfig
from raysys.errors import ConfigError, DamagedError
from raysys.report.results import TrialRecord
from raysys.settings import replaced
from raysys.storage import Folder
from raysys.training.fold import read_result
from raysys.trials.trial import Trial, TrialOutcome


def recalled(record: TrialRecord, base: Trial, folder: Folder, n_folds: int) -> TrialOutcome:
    """What became of a trial, from its record and its folds' files.

    Raises:
        DamagedError: a fold of a COMPLETE one is missing or damaged.
    """
    try:
        config = replaced(base.config, record.values)
    except ConfigError:  # values that did not go together: that is why it failed
        config = base.config
    trial = replace(base, name=record.name, config=config, values=record.values)
    tasks = trial.fold_tasks(folder / record.name, n_folds) if record.state == "COMPLETE" else []
    results = [read_result(Folder(task.folder)) for task in tasks]
    for task, result in zip(tasks, results, strict=True):
        if result is None:
            raise DamagedError(f"{task.folder} is missing or not finished")
    return TrialOutcome(
        trial,
        record.state,  # type: ignore[arg-type]
        tuple(result for result in results if result),
        record.scores,
        record.curve,
        record.epochs,
        (),
        record.reason,
    )


def recall_trials(
    records: Sequence[TrialRecord],
    base: Trial,
    folder: Folder,
    n_folds: int,
    note: Callable[[str], None],
) -> tuple[list[TrialRecord], dict[str, TrialOutcome]]:
    """Records to go on with, and what became of the trials that have ended; one that is damaged is begun anew.

    Args:
        records: of the journal.
        base: the configuration without any proposal.
        folder: of the trials.
        n_folds: of each.
        note: called with what is done again.
    """
    kept, ended = list[TrialRecord](), dict[str, TrialOutcome]()
    for record in records:
        if record.has_ended:
            try:
                ended[record.name] = recalled(record, base, folder, n_folds)
            except DamagedError as damage:
                note(f"{damage}: {record.name} is done again")
        lost = record.has_ended and record.name not in ended
        kept.append(record.begun() if lost else record)
    return kept, ended


def longest_training(config: Config, search: SearchConfig) -> int:
    """Most epochs that a trial can have."""
    item = search.space.get("training.max_epochs")
    if item is None:
        return config.epochs
    return max(int(value) for value in item.choices or (item.high,))  # type: ignore[arg-type]
