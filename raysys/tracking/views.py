"""Saved views of an experiment's runs: what people see of many runs before they choose columns themselves.

    kind of command -> columns, order, filter, charts -> experiment tag mlflow.sharedViewState.raysys-KIND
                    -> #/experiments/ID/runs?viewStateShareKey=raysys-KIND

MLflow 3.17 keeps a view as JSON {name, createdAt, updatedAt, state}, its state deflated and in base64, in a tag of the
experiment. The keys of a state are those that its own page writes there.
"""

import base64
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from raysys.config import Config

_TAG = "mlflow.sharedViewState.{}"
_DEFLATE = "deflate;"
_LINK = "#/experiments/{}/runs?viewStateShareKey={}"
_LONGEST = 5000
"""Characters of an experiment's tag."""
_PLURALS = {"cross_validation": "cross-validations", "refit": "refits"}
_OWN = ("study", "ablation")
"""Kinds whose runs are compared with those of the same command."""
_USUAL = ("loss.mu1", "loss.mu2", "balance.sigma", "balance.p")
"""Settings that are shown where a command names no others."""


def view_link(experiment_id: str, kind: str, run: str) -> str:
    """The part of a link behind the server's address.

    Args:
        experiment_id: MLflow's.
        kind: of a command.
        run: name of its folder.
    """
    return _LINK.format(experiment_id, _key(kind, run))


def view_tag(config: Config, kind: str, run: str) -> tuple[str, str]:
    """Tag and content of the view of a command's runs.

    Args:
        config: of the command: its task's score, and the settings that it varies.
        kind: of the command.
        run: name of its folder: a study or an ablation has a view of its own, runs of the other kinds share one.
    """
    score = config.compared.name if kind == "ablation" else config.task_type.main
    own = f"test/{score}" if kind != "refit" else f"test_of_folds/{score}"
    settings = _varied(config, kind) or _USUAL
    columns = [
        *(_metric(name) for name in (own, f"{own}_std", f"test_baseline/{score}")),
        *(_metric(name) for name in (f"test_minus_baseline/{score}", f"val_best/{score}")),
        *(f"params.`{name}`" for name in ("model.name", *settings)),
        "tags.`raysys.state`",
        *(["tags.`raysys.chosen`"] if kind == "study" else []),
    ]
    rises = next(m.higher_is_better for m in config.task_type.metrics if m.name == score)
    section = "raysys-charts"
    state = {
        "searchFilter": f"{_whose(kind, run)} AND tags.`raysys.kind` != 'fold'",
        "orderByKey": _metric(f"val_best/{score}" if kind == "study" else own),
        "orderByAsc": not rises,
        "selectedColumns": columns,
        "compareRunSections": [
            {
                "uuid": section,
                "name": "raysys",
                "display": True,
                "isReordered": False,
                "deleted": False,
                "isGenerated": False,
            }
        ],
        "compareRunCharts": _charts(score, own, settings, kind, section),
    }
    packed = base64.b64encode(zlib.compress(_compact(state).encode(), 9)).decode("ascii")
    now = int(time.time() * 1000)
    name = f"raysys: {run if kind in _OWN else _PLURALS[kind]}"
    content = {"name": name, "createdAt": now, "updatedAt": now, "state": f"{_DEFLATE}{packed}"}
    tag = _compact(content)
    assert len(tag) <= _LONGEST
    return _TAG.format(_key(kind, run)), tag


def read_view(tag: str) -> dict[str, Any]:
    """The state of a view, as MLflow's page reads it; for tests.

    Args:
        tag: content of the experiment's tag.
    """
    packed = json.loads(tag)["state"].removeprefix(_DEFLATE)
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def _key(kind: str, run: str) -> str:
    return f"raysys-{kind}-{run}" if kind in _OWN else f"raysys-{kind}"


def _whose(kind: str, run: str) -> str:
    return f"tags.`raysys.run` = '{run}'" if kind in _OWN else f"tags.`raysys.command` = '{kind}'"


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _varied(config: Config, kind: str) -> tuple[str, ...]:
    """Settings in which the trials of a command differ; the first ones, where they are many."""
    if kind == "study":
        return tuple(config.search.space)[:8]
    if kind == "ablation":
        return tuple(dict.fromkeys(n for one in config.ablation.cells for n in one.settings))[:8]
    return ()


def _charts(
    score: str, own: str, settings: Sequence[str], kind: str, section: str
) -> list[Mapping[str, Any]]:
    """Curves of folds or trials; of a study also parallel coordinates and the score over each setting."""
    val = f"val_best/{score}" if kind == "study" else own
    charts: list[dict[str, Any]] = [
        {"type": "LINE", "metricKey": f"val/{score}", "selectedMetricKeys": [f"val/{score}"]},
        {"type": "BAR", "metricKey": val},
    ]
    if kind in ("study", "ablation"):
        charts.append(
            {"type": "PARALLEL", "selectedParams": list(settings), "selectedMetrics": [val]}
        )
        charts += [
            {
                "type": "SCATTER",
                "xaxis": {"key": name, "type": "PARAM"},
                "yaxis": {"key": val, "type": "METRIC"},
            }
            for name in settings[:2]
        ]
    usual = {"metricSectionId": section, "deleted": False, "isGenerated": False}
    return [
        {"uuid": f"raysys-{k}", "runsCountToCompare": 100, **usual, **one}
        for k, one in enumerate(charts)
    ]


def _compact(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))
