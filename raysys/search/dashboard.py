"""A study as Optuna's own journal file, `optuna.log` in its run folder, which optuna-dashboard opens while it runs.

It is a copy for looking at: nothing reads it, and a damaged one is written anew (see `raysys.search.journal`).
"""

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

FILE = "optuna.log"
_STUDY = "study"


class Dashboard:
    """Writes the trials of a study that have ended, each once.

    Args:
        file: the journal; None writes nothing, as where a run folder is in object storage.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: set[str] | None = None

    def write(self, study: optuna.Study) -> None:
        """Add what has ended since; never a reason for a study to fail."""
        if self._file is None:
            return
        try:
            self._add(study)
        except Exception:  # a damaged file, or a disk that is full: the study has its own records
            self._file.unlink(missing_ok=True)
            self._known = None

    def _add(self, study: optuna.Study) -> None:
        copy = self._open(study.directions)
        if self._known is None:
            self._known = {trial.user_attrs.get("name", "") for trial in copy.get_trials(False)}
        for trial in study.get_trials(deepcopy=False):
            name = trial.user_attrs.get("name", "")
            if name and name not in self._known and trial.state.is_finished():
                copy.add_trial(trial)
                self._known.add(name)

    def _open(self, directions: Sequence[optuna.study.StudyDirection]) -> optuna.Study:
        storage = JournalStorage(JournalFileBackend(str(self._file)))
        return optuna.create_study(
            storage=storage, study_name=_STUDY, directions=directions, load_if_exists=True
        )
