"""The space of a study: what is refused, and how values reach Optuna and come back."""

import numpy as np
import pytest

from raysys.config import Config
from raysys.config.running import Distribution, SearchConfig
from raysys.errors import ConfigError
from raysys.losses import LossConfig
from raysys.search.space import make_space
from raysys.settings import replaced

MU = {"loss.mu1": Distribution(0.0, 1.0), "loss.mu2": Distribution(0.0, 1.0)}


def study(space: dict[str, Distribution], **loss: float) -> Config:
    return Config(loss=LossConfig(**loss), search=SearchConfig(space=space))


def ranges(**settings: tuple[float, float]) -> dict[str, Distribution]:
    return {name.replace("__", "."): Distribution(*ends) for name, ends in settings.items()}


BAD = {
    "no space": ({}, "search.space is empty"),
    "unknown field": (ranges(loss__mu3=(0, 1)), "did you mean 'loss.mu2'"),
    "group": (ranges(loss=(0, 1)), "is a group"),
    "fixed": (ranges(folds__n_splits=(2, 5)), "the same for all that share"),
    "judge": ({"training.keep": Distribution(choices=("best", "last"))}, "no score can choose it"),
    "empty range": (ranges(loss__mu1=(0.4, 0.4)), "low 0.4 must be below high 0.4"),
    "outside": (ranges(loss__mu1=(-0.5, 0.4)), "loss.mu1 is -0.5, but must be in [0, 1]"),
    "no room": (ranges(loss__mu1=(0.6, 0.9), loss__mu2=(0.5, 0.8)), "1.4, but mu1 + mu2"),
    "half a range": ({"loss.mu1": Distribution(low=0.1)}, "needs low and high"),
    "both": ({"loss.mu1": Distribution(0, 1, choices=(0.5,))}, "choices and a range"),
    "log of 0": ({"loss.tau": Distribution(0, 1, log=True)}, "low 0 must be above 0"),
    "not whole": (ranges(training__batch_size=(1.5, 8)), "holds whole numbers"),
    "no number": (ranges(training__lr_schedule=(0, 1)), "give choices"),
    "not between": (ranges(model__cltnet__heads=(1, 5)), "heads is 3, but must be a divisor"),
    "wrong word": ({"training.lr_schedule": Distribution(choices=("cosin",))}, "mean 'cosine'"),
    "wrong type": ({"loss.mu1": Distribution(choices=("a",))}, "it is of type float"),
    "step of 0": ({"loss.mu1": Distribution(0, 1, step=0.0)}, "step 0 must be above 0"),
    "no step": ({"loss.mu1": Distribution(0, 1, step=float("nan"))}, "step nan must be above 0"),
    "long step": ({"loss.mu1": Distribution(0, 1, step=3.0)}, "at most high - low"),
    "uneven": ({"training.batch_size": Distribution(16, 65, step=16)}, "plus whole steps of 16"),
    "endless": ({"loss.gamma": Distribution(0, float("inf"))}, "must have an end"),
    "twice": ({"loss.mu1": Distribution(choices=(0.1, 0.1))}, "has a choice twice"),
    "stepped share": (
        {"loss.mu1": Distribution(0, 0.5), "loss.mu2": Distribution(0, 0.5, step=0.25)},
        "leave out its log and step",
    ),
    "no effect": (ranges(balance__sigma=(0.5, 1)), "does nothing while balance.method is 'off'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_space_is_refused_in_one_line(case: str):
    space, message = BAD[case]
    mu1 = 0.2 if {"loss.tau", "loss.gamma"} & set(space) else 0.0
    with pytest.raises(ConfigError) as caught:
        make_space(study(space, mu1=mu1))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mu2_beside_a_fixed_mu1_must_fit():
    with pytest.raises(ConfigError, match=r"the largest mu1 \+ mu2 is 1.3"):
        make_space(study(ranges(loss__mu2=(0.0, 0.6)), mu1=0.7))


@pytest.mark.parametrize("low", [0.0, 0.2])
def test_every_proposal_keeps_mu1_and_mu2_on_the_simplex(low: float):
    space = make_space(study(ranges(loss__mu1=(0.0, 1 - low), loss__mu2=(low, 1.0))))
    assert set(space.distributions) == {"loss.mu1", "loss.mu2_share"}
    random = np.random.default_rng(0)
    for mu1, share in random.uniform(size=(200, 2)):
        values = space.decode({"loss.mu1": mu1 * (1 - low), "loss.mu2_share": share})
        assert values["loss.mu1"] + values["loss.mu2"] <= 1 + 1e-9
        assert values["loss.mu2"] >= low
        space.config(values)  # the config accepts it
        assert space.decode(space.encode(values)) == pytest.approx(values)


def test_published_settings_are_the_first_points_where_they_lie_in_the_space():
    config = replaced(study({**MU, **ranges(balance__p=(0.5, 0.95))}), {"balance.method": "pdds"})
    first, second = make_space(config).published_points()
    assert first == {"loss.mu1": 0.4, "loss.mu2": 0.4, "balance.p": 0.8}
    assert second == {"loss.mu1": 0.3, "loss.mu2": 0.3, "balance.p": 0.5}
    assert not make_space(study(ranges(training__learning_rate=(1e-4, 1e-2)))).published_points()


def test_the_first_points_lie_on_the_grid():
    config = replaced(
        study(
            {
                "balance.p": Distribution(0.5, 0.9, step=0.1),
                "loss.mu1": Distribution(0, 1, step=0.25),
            }
        ),
        {"balance.method": "pdds"},
    )
    space = make_space(config)
    for point in space.published_points():
        for name, params in space.encode(point).items():
            assert space.distributions[name]._contains(params)
        assert space.decode(space.encode(point)) == point


def test_choices_of_lists_and_whole_numbers_survive_optuna():
    lists = Distribution(choices=(("audio",), ("audio", "text")))
    space = make_space(
        study({"model.modalities": lists, "training.batch_size": Distribution(16, 64, step=16)})
    )
    values = {"model.modalities": ("audio",), "training.batch_size": 48}
    assert space.decode(space.encode(values)) == values
    assert space.config(values).model.modalities == ("audio",)


def test_values_on_steps_are_those_that_the_range_allows():
    """Optuna counts to 0.30000000000000004, which its own range then refuses."""
    space = make_space(study({"loss.mu1": Distribution(0.0, 0.3, step=0.1)}))
    assert space.decode({"loss.mu1": 0.1 * 3}) == {"loss.mu1": 0.3}
    assert space.settled({"loss.mu1": 0.1 * 3, "loss.tau": 0.1 * 3}) == {
        "loss.mu1": 0.3,
        "loss.tau": 0.1 * 3,
    }


def test_a_whole_number_may_be_written_as_16_point_0():
    space = make_space(study({"training.batch_size": Distribution(choices=(16.0, 32.0))}))
    found = space.decode({"training.batch_size": 16})["training.batch_size"]
    assert type(found) is int
    assert space.config({"training.batch_size": found}).training.batch_size == 16
