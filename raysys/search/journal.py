"""What a study has done so far, as one small file a trial: enough to go on after any kill.

trials/trial_007/trial.json    number, round, values, state, curve, scores, reason (`raysys.report.results.TrialRecord`)
trials/trial_007/fold_K/       what a fold left (see `raysys.training.fold`)

A resumed study reports the trials that have ended to Optuna and the scheduler, and begins the others again; their
folds go on from their checkpoints.
"""

from dataclasses import replace

from raysys.errors import DamagedError
from raysys.report.results import TrialRecord, parse_as, plain
from raysys.sealed import is_stored, read_sealed, write_sealed
from raysys.storage import Folder


class Journal:
    """Trials of one study, in its run folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder / "trials"

    def write(self, record: TrialRecord) -> None:
        """Write a trial's file."""
        write_sealed(self.folder / record.name, "trial.json", plain(record), twice=True)

    def read(self) -> list[TrialRecord]:
        """All trials whose record is whole, in the order of their numbers; the others are done again."""
        records = [record for record in self._read().values() if record is not None]
        return sorted(records, key=lambda record: record.number)

    def damaged(self) -> list[str]:
        """Paths of the records of which neither the file nor its copy is what was written."""
        return [path for path, record in self._read().items() if record is None]

    def _read(self) -> dict[str, TrialRecord | None]:
        """Path -> the record; None where it is damaged."""
        found: dict[str, TrialRecord | None] = {}
        for folder in (self.folder / name for name in self.folder.names()):
            path = folder.path("trial.json")
            try:
                if is_stored(folder, "trial.json"):
                    found[path] = _read(folder)
            except DamagedError:
                found[path] = None
        return found


def trial_name(number: int) -> str:
    """Name of a trial, and of its folder."""
    return f"trial_{number:03d}"


def _read(folder: Folder) -> TrialRecord:
    content = read_sealed(folder, "trial.json")
    record = parse_as(TrialRecord, content, folder.path("trial.json"))
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in record.values.items()}
    return replace(record, values=values)
