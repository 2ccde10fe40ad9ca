"""Tests of the sessions of the playground."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from rosenblatt.cli.main import cli
from rosenblatt.dashboard.playground import (
    DEFAULTS,
    MAX_IDLE_S,
    MAX_POINTS,
    MAX_SESSIONS,
    ChangeRequest,
    Playground,
    Points,
    PointsQuery,
    SaveRequest,
    StepRequest,
    TableRequest,
    Training,
    load_controls,
    make_points,
    read_table,
)
from rosenblatt.errors import SpecError, TableError
from rosenblatt.spec.spec import Spec
from rosenblatt.web.errors import RequestError
from tests.dashboard.arrays import unpack_arrays


def make_training(name: str = "xor", n: int = 40, **hyperparameters: Any) -> dict[str, Any]:
    points = make_points(PointsQuery(name=name, points=n)).model_dump()  # type: ignore[arg-type]
    return {"points": points, "hyperparameters": {"kind": "mlp", "hidden_sizes": "4", "dropout": 0} | hyperparameters}


def start(playground: Playground, **hyperparameters: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return unpack_arrays(playground.start(Training(**make_training(**hyperparameters))))


def test_a_frame_has_the_surface_from_the_lower_left_corner_and_all_weights():
    playground = Playground()
    header, _ = start(playground)
    header, arrays = unpack_arrays(playground.step(StepRequest(session=header["session"], count=2)))
    assert header["epochs"] >= 1
    assert header["sizes"] == [2, 4, 1]
    assert {name: array.shape for name, array in arrays.items()} == {
        "surface": (64, 64), "weight1": (2, 4), "bias1": (4,), "weight2": (4, 1), "bias2": (1,),
    }  # fmt: skip
    network = playground._find(header["session"]).network
    lower_right = network.predict(np.array([[1.0, -1.0]]))
    assert arrays["surface"][0, -1] == lower_right[0]


def test_the_corners_of_a_frame_are_the_sums_of_the_current_weights():
    playground = Playground()
    training = make_training("separable") | {"hyperparameters": {"kind": "perceptron", "perceptron_rule": "averaged"}}
    header, _ = unpack_arrays(playground.start(Training(**training)))
    _, arrays = unpack_arrays(playground.step(StepRequest(session=header["session"], count=3)))
    w1, w2, b = playground._find(header["session"]).network.member.state.theta
    points = np.column_stack([training["points"]["x"], training["points"]["y"]])
    corners = (np.array([[-1, -1], [1, -1], [-1, 1]]) - points.mean(0)) / points.std(0)
    assert np.allclose(arrays["corners"], corners @ [w1, w2] + b, atol=1e-4)


def test_sessions_are_bounded_and_the_one_unused_for_longest_ends():
    playground = Playground()
    names = [start(playground)[0]["session"] for _ in range(MAX_SESSIONS)]
    playground.step(StepRequest(session=names[0], count=0))
    start(playground)
    assert len(playground) == MAX_SESSIONS
    playground.step(StepRequest(session=names[0], count=0))
    with pytest.raises(RequestError, match="has ended"):
        playground.step(StepRequest(session=names[1], count=0))


def test_idle_sessions_end():
    now = 0.0
    playground = Playground(lambda: now)
    name = start(playground)[0]["session"]
    now = MAX_IDLE_S - 1
    playground.step(StepRequest(session=name, count=0))
    now += MAX_IDLE_S + 1
    with pytest.raises(RequestError, match="has ended"):
        playground.step(StepRequest(session=name, count=0))
    assert len(playground) == 0


def test_changed_hyperparameters_continue_and_changed_points_restart_a_perceptron():
    playground = Playground()
    header, _ = start(playground)
    unpack_arrays(playground.step(StepRequest(session=header["session"])))
    training = make_training(learning_rate=0.1)
    changed, _ = unpack_arrays(playground.change(ChangeRequest(session=header["session"], **training)))
    assert (changed["epochs"], changed["reused"]) == (1, 4)
    training["hyperparameters"] = {"kind": "perceptron"}
    header, _ = unpack_arrays(playground.start(Training(**training)))
    playground.step(StepRequest(session=header["session"]))
    training["points"]["x"][0] += 0.1
    changed, _ = unpack_arrays(playground.change(ChangeRequest(session=header["session"], **training)))
    assert (changed["rows_seen"], changed["reused"]) == (0, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hyperparameters": {"epochs": 3}}, "no control 'epochs'"),
        ({"hyperparameters": {"kind": "cnn"}}, "perceptron or mlp"),
        ({"low": (1.0, 0.0)}, "width and a height"),
        ({"points": {"x": [1.0], "y": [1.0], "classes": [1]}}, "both classes"),
    ],
)
def test_requests_that_cannot_be_trained_are_explained(change: dict[str, Any], words: str):
    with pytest.raises(RequestError, match=words):
        Playground().start(Training(**make_training() | change))


def test_wrong_hyperparameters_and_too_many_points_are_refused():
    with pytest.raises(SpecError, match="learning_rate"):
        start(Playground(), learning_rate=-1)
    numbers = [0.0] * (MAX_POINTS + 1)
    with pytest.raises(ValidationError):
        Points(x=numbers, y=numbers, classes=[0] * len(numbers))
    with pytest.raises(ValidationError, match="same length"):
        Points(x=[0.0, 1.0], y=[0.0], classes=[0, 1])
    with pytest.raises(ValidationError):
        Points(x=[float("nan")], y=[0.0], classes=[0])


@pytest.mark.slow
def test_saved_files_train_with_the_command_that_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    playground = Playground()
    header, _ = start(playground, learning_rate=0.02)
    playground.step(StepRequest(session=header["session"], count=2))
    names = ("a, b", 'c "d"', "kind")
    saved = playground.save(SaveRequest(session=header["session"], names=names, labels=("no", "yes")))
    spec = Spec.from_dict(tomllib.loads(saved.toml))
    assert (spec.training.learning_rate, spec.network.hidden_sizes, spec["members"]) == (0.02, (4,), 1)
    (tmp_path / "playground.toml").write_text(saved.toml)
    (tmp_path / "points.csv").write_text(saved.csv)
    monkeypatch.chdir(tmp_path)
    program, *arguments = saved.command.split()
    result = CliRunner().invoke(cli, [*arguments, "--json", "--store", "runs.db"])
    assert program == "rosenblatt"
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["target"] == ["kind"]


def test_columns_of_a_table_are_numbers_or_classes_and_others_are_named():
    answer = read_table(TableRequest(text="size;weight;kind;name\n1,5;2;a;x\n2;;b;x\n3;4;a;x\n"))
    assert answer.numbers["size"] == [1.5, 2.0, 3.0]
    assert answer.numbers["weight"] == [2.0, None, 4.0]
    assert answer.classes["kind"] == ["a", "b", "a"]
    assert (answer.rows, answer.total, answer.unused) == (3, 3, ["name"])


def test_a_large_table_is_sampled_and_its_size_is_given():
    answer = read_table(TableRequest(text="a,b\n" + "".join(f"{row * 7 % 100},{row % 3}\n" for row in range(2500))))
    assert (answer.rows, answer.total, len(answer.numbers["a"])) == (MAX_POINTS, 2500, MAX_POINTS)


def test_a_text_that_is_no_table_is_refused_without_a_path_of_the_server():
    with pytest.raises(TableError) as error:
        read_table(TableRequest(text=""))
    assert "rosenblatt-" not in str(error.value)


def test_each_control_is_described_and_has_a_first_value():
    controls = load_controls(PointsQuery(name="xor"))
    assert {control.name for control in controls.controls} == {*DEFAULTS["mlp"], *DEFAULTS["perceptron"]}
    assert all(control.help and control.defaults for control in controls.controls)
    assert controls.documentation.startswith("https://")
