"""One contract for all samplers; and what is particular of some."""

import numpy as np
import optuna
import pytest

from rosenblatt.errors import SpecError
from rosenblatt.spec.dimensions import choice, integer, log_uniform, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning import samplers
from rosenblatt.tuning.samplers import Sampler
from rosenblatt.tuning.space import Space

SPACE = {
    "learning_rate": log_uniform(1e-4, 1.0),
    "dropout": uniform(0.0, 0.5),
    "hidden_sizes": choice((8,), (16, 16)),
    "batch_size": integer(8, 64, log=True),
    "optimizer": choice("adam", "momentum"),
    "beta2": uniform(0.9, 0.99),
}
NAMES = ["random", "quasi_random", "tpe", "gp", "cma_es", "nsga2", "grid"]


def sampler(name, space=SPACE, seed=0, **search):
    spec = Spec.of(sampler=name, trials=100, **search).searching(space)
    return Sampler(spec.search, Space.of(spec), seed)


def score(values):
    return -abs(np.log10(values["learning_rate"]) + 2) - values["dropout"]


def searched(proposer, trials=40, start=0):
    found = []
    for number in range(start, start + trials):
        values = proposer.ask(number)
        proposer.tell(number, score(values), 10, 100, finished=number % 2 == 0)
        found.append(values)
    return found


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.torch) if name == "gp" else name for name in NAMES]
)
def test_proposals_are_in_the_space_and_under_its_conditions(name):
    if name == "gp":
        pytest.importorskip("torch")
    for values in searched(sampler(name), 20 if name == "gp" else 40):
        assert 1e-4 <= values["learning_rate"] <= 1
        assert 0 <= values["dropout"] <= 0.5
        assert values["hidden_sizes"] in ((8,), (16, 16))
        assert isinstance(values["batch_size"], int)
        assert 8 <= values["batch_size"] <= 64
        assert ("beta2" in values) == (values["optimizer"] == "adam")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gp"])
def test_equal_seeds_propose_equally_and_others_do_not(name):
    first, second = searched(sampler(name)), searched(sampler(name))
    assert first == second
    assert first != searched(sampler(name, seed=1))


@pytest.mark.parametrize("name", ["tpe", "cma_es"])
def test_samplers_that_learn_find_better_values_than_chance(name):
    two = {"learning_rate": log_uniform(1e-4, 1.0), "dropout": uniform(0.0, 0.5)}
    learnt = [score(values) for values in searched(sampler(name, two), 150)[100:]]
    chance = [score(values) for values in searched(sampler("random", two), 150)[100:]]
    assert np.mean(learnt) > np.mean(chance) + 0.3


def test_nothing_is_proposed_twice_and_a_small_space_ends():
    proposer = sampler("random", {"optimizer": choice("adam", "sgd"), "batch_size": integer(8, 9)})
    found = [proposer.ask(number) for number in range(5)]
    assert sorted(map(str, found[:4])) == sorted({str(values) for values in found[:4]})
    assert found[4] is None


def test_a_grid_is_gone_through_once():
    proposer = sampler("grid", {"optimizer": choice("adam", "sgd"), "dropout": uniform(0, 0.4)})
    found = []
    while (values := proposer.ask(len(found))) is not None:
        proposer.tell(len(found), 0.0, 1, 1, finished=True)
        found.append(values)
    assert len(found) == 10
    assert {values["dropout"] for values in found} == {0, 0.1, 0.2, 0.30000000000000004, 0.4}


def test_the_study_holds_all_trials_with_their_scores_by_epoch():
    proposer = sampler("tpe")
    values = proposer.ask(0)
    proposer.tell(0, -2.0, 5, 100, finished=False)
    proposer.tell(0, -1.0, 20, 100, finished=True)
    proposer.ask(1)
    proposer.fail(1)
    proposer.ask(2)  # still running
    first, second = proposer.study.trials
    assert first.value == -1.0
    assert first.intermediate_values == {5: -2.0, 20: -1.0}
    assert first.params["learning_rate"] == values["learning_rate"]
    assert second.state == optuna.trial.TrialState.FAIL


def test_a_long_search_goes_on_from_the_best_and_the_latest(monkeypatch):
    monkeypatch.setattr(samplers, "REMEMBERED", 20)
    proposer = sampler("tpe")
    searched(proposer, 60)
    assert len(proposer._study.trials) < 40
    assert len(proposer.study.trials) == 60
    late = [score(values) for values in searched(proposer, 40, start=60)]
    assert np.mean(late) > -1.1  # by chance -1.25


def test_tpe_makes_its_densities_once_for_several_proposals():
    """By way of methods that Optuna may rename: this test tells."""
    proposer = sampler("tpe", {"dropout": uniform(0, 0.5), "l1": uniform(0, 1)})
    built = []
    inner = proposer._study.sampler
    build = inner._build_parzen_estimator
    inner._build_parzen_estimator = lambda *a, **k: built.append(1) or build(*a, **k)
    for number in range(48):
        proposer.ask(number)
        proposer.tell(number, float(number), 1, 1, finished=True)
    assert len(built) == 2 * -(-(48 - samplers.STARTUP) // samplers.HANDS)


def test_two_goals_are_told_both():
    proposer = sampler("nsga2", goal="score_and_size")
    proposer.ask(0)
    proposer.tell(0, -1.0, 5, 123, finished=False)
    assert proposer.study.trials[0].state == optuna.trial.TrialState.PRUNED
    assert proposer._study.trials[0].values == [-1.0, 123.0]


def test_what_matters_is_important():
    proposer = sampler("random", {"learning_rate": log_uniform(1e-4, 1.0), "l1": uniform(0.0, 0.5)})
    for number in range(80):
        values = proposer.ask(number)
        proposer.tell(number, -abs(np.log10(values["learning_rate"]) + 2), 10, 100, finished=True)
    importance = proposer.importance()
    assert list(importance) == ["learning_rate", "l1"]
    assert importance["learning_rate"] > 0.7


def test_importance_of_few_trials_is_not_told():
    proposer = sampler("random")
    searched(proposer, 3)
    assert proposer.importance() == {}


def test_gp_without_pytorch_names_the_cure(monkeypatch):
    monkeypatch.setattr(samplers, "find_spec", lambda _: None)
    with pytest.raises(SpecError, match="pip install torch"):
        sampler("gp")


def test_what_was_refused_is_not_proposed_again():
    proposer = sampler("random", {"optimizer": choice("adam", "sgd")})
    first = proposer.ask(0)
    proposer.refuse(0)
    assert proposer.ask(0) != first
