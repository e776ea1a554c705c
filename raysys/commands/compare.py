"""`jobs.compare`: finished runs beside each other, in the terminal and as a page."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from raysys.errors import ConfigError
from raysys.predicting.members import run_of
from raysys.report.comparison import comparison_lines, difference, main_metric, standing_of
from raysys.report.page import Section, page
from raysys.report.tables import as_rich, interval
from raysys.storage import Folder


def compare_command(places: Sequence[str], *, page: str, runs: Folder) -> None:
    """Print the comparison, and write its page.

    Args:
        places: of two or more runs, as of `load_ensemble`.
        page: file to write; empty for none.
        runs: folder of all runs.

    Raises:
        ConfigError: no such run, or two that cannot be compared.
        StorageError: one has not ended.
    """
    console = Console(highlight=False)
    if len(places) < 2:
        raise ConfigError("give two runs or more: python -m jobs.compare RUN RUN")
    found = [standing_of(run_of(place, runs), name=place.rstrip("/")) for place in places]
    blocks, metric = comparison_lines(found), main_metric(found[0])
    for line in blocks:
        show = line if isinstance(line, str) else as_rich(line)
        console.print(show, markup=False, soft_wrap=isinstance(line, str))
    lines = [
        f"{other.name} minus {found[0].name}: {metric.title} "
        f"{interval(metric, difference(other, found[0], metric.name))}"
        for other in found[1:]
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    if page:
        write_page(page, "Comparison of runs", lines, [Section("", blocks)])
        console.print(f"page         {page}", markup=False, soft_wrap=True)


def write_page(file: str, title: str, lines: Sequence[str], sections: Sequence[Section]) -> None:
    """Write a page to a file of the user's.

    Raises:
        ConfigError: its folder is not there, or it is no .html.
    """
    path = Path(file).expanduser()
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--page is {file}, but must end with .html")
    if not path.parent.is_dir():
        raise ConfigError(f"--page {file}: there is no folder {path.parent}")
    path.write_text(page(title, lines, sections), encoding="utf-8")
