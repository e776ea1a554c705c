"""What a study has done so far, as one small file a trial: enough to go on after any kill.

trials/trial_007/trial.json    number, round, values, state, curve of the objectives, scores, reason
trials/trial_007/fold_K/       what a fold left (see raysys.training.fold)

Tune's own snapshots are not used: they are pickles, lag behind, and forget what the scheduler knew. A resumed study
tells Optuna and the scheduler of the trials that have ended, and begins the others again; their folds go on from
their checkpoints.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from raysys.storage import Folder

UNTUNED = "untuned"
"""Name of the base configuration, which runs beside the trials."""
State = Literal["RUNNING", "COMPLETE", "PRUNED", "FAILED", "STOPPED"]
"""PRUNED was stopped by the scheduler, STOPPED by the time limit: a resumed study goes on with it."""


@dataclass(frozen=True)
class CurvePoint:
    """A trial after an epoch, mean over its folds."""

    epoch: int
    objectives: dict[str, float]
    """Of each fold's best epoch so far."""
    val: dict[str, float]
    """Validation scores of this epoch."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial, as its file holds it."""

    name: str
    number: int
    round: int
    """From 1."""
    values: dict[str, Any]
    """Setting -> value."""
    params: dict[str, Any]
    """Optuna's parameters, of which the values are made."""
    state: State = "RUNNING"
    curve: list[CurvePoint] = field(default_factory=list)
    """As it was reported, without the last epoch of a trial that has all its folds."""
    scores: dict[str, float] = field(default_factory=dict)
    """Mean over folds of the best epochs' validation scores; of a stopped trial, so far."""
    epochs: int = 0
    """Sum over the folds."""
    most_epochs: int = 0
    """What `epochs` could have been at most."""
    reason: str = ""
    """Why it failed."""

    @property
    def has_ended(self) -> bool:
        """Whether a resumed study leaves it as it is."""
        return self.state in ("COMPLETE", "PRUNED", "FAILED")


class Journal:
    """Trials of one study, in its run folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder / "trials"

    def write(self, record: TrialRecord) -> None:
        """Write a trial's file."""
        (self.folder / record.name).write_json("trial.json", asdict(record))

    def read(self) -> list[TrialRecord]:
        """All trials in the order of their numbers."""
        folders = [self.folder / name for name in self.folder.names()]
        records = [_record(f.read_json("trial.json")) for f in folders if f.exists("trial.json")]
        return sorted(records, key=lambda record: record.number)


def trial_name(number: int) -> str:
    """Name of a trial, and of its folder."""
    return f"trial_{number:03d}"


def _record(plain: dict[str, Any]) -> TrialRecord:
    curve = [CurvePoint(**point) for point in plain.pop("curve")]
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.pop("values").items()}
    return TrialRecord(**plain, curve=curve, values=values)
