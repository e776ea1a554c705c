"""The driver ended at every step of a command (each write, MLflow call and pool event), and the command said again:
its result and what MLflow holds (parameters, points, inputs, artifacts, states) are those of the undisturbed run."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from raysys.config import Config
from raysys.config.running import AblationConfig, Variant
from tests.here import small_study, tiny
from tests.killed import DIED, command

CONFIGS: dict[str, Callable[[Config], Config]] = {
    "cross_validate": tiny,
    "tune": lambda config: small_study(config, num_trials=3),
    "ablate": lambda config: replace(
        tiny(config),
        ablation=AblationConfig(
            variants={"plain": Variant({}), "more": Variant({"loss.mu1": 0.3})}
        ),
    ),
}


@pytest.mark.proof("running", "commands", "search", "sealed", "storage", "tracking", "trials")
@pytest.mark.parametrize("job", CONFIGS)
def test_a_command_that_dies_at_any_step_ends_as_the_undisturbed_one(
    job: str, small: Config, tmp_path: Path
):
    config, told = CONFIGS[job](small), tmp_path / "told.json"
    runs, clean = Path(config.storage.runs), tmp_path / "clean"
    shutil.copytree(runs, clean)
    command(job, config, told)  # stores are made once
    shutil.rmtree(runs)
    shutil.copytree(clean, runs)
    status, whole = command(job, config, told)
    assert status == 0
    expected = whole["logged"]
    stride = int(os.environ.get("RAYSYS_STEPS", "1"))
    wrong, missed = {}, 0
    steps = range(1, whole["steps"] + 1, stride)
    for step in steps:
        for after in (False, True) if stride == 1 else (step // stride % 2 == 0,):
            shutil.rmtree(runs)
            shutil.copytree(clean, runs)
            status, _ = command(job, config, told, last=step, after=after)
            missed += status != DIED  # how many calls MLflow's thread makes is not always the same
            status, again = command(job, config, told)
            if again.get("result") != whole["result"]:
                wrong[step, after] = str(again.get("error") or "another result")
            elif again["logged"] != expected:
                wrong[step, after] = differing(again["logged"], expected)
    print(job, whole["steps"], "steps")
    assert missed <= 0.2 * len(steps)
    assert not wrong, "\n".join(f"{step}: {what}" for step, what in wrong.items())


def differing(found: dict, expected: dict) -> str:
    """Where what MLflow holds is something else."""
    if set(found) != set(expected):
        return f"runs: {sorted(set(found) ^ set(expected))}"
    told = []
    for run, content in expected.items():
        for part, value in content.items():
            there = found[run][part]
            if there == value:
                continue
            if isinstance(value, dict):
                names = [k for k in {**value, **there} if there.get(k) != value.get(k)]
                told.append(
                    f"{run}: {part}: "
                    + ", ".join(f"{k} {there.get(k)} for {value.get(k)}" for k in names[:3])
                )
            else:
                told.append(f"{run}: {part}: {there} for {value}"[:300])
    return "; ".join(told)[:600]
