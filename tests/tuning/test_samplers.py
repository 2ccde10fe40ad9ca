"""Samplers: properties of all of them, and of some in particular."""

import numpy as np
import optuna
import pytest

from rosenblatt.errors import SpecError
from rosenblatt.spec.dimensions import choice, integer, log_uniform, uniform
from rosenblatt.spec.scoring import Direction
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


def make_sampler(name, space=SPACE, seed=0, direction=Direction.MAXIMIZE, **search):
    spec = Spec.from_hyperparameters(sampler=name, trials=100, **search).with_search_space(space)
    return Sampler(spec.search, Space.from_spec(spec), seed, direction)


def score(params):
    return -abs(np.log10(params.get("learning_rate", 0.01)) + 2) - params.get("dropout", 0.0)


def run_sampler(sampler, trials=40, start=0):
    proposals = []
    for number in range(start, start + trials):
        params = sampler.ask(number)
        if params is None:
            break
        sampler.tell(number, score(params), 10, 100, finished=number % 2 == 0)
        proposals.append(params)
    return proposals


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.torch) if name == "gp" else name for name in NAMES]
)
def test_proposals_are_in_the_space_and_under_its_conditions(name):
    if name == "gp":
        pytest.importorskip("torch")
    for params in run_sampler(make_sampler(name), 20 if name == "gp" else 40):
        assert 1e-4 <= params["learning_rate"] <= 1
        assert 0 <= params["dropout"] <= 0.5
        assert params["hidden_sizes"] in ((8,), (16, 16))
        assert isinstance(params["batch_size"], int)
        assert 8 <= params["batch_size"] <= 64
        assert ("beta2" in params) == (params["optimizer"] == "adam")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gp"])
def test_equal_seeds_give_equal_proposals_and_other_seeds_do_not(name):
    first, second = run_sampler(make_sampler(name)), run_sampler(make_sampler(name))
    assert first == second
    assert first != run_sampler(make_sampler(name, seed=1))


@pytest.mark.parametrize("name", ["tpe", "cma_es"])
def test_model_based_samplers_propose_better_values_than_random_search(name):
    space = {"learning_rate": log_uniform(1e-4, 1.0), "dropout": uniform(0.0, 0.5)}
    sampler_scores = [score(params) for params in run_sampler(make_sampler(name, space), 150)[100:]]
    random_scores = [score(params) for params in run_sampler(make_sampler("random", space), 150)[100:]]
    assert np.mean(sampler_scores) > np.mean(random_scores) + 0.3


@pytest.mark.parametrize("name", ["tpe", "cma_es", "quasi_random"])
def test_minimizing_losses_proposes_as_maximizing_their_negatives(name):
    space = {"learning_rate": log_uniform(1e-4, 1.0), "dropout": uniform(0.0, 0.5)}
    minimizing, maximizing = (make_sampler(name, space, direction=direction) for direction in Direction)
    for number in range(40):
        params = minimizing.ask(number)
        assert params == maximizing.ask(number)
        minimizing.tell(number, -score(params), 10, 100, finished=number % 2 == 0)
        maximizing.tell(number, score(params), 10, 100, finished=number % 2 == 0)
    assert minimizing.study.direction == optuna.study.StudyDirection.MINIMIZE
    assert minimizing.study.best_params == maximizing.study.best_params
    assert minimizing.importance() == pytest.approx(maximizing.importance())


def test_nothing_is_proposed_twice_and_a_small_space_is_exhausted():
    sampler = make_sampler("random", {"optimizer": choice("adam", "sgd"), "batch_size": integer(8, 9)})
    proposals = [sampler.ask(number) for number in range(5)]
    assert sorted(map(str, proposals[:4])) == sorted({str(params) for params in proposals[:4]})
    assert proposals[4] is None


CONDITIONAL = {"optimizer": choice("sgd", "adam"), "beta2": uniform(0.9, 0.98)}  # which only adam has


@pytest.mark.parametrize("name", ["tpe", "random", "quasi_random", "cma_es"])
@pytest.mark.parametrize("space", [CONDITIONAL, {"batch_size": integer(1, 30)}, {"dropout": uniform(0.1, 0.1)}])
def test_all_trials_are_proposed_unless_the_space_has_fewer_combinations(name, space):
    proposals = run_sampler(make_sampler(name, space), 40)
    n_combinations = {"beta2": 40, "batch_size": 30, "dropout": 1}[list(space)[-1]]
    assert len({str(params) for params in proposals}) == len(proposals) == n_combinations


def test_proposals_after_many_repeats_are_equal_for_equal_seeds():
    first, second = (run_sampler(make_sampler("tpe", CONDITIONAL, seed=3), 40) for _ in range(2))
    assert first == second


def test_each_grid_point_of_a_conditional_space_is_proposed_once():
    proposals = run_sampler(make_sampler("grid", CONDITIONAL), 40)
    assert sorted(params.get("beta2", 0) for params in proposals) == pytest.approx([0, 0.9, 0.92, 0.94, 0.96, 0.98])


def test_each_grid_point_is_proposed_once():
    sampler = make_sampler("grid", {"optimizer": choice("adam", "sgd"), "dropout": uniform(0, 0.4)})
    proposals = []
    while (params := sampler.ask(len(proposals))) is not None:
        sampler.tell(len(proposals), 0.0, 1, 1, finished=True)
        proposals.append(params)
    assert len(proposals) == 10
    assert {params["dropout"] for params in proposals} == {0, 0.1, 0.2, 0.30000000000000004, 0.4}


def test_the_study_holds_all_trials_with_their_scores_by_epoch():
    sampler = make_sampler("tpe")
    params = sampler.ask(0)
    sampler.tell(0, -2.0, 5, 100, finished=False)
    sampler.tell(0, -1.0, 20, 100, finished=True)
    sampler.ask(1)
    sampler.fail(1)
    sampler.ask(2)  # still running
    first, second = sampler.study.trials
    assert first.value == -1.0
    assert first.intermediate_values == {5: -2.0, 20: -1.0}
    assert first.params["learning_rate"] == params["learning_rate"]
    assert second.state == optuna.trial.TrialState.FAIL


def test_a_long_search_continues_from_its_best_and_its_latest_trials(monkeypatch):
    monkeypatch.setattr(samplers, "MAX_HISTORY", 20)
    sampler = make_sampler("tpe")
    run_sampler(sampler, 60)
    assert len(sampler._study.trials) < 40
    assert len(sampler.study.trials) == 60
    late_scores = [score(params) for params in run_sampler(sampler, 40, start=60)]
    assert np.mean(late_scores) > -1.1  # random search: -1.25


def test_tpe_fits_its_densities_before_every_proposal(monkeypatch):
    sampler = make_sampler("tpe", {"dropout": uniform(0, 0.5), "l1": uniform(0, 1)})
    n_trials, sample_relative = [], optuna.samplers.TPESampler.sample_relative

    def record_history(self, study, trial, search_space):
        n_trials.append(len(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))))
        return sample_relative(self, study, trial, search_space)

    monkeypatch.setattr(optuna.samplers.TPESampler, "sample_relative", record_history)
    for number in range(20):
        sampler.ask(number)
        sampler.tell(number, float(number), 1, 1, finished=True)
    assert n_trials == list(range(20))


def test_the_verbosity_of_the_users_own_studies_stays_as_it_is(caplog):
    optuna.logging.enable_propagation()
    verbosity = optuna.logging.get_verbosity()
    try:
        optuna.logging.set_verbosity(optuna.logging.INFO)
        run_sampler(make_sampler("tpe"), 3)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
        assert not caplog.records
        optuna.create_study()
        assert "A new study created" in caplog.text
    finally:
        optuna.logging.set_verbosity(verbosity)
        optuna.logging.disable_propagation()


def test_multi_objective_samplers_get_score_and_size():
    sampler = make_sampler("nsga2", goal="score_and_size")
    sampler.ask(0)
    sampler.tell(0, -1.0, 5, 123, finished=False)
    assert sampler.study.trials[0].state == optuna.trial.TrialState.PRUNED
    assert sampler._study.trials[0].values == [-1.0, 123.0]


def test_the_hyperparameter_that_determines_the_score_is_the_most_important():
    sampler = make_sampler("random", {"learning_rate": log_uniform(1e-4, 1.0), "l1": uniform(0.0, 0.5)})
    for number in range(80):
        params = sampler.ask(number)
        sampler.tell(number, -abs(np.log10(params["learning_rate"]) + 2), 10, 100, finished=True)
    importance = sampler.importance()
    assert list(importance) == ["learning_rate", "l1"]
    assert importance["learning_rate"] > 0.7


def test_there_is_no_importance_of_few_trials():
    sampler = make_sampler("random")
    run_sampler(sampler, 3)
    assert sampler.importance() == {}


def test_gp_without_pytorch_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(samplers, "find_spec", lambda _: None)
    with pytest.raises(SpecError, match="pip install torch"):
        make_sampler("gp")


def test_a_rejected_proposal_is_not_proposed_again():
    sampler = make_sampler("random", {"optimizer": choice("adam", "sgd")})
    params = sampler.ask(0)
    sampler.reject(0)
    assert sampler.ask(0) != params
