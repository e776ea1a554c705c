"""Every file of a run folder damaged in every way, and the command resumed: the undisturbed result with a note, or one
line with a remedy. Nothing that is damaged is used, nothing ends in a traceback, nothing is a dead end."""

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raysys.commands.cross_validate import cross_validate
from raysys.commands.tune import tune
from raysys.config import Config
from raysys.errors import RaysysError
from tests.here import do_folds_here, numbers, small_study, tiny


def flip(content: bytes, share: float) -> bytes:
    place = min(int(share * len(content)), len(content) - 1)
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "a bit at the start": lambda content: flip(content, 0.02),
    "a bit in the middle": lambda content: flip(content, 0.5),
    "a bit at the end": lambda content: flip(content, 0.97),
    "zeroed": lambda content: bytes(len(content)),
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a list": lambda content: b"[]",
    "another object": lambda content: b'{"version": 4, "kind": "trial", "status": "FINISHED"}',
    "gone": lambda content: None,
}


PROOF = pytest.mark.proof(
    "running", "commands", "search", "sealed", "storage", "tracking", "training"
)
Run = Callable[[Config, bool], tuple[Any, str]]


def run(job: Callable[..., Any]) -> Run:
    def do(config: Config, resume: bool) -> tuple[Any, str]:
        console = Console(file=StringIO(), width=120)
        result = job(config, resume=resume, console=console)
        return numbers(result), console.file.getvalue()

    return do


def _must_be_told(file: Path, damage: str) -> bool:
    """What was trained is trained again; the rest is written anew, or has a copy. A fold without record never ended."""
    is_fold = any(part.startswith("fold_") for part in file.parts)
    return is_fold and not (file.name == "fold.json" and damage == "gone")


def damage_everything(config: Config, do: Run, folder: Path, kept: Path) -> dict[str, int]:
    """Damage each file of a finished run in each way and resume; what came of it, counted."""
    expected, _ = do(config, False)
    shutil.copytree(folder, kept)
    counts = {"same, said": 0, "same": 0, "refused": 0}
    files = sorted(
        p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and p.name != ".lock"
    )
    kinds: dict[str, Path] = {}
    for file in files:  # one of each kind: folds and trials are alike
        kinds.setdefault("/".join(part.rstrip("0123456789") for part in file.parts), file)
    for file in kinds.values():
        for name, damage in DAMAGES.items():
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
            damaged = damage((folder / file).read_bytes())
            (folder / file).unlink() if damaged is None else (folder / file).write_bytes(damaged)
            refused, found, said = "", None, ""
            try:
                found, said = do(config, True)
            except RaysysError as error:
                refused = str(error)
            if refused:
                assert "\n" not in refused, (file, name)
                assert "run without --resume" in refused, (file, name, refused)
                counts["refused"] += 1
                continue
            assert found == expected, (file, name)
            told = "again" in said
            assert told or not _must_be_told(file, name), (file, name, said)
            counts["same, said" if told else "same"] += 1
    return counts


@PROOF
def test_a_cross_validation_of_which_any_file_is_damaged_ends_alike(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    config = tiny(small)
    folder = Path(config.storage.runs) / "small"
    counts = damage_everything(config, run(cross_validate), folder, tmp_path / "kept")
    print(counts)
    assert sum(counts.values()) >= 100
    # Of run.json and its copy: nobody knows what run it was.
    assert counts["refused"] <= 2 * len(DAMAGES)


@PROOF
def test_a_study_of_which_any_file_is_damaged_ends_alike(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    do_folds_here(monkeypatch)
    config = small_study(small, num_trials=4)
    folder = Path(config.storage.runs) / "study"
    counts = damage_everything(config, run(tune), folder, tmp_path / "kept")
    print(counts)
    assert sum(counts.values()) >= 150
