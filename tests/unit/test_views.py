"""Saved views of MLflow's runs page, as the page reads them."""

import pytest

from raysys.config import Config
from raysys.config.running import AblationConfig, Distribution, SearchConfig, Variant
from raysys.tracking.views import read_view, view_link, view_tag

SPACE = {"loss.mu1": Distribution(0.0, 0.5), "balance.sigma": Distribution(0.3, 2.0)}
ABLATION = AblationConfig({"a": Variant(), "b": Variant({"loss.omega": 0.5})})


@pytest.mark.parametrize("kind", ["cross_validation", "study", "ablation", "refit"])
def test_a_view_shows_scores_unasked_the_best_first(kind: str):
    config = Config(search=SearchConfig(space=SPACE), ablation=ABLATION)
    name, content = view_tag(config, kind, "mine-2")
    own = "-mine-2" if kind in ("study", "ablation") else ""
    assert name == f"mlflow.sharedViewState.raysys-{kind}{own}"
    assert len(content) < 5000  # MLflow's limit
    state = read_view(content)
    first = "test_of_folds/ua" if kind == "refit" else "test/ua"
    by = "val_best/ua" if kind == "study" else first  # a study's trials have no test score
    assert state["orderByKey"] == f"metrics.`{by}`"
    assert state["orderByAsc"] is False
    assert state["selectedColumns"][0] == f"metrics.`{first}`"
    assert state["compareRunCharts"][0]["type"] == "LINE"
    assert ("'mine-2'" if own else f"'{kind}'") in state["searchFilter"]


def test_a_study_s_view_has_the_settings_that_it_searched():
    state = read_view(view_tag(Config(search=SearchConfig(space=SPACE)), "study", "s")[1])
    assert {"params.`loss.mu1`", "params.`balance.sigma`"} <= set(state["selectedColumns"])
    kinds = [one["type"] for one in state["compareRunCharts"]]
    assert kinds == ["LINE", "BAR", "PARALLEL", "SCATTER", "SCATTER"]
    assert state["compareRunCharts"][2]["selectedParams"] == list(SPACE)


def test_an_ablation_s_view_has_the_settings_of_its_variants():
    state = read_view(view_tag(Config(ablation=ABLATION), "ablation", "a")[1])
    assert "params.`loss.omega`" in state["selectedColumns"]


def test_a_link_opens_it():
    start = "#/experiments/3/runs?viewStateShareKey=raysys"
    assert view_link("3", "study", "mine-2") == f"{start}-study-mine-2"
    assert view_link("3", "cross_validation", "mine") == f"{start}-cross_validation"
