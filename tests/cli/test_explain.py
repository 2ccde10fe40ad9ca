# ruff: noqa: F811 - fixtures are imported
"""`rosenblatt explain`, as it is typed."""

import json

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from rosenblatt.estimators.perceptron import Perceptron
from tests.cli.test_models import FAST, folder, model, model_file  # noqa: F401 - fixtures


def test_explain_walks_a_row_through_the_network_and_back(run, model):
    status, out, _ = run("explain", model, "people.csv", "--row", "3", "--backward")
    assert status == 0
    for word in ("row 3, network 1 of 2", "age = ", "layer 1", "z = inputs x weights + bias", "predicted", "dLoss/dz"):
        assert word in out
    status, out, _ = run("explain", model, "people.csv", "--row", "3", "--network", "2", "--json")
    trace = json.loads(out)
    assert (trace["row"], trace["network"], len(trace["layers"])) == (3, 2, len(trace["layers"]))
    status, _, err = run("explain", model, "people.csv", "--row", "301")
    assert status == 2
    assert "There is no row 301; the table has 300" in err


def test_explain_draws_the_network_and_the_boundary_of_two_numbers(run, folder):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.normal(size=60), "y": rng.normal(size=60)})
    frame.with_columns(side=pl.when(pl.col("x") > 0).then(pl.lit("right")).otherwise(pl.lit("left"))).write_csv(
        "two.csv"
    )
    assert run("fit", "two.csv", "-t", "side", *FAST)[0] == 0
    assert run("explain", "two.rosenblatt", "two.csv", "--plot", "net.svg")[0] == 0
    for name in ("net.svg", "net-boundary.svg"):
        assert (folder / name).read_bytes().startswith(b"<?xml")
    status, _, err = run("explain", "two.rosenblatt", "two.csv", "--plot", "net.gif")
    assert status == 2
    assert "must name a file that ends in .svg, .png, .pdf" in err


def test_a_model_of_a_sparse_matrix_is_rejected(run, folder):
    pl.DataFrame({"only": ["a", "b"] * 10}).write_csv("only.csv")
    x = sparse.random(30, 8, 0.5, format="csr", random_state=0)
    Perceptron().fit(x, [0, 1] * 15).save("sparse.rosenblatt")
    status, _, err = run("explain", "sparse.rosenblatt", "only.csv")
    assert status == 2
    assert "trained on a sparse matrix" in err


def test_each_weighted_sum_is_that_of_its_contributions_and_bias(run, model):
    trace = json.loads(run("explain", model, "people.csv", "--row", "3", "--json")[1])
    for layer in trace["layers"]:
        for unit in layer["top_units"]:
            total = sum(contribution["product"] for contribution in unit["contributions"])
            np.testing.assert_allclose(
                total + unit["remainder"]["sum"] + unit["bias"], unit["sum"], rtol=1e-4, atol=1e-5
            )


def test_top_k_limits_units_and_contributions(run, model):
    trace = json.loads(run("explain", model, "people.csv", "--top-k", "2", "--json")[1])
    (hidden, *_) = trace["layers"]
    assert hidden["units"] == 16
    assert len(hidden["top_units"]) == 2
    assert all(len(unit["contributions"]) <= 2 for unit in hidden["top_units"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--row", "301"], "There is no row 301; the table has 300"),
        (["--network", "3"], "There is no network 3; the model has 2"),
        (["--method", "occlusion"], "--method is for images, sequences and texts"),
        (["--answer", "yes"], "--answer is for images, sequences and texts"),
        (["--plot", "people.csv"], "'people.csv' is also another file of this command"),
        (["--plot", "net.gif"], ".svg, .png, .pdf"),
    ],
)
def test_options_that_do_not_fit_are_rejected_and_write_nothing(run, model, folder, options, message):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    status, out, err = run("explain", model, "people.csv", *options)
    assert (status, out) == (2, "")
    assert message in err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_loss_needs_a_row_with_a_target(run, model, people):
    people[:3].with_columns(rich=pl.Series(["yes", None, "no"])).write_csv("holes.csv")
    status, _, err = run("explain", model, "holes.csv", "--row", "2", "--backward")
    assert status == 2
    assert "Row 2 has no 'rich'" in err
    trace = json.loads(run("explain", model, "holes.csv", "--row", "3", "--backward", "--json")[1])
    assert trace["loss"]["value"] > 0
    assert "loss" not in json.loads(run("explain", model, "holes.csv", "--row", "2", "--json")[1])


def test_a_row_is_read_as_in_its_table(run, folder):
    """The other rows show the order of day and month, and options say what is missing."""
    rows = [(f"{i % 28 + 1:02}/{i % 12 + 1:02}/2023", i % 7, "ab"[i % 12 > 5]) for i in range(100)]
    pl.DataFrame(rows, ["when", "x", "y"], orient="row").write_csv("days.csv")
    assert run("fit", "days.csv", "-t", "y", *FAST)[0] == 0
    for name, cells in {"iso": ("2023-03-04", ""), "months": ("03/04/2023", "-999")}.items():
        lines = [
            "when,x,y",
            ",".join((*cells, "a")),
            *(f"{cells[0][:3]}{day}/2023,1,a" for day in range(20, 29) if "/" in cells[0]),
        ]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    iso = json.loads(run("explain", "days.rosenblatt", "iso.csv", "--json")[1])
    status, out, err = run("explain", "days.rosenblatt", "months.csv", "--json", "--missing=-999")
    assert status == 0
    for part in ("inputs", "predicted", "model"):
        assert json.loads(out)[part] == iso[part]
    assert "dates written as month/day/year are converted" in err
