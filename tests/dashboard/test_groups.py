"""Tests of groups of runs."""

from __future__ import annotations

import math
from statistics import mean, stdev

import pytest

from rosenblatt.dashboard.groups import GroupsQuery, load_groups
from rosenblatt.errors import FilterError
from rosenblatt.runs.store.store import Store


def test_groups_have_the_mean_and_deviation_of_their_runs(store: Store):
    query = GroupsQuery(by="params.activation", values="metrics.auc", sort="metrics.auc")
    groups = load_groups(store, query)
    assert (groups.total, groups.n_groups) == (300, 2)
    tanh, relu = groups.groups
    assert (tanh.key, tanh.n, tanh.values[0].n) == (["tanh"], 150, 149)  # the auc of run 299 is NaN
    odd = [number / 300 for number in range(1, 299, 2)]
    assert tanh.values[0].mean == pytest.approx(mean(odd))
    assert tanh.values[0].deviation == pytest.approx(stdev(odd))
    assert relu.values[0].max == 298 / 300
    assert len(relu.ids) == 150


def test_runs_without_a_value_are_a_group_and_filters_hold(store: Store):
    groups = load_groups(
        store, GroupsQuery(by="tags.team,params.optimizer", where="name in ('run-3', 'run-4', 'run-5')")
    )
    assert [(group.key, group.n) for group in groups.groups] == [([None, "adam"], 2), (["blue", "adam"], 1)]


def test_infinite_values_are_left_out_of_means(store: Store):
    groups = load_groups(store, GroupsQuery(by="name", values="metrics.auc.max", where="name = 'run-299'"))
    assert groups.groups[0].values[0].n == 0
    assert groups.groups[0].values[0].mean is None
    assert math.isclose(
        load_groups(store, GroupsQuery(by="name", values="duration", where="name = 'run-1'")).groups[0].values[0].mean
        or 0,
        999,
    )


@pytest.mark.parametrize("query", [{"by": ""}, {"by": "nonsense"}, {"by": "name", "sort": "metrics.auc"}])
def test_fields_that_cannot_be_used_are_refused(store: Store, query: dict[str, str]):
    with pytest.raises(FilterError):
        load_groups(store, GroupsQuery.model_validate(query))
