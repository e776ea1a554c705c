"""What came out in a line: the score, what guessing scores, and a word where the two are close."""

from dataclasses import replace
from pathlib import Path

import pytest

from raysys.report.headline import on_test_parts, sentence
from raysys.report.results import TrialResult, read_result
from raysys.storage import Folder

KEPT = Path(__file__).parents[1] / "kept" / "cross_validation"


@pytest.fixture
def result() -> TrialResult:
    found = read_result(Folder(str(KEPT)))
    assert isinstance(found, TrialResult)
    return found


def scored(result: TrialResult, mean: float, std: float) -> TrialResult:
    return replace(
        result,
        mean={**result.mean, "test": {**result.mean["test"], "ua": mean}},
        std={**result.std, "test": {**result.std["test"], "ua": std}},
    )


def test_a_model_clearly_above_chance_is_told_with_what_guessing_scores(result: TrialResult):
    clear = scored(result, mean=0.5, std=0.05)
    assert on_test_parts(clear) == "UA 50.0 +- 5.0 on its test parts; chance 16.7"
    assert "chance 16.7" in sentence(clear)
    assert "within one deviation" not in sentence(clear)


@pytest.mark.parametrize("mean, std", [(0.2, 0.05), (0.1, 0.01), (0.3, float("nan"))])
def test_a_model_near_chance_is_said_to_be_so(mean: float, std: float, result: TrialResult):
    near = scored(result, mean, std)
    assert on_test_parts(near).endswith("chance 16.7. That is within one deviation of chance.")
    assert "That is within one deviation of chance. " in sentence(near)
