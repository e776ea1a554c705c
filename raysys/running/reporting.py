"""A run's report, from what is in its folder: report.html, one page that needs nothing else, and report.md.

run folder -> result, settings, stored predictions -> pictures, sections -> page
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raysys.config import Config
from raysys.errors import ConfigError, StorageError, lookup
from raysys.predicting.members import chosen_trial, run_of, trained_folds
from raysys.predictions import read_predictions
from raysys.report.headline import sentence
from raysys.report.markdown import as_markdown
from raysys.report.page import page
from raysys.report.pictures import draw
from raysys.report.results import AblationResult, RefitResult, Result, StudyResult, read_result
from raysys.report.sections import Material, report_lines, report_sections, report_title
from raysys.report.study_pictures import study_figures
from raysys.sealed import read_sealed
from raysys.search.searcher import importances
from raysys.search.space import Space, make_space
from raysys.settings import flat, from_dict, to_dict
from raysys.storage import Folder
from raysys.tasks import TASKS
from raysys.tasks.exhibits import Exhibit, HeatMap, Picture
from raysys.tasks.task import Task
from raysys.tracking.command_log import JOBS

PAGE, MARKDOWN = "report.html", "report.md"


def report_command(place: str, *, out: str, runs: Folder) -> None:
    """`jobs.report`: write a run's report, and say what came out and where it is.

    Args:
        place: the run's name or folder, or a variant's folder.
        out: a further file: the report as .html or .md, or its first picture of similarity as .png; empty for none.
        runs: folder of all runs.

    Raises:
        ConfigError: no such run, or another kind of file.
        StorageError: it has not ended, or is damaged.
    """
    folder, file = run_of(place, runs), Path(out).expanduser()
    if out and file.suffix.lower() not in (".html", ".md", ".png"):
        raise ConfigError(f"--out is {out}, but must end with .html, .md or .png")
    if out and not file.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {file.parent}")
    if folder.exists("run.json") or not folder.exists(PAGE):  # else it was handed on, with its page
        write_report(folder)
    if file.suffix.lower() == ".png":
        drawn = [one for one in _pictures(folder, read_result(folder)) if isinstance(one, HeatMap)]
        if not drawn:
            raise ConfigError(f"--out {out}: {place} has no picture of similarity: give .html")
        draw(drawn[0]).savefig(file, dpi=80)
    elif out:
        name = MARKDOWN if file.suffix.lower() == ".md" else PAGE
        file.write_bytes(folder.read_bytes(name))
    print(sentence(read_result(folder)))
    print(f"report       {file if out else folder.path(PAGE)}")
    print(f"next         python -m jobs.compare {place} OTHER_RUN")


def write_report(folder: Folder, *, pictures: Sequence[Exhibit] = ()) -> str:
    """Write report.html and report.md next to a run's result.json.

    Args:
        folder: of a run that has ended.
        pictures: of what is not in the folder.

    Returns:
        The page.

    Raises:
        StorageError: the run has not ended, or is damaged.
    """
    if not folder.exists("result.json"):
        raise StorageError(
            f"{folder.path()} has no result.json: the same command with --resume finishes the run"
        )
    result = read_result(folder)
    made_of = _material(folder, result, pictures)
    lines, title = report_lines(result), report_title(result, made_of)
    found = page(title, lines, report_sections(result, made_of))
    folder.write_bytes(PAGE, found.encode())
    folder.write_bytes(MARKDOWN, f"# {title}\n\n{as_markdown(result, most=None)}\n".encode())
    return found


def _material(folder: Folder, result: Result, pictures: Sequence[Exhibit]) -> Material:
    top = folder if folder.exists("config.json") else Folder(folder.uri.rsplit("/", 1)[0])
    config = from_dict(Config, top.read_json("config.json"))
    usual = flat(to_dict(Config()))
    settings = {k: v for k, v in flat(to_dict(config)).items() if v != usual.get(k)}
    space: Space | None = make_space(config) if isinstance(result, StudyResult) else None
    maps = folder / "attention"
    drawn = [
        maps.read_bytes(name).decode() for name in sorted(maps.names()) if name.endswith(".svg")
    ]
    return Material(
        folder.name,
        settings,
        _again(result, top),
        folder.path(),
        config.model.modalities,
        pictures=[
            *_pictures(folder, result),
            *(one for one in pictures if isinstance(one, Picture)),
        ],
        drawn=drawn,
        figures=None if space is None else _figures(space, result),
        space=None if space is None else space.settings,
    )


def _again(result: Result, top: Folder) -> str:
    """The command that repeats a run; a variant with all others."""
    if isinstance(result, RefitResult):
        return f"python -m jobs.refit {result.source}"
    verb = "ablate" if result.kind == "trial" else JOBS[result.kind]
    return f"python -m jobs.{verb} {top.path('config.json')}"


def _pictures(folder: Folder, result: Result) -> list[Picture]:
    """What the task shows of opened test predictions."""
    if isinstance(result, AblationResult | RefitResult):
        return []
    places = trained_folds(chosen_trial(folder))
    task = task_of(places[0][2])
    opened = [read_predictions(place, task.stored) for _, _, place in places]
    shown: list[Any] = [*task.show_summary(result.summary, opened, result.corpus)]
    shown += task.show_similarity(result.summary, result.corpus)
    return [one for one in shown if isinstance(one, Picture)]


def task_of(place: Folder) -> Task:
    """What a trained fold predicts, without its weights.

    Args:
        place: of the fold.
    """
    known = dict(read_sealed(place, "bundle.json")["task"])
    kind: Any = lookup(TASKS, known.pop("name"), kind="task")
    return from_dict(kind, known)


def _figures(space: Space, result: Result) -> dict[str, Any]:
    assert isinstance(result, StudyResult)
    objectives = [next(m for m in result.metrics if m.name == name) for name in result.objectives]
    first = objectives[0]
    return study_figures(
        space.settings,
        result.trials,
        objectives,
        untuned=result.untuned_val.get(first.name, float("nan")),
        importances=importances(space, result.trials, first),
    )
