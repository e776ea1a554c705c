"""Find the emotion space of a run of `jobs.embed_content`, and what lies near to a query in it."""

from collections.abc import Sequence

from raysys.errors import ConfigError
from raysys.predicting.retrieval import find_near
from raysys.running.space import fold_folder, resolve_space, run_named
from raysys.similarity.prior import Origin, SpacePrior
from raysys.storage import Folder
from raysys.tasks.exhibits import Table
from raysys.training.bundle import load_bundle


def nearest(run: str, query: Sequence[str], *, count: int, runs: Folder) -> list[Table]:
    """Tables of what the query is in every format, and of what lies nearest to it.

    Args:
        run: of `jobs.embed_content`: its name in storage.runs, or its folder.
        query: a text, the paths of an audio file and of a picture, of these what the run's model reads.
        count: rows of a table.
        runs: folder of all runs.

    Raises:
        ConfigError: no such run, or a query that its model does not read.
        RaysysError: what the run rests on is gone.
    """
    if count < 1:
        raise ConfigError(f"--count is {count}, but must be 1 or more")
    folder = run_named(run, runs, what="the run")
    config = load_bundle(fold_folder(folder, 0)).config
    tests = tuple(tuple(one["test"]) for one in folder.read_json("folds.json"))
    prior = resolve_space(config, Origin("", tests), runs=runs)
    if prior is None:
        raise ConfigError(
            f"{folder.path()} is of the task {config.task}: only runs of jobs.embed_content lie in an emotion space"
        )
    space = prior.values[0]
    assert isinstance(space, SpacePrior)
    return find_near(folder, query, Folder(space.folder), count=count)
