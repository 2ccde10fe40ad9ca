"""Printing of runs: tables, curves drawn in characters, short numbers and times."""

from __future__ import annotations

import math
import time
from dataclasses import fields, replace

import numpy as np
import pytest

from rosenblatt.cli.console.runs import (
    format_duration,
    format_time,
    print_cleanup,
    print_comparison,
    print_run,
    print_runs,
    print_verdict,
    sparkline,
    truncate,
)
from rosenblatt.runs.compare import Comparison
from rosenblatt.runs.maintenance import CleanupCounts
from rosenblatt.runs.store.curves import CurvePoints
from rosenblatt.runs.store.details import MetricSummary, RunDetails, RunRecord
from rosenblatt.runs.verdict import FirstDifference, ResultComparison


def points(*values):
    n = len(values)
    return CurvePoints(np.arange(n), np.zeros(n, np.int64), np.array(values, float))


RECORD = {
    "id": "20260101-abc", "experiment": "first", "name": "wide", "kind": "fit", "state": "finished", "reason": None,
    "started": 1000.0, "ended": 1090.0, "heartbeat": 1090.0,
}  # fmt: skip


def make_record(**changes):
    return RunRecord.model_validate(RECORD | changes)


def make_details(**changes):
    return RunDetails.model_validate(RECORD | changes)


def make_metric(last, best, step):
    return MetricSummary(step=step, last=last, best=best, best_step=step)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """Make the terminal wide enough for all columns."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def set_time_zone():
    """Return a function that sets the time zone of this process for the duration of a test."""
    with pytest.MonkeyPatch.context() as environment:

        def set_to(name):
            environment.setenv("TZ", name)
            time.tzset()

        yield set_to
    time.tzset()


@pytest.fixture
def capture_lines(capsys):
    """Return a function that collects the lines a function prints, with single blanks between columns."""

    def capture_lines(show, *arguments):
        show(*arguments)
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return capture_lines


def test_a_curve_is_drawn_from_its_lowest_bar_to_its_highest():
    assert sparkline(points(0, 1, 2, 3, 4, 5, 6, 7)) == "▁▂▃▄▅▆▇█"
    assert sparkline(points(7, -7)) == "█▁"
    assert sparkline(points(3, 3, 3)) == "▁▁▁"
    long = sparkline(points(*range(1000)), 10)
    assert len(long) == 10
    assert list(long) == sorted(long)
    assert (long[0], long[-1]) == ("▁", "█")


def test_a_gap_in_a_curve_stands_for_values_that_are_not_finite():
    assert sparkline(points(0, math.nan, 1, math.inf, 0)) == "▁ █ ▁"
    assert sparkline(points(math.nan, math.nan)) == "  "
    assert sparkline(points()) == ""
    assert sparkline(None) == ""


def test_values_are_shortened_to_five_digits_or_sixty_characters():
    assert truncate(1 / 3) == "0.33333"
    assert truncate(1234567.0) == "1.2346e+06"
    assert truncate(7) == "7"
    assert truncate(None) == ""
    assert truncate("x" * 60) == "x" * 60
    assert truncate("x" * 61) == "x" * 57 + "..."
    assert truncate("0123456789ab" + "f" * 52) == "0123456789ab"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3.0, "0.0 s"), (0.25, "0.2 s"), (59.0, "59.0 s"), (90.0, "1.5 min"), (3600.0, "1.0 h"), (90_000.0, "25.0 h")],
)
def test_durations_are_in_seconds_minutes_or_hours(seconds, text):
    assert format_duration(seconds) == text


def test_times_are_those_of_the_local_time_zone(set_time_zone):
    set_time_zone("UTC")
    assert format_time(86_399) == "1970-01-01 23:59:59"
    set_time_zone("Etc/GMT-2")  # two hours ahead of UTC
    assert format_time(86_399) == "1970-01-02 01:59:59"


def test_a_list_of_runs_has_a_row_for_each_with_its_trials_and_main_metrics(capture_lines):
    names = ("a_last", "loss", "system/cpu", "auc", "b")
    metrics = {"20260101-abc": {name: make_metric(0.5, 0.5, 1) for name in names}}
    records = [make_record(), make_record(id="other", name="", state="lost")]
    lines = capture_lines(print_runs, records, {"20260101-abc": 12}, metrics)
    assert lines[0] == "run experiment name state started took auc loss a_last"  # without those of the machine
    assert lines[2].startswith("20260101-abc first wide, 12 trials finished")
    assert lines[2].endswith("1.5 min 0.5000 0.5000 0.5000")
    assert lines[3].startswith("other first fit lost")
    assert lines[4] == "and 1 more metric (--all)"
    assert capture_lines(print_runs, records, {}, metrics, True)[0].endswith("auc loss a_last b")
    assert capture_lines(print_runs, [], {}, {}) == ["no runs"]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_list_of_runs_fits_the_terminal_and_says_what_is_left_out(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    metrics = {"20260101-abc": {name: make_metric(0.5, 0.5, 1) for name in ("validation_loss", "balanced_accuracy")}}
    print_runs([make_record()], {}, metrics)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert len([line for line in lines if line.startswith("20260101-abc")]) == 1
    assert "validation_loss" in lines[0]
    assert ("(--all)" in " ".join(lines[2:])) == (width < 100)


def test_a_list_shows_the_fields_that_were_filtered_by_instead_of_metrics(capture_lines):
    records = [make_record(**{"params.dropout": "0.25", "params.activation": "relu", "metrics.auc": 2 / 3})]
    lines = capture_lines(print_runs, records, {}, {})
    assert lines[0] == "run experiment name state started took params.dropout params.activation metrics.auc"
    assert lines[2].endswith("1.5 min 0.2500 relu 0.6667")


@pytest.mark.parametrize(
    ("changes", "n_trials", "title", "name"),
    [
        ({"kind": "track", "name": "", "parent": "p1"}, 0, "name child of", "track p1"),
        ({"kind": "track", "name": "best", "parent": "p1"}, 0, "name child of", "best p1"),
        ({"kind": "search", "name": "", "parent": "p1"}, 6, "name child of", "search, 6 trials p1"),
        ({"kind": "trial", "name": "trial 3", "parent": "p1"}, 0, "name", "trial 3"),
    ],
)
def test_a_list_names_the_run_that_started_a_child_run(capture_lines, changes, n_trials, title, name):
    lines = capture_lines(print_runs, [make_record(**changes)], {"20260101-abc": n_trials}, {})
    assert lines[0].startswith(f"run experiment {title} state ")
    assert lines[2].startswith(f"20260101-abc first {name} finished ")


def test_a_child_run_with_trials_takes_one_line_of_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_runs([make_record(kind="search", name="", id="4kd9m3xp8r", parent="a1b2c3d4e5")], {"4kd9m3xp8r": 6}, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[2:6] == ["search,", "6", "trials", "a1b2c3d4e5"]
    assert len(lines[2]) <= 80


def test_metrics_of_the_machine_have_no_best_value(capture_lines):
    metrics = {"auc": make_metric(0.5, 0.9, 7), "system/cpu percent": make_metric(40.0, 90.0, 7)}
    lines = capture_lines(print_run, make_details(metrics=metrics), {})
    assert "auc 0.5000 0.9000 7" in lines
    assert "system/cpu percent 40.00" in lines


def test_a_cleanup_says_what_was_done(capture_lines):
    nothing = dict.fromkeys((field.name for field in fields(CleanupCounts)), 0)
    assert capture_lines(print_cleanup, nothing) == ["nothing to tidy up"]
    assert capture_lines(print_cleanup, nothing | {"killed_runs": 1, "removed_states": 2}) == [
        "ended 1 run without a living process",
        "removed 2 checkpoints of searches that were deleted or not resumed",
    ]
    everything = dict.fromkeys(nothing, 1)
    n_reported = len(capture_lines(print_cleanup, everything))
    assert n_reported == len(everything) - 1  # `cleanup` itself has reported the files in a shared place


@pytest.mark.parametrize(
    ("kind", "state", "line"),
    [
        ("script", "failed", "output rosenblatt runs show 20260101-abc --output"),
        ("search", "stopped", "to resume rosenblatt runs resume 20260101-abc"),
        ("search", "failed", "to resume rosenblatt runs resume 20260101-abc"),
    ],
)
def test_a_run_that_did_not_finish_is_shown_with_the_next_command(capture_lines, kind, state, line):
    assert line in capture_lines(print_run, make_details(kind=kind, state=state), {})
    assert line not in capture_lines(print_run, make_details(kind=kind), {})


def test_a_run_is_shown_completely_results_first(capture_lines):
    details = make_details(
        state="failed", reason="no data", command=["python", "train.py"], peak_memory=3 * 2**30, trials=1,
        notes={"why": "a baseline"}, tags={"team": "red"},
        params={"dropout": {"value": "0.1", "explicit": True}, "residual": {"value": "true", "explicit": True},
                "epochs": {"value": "5", "explicit": False}},
        metrics={"loss": make_metric(0.5, 0.25, 3), "broken": make_metric(None, None, 3),
                 "auc": make_metric(0.75, 0.75, 0)},
        baseline={"auc": 0.5},
        artifacts={"model": {"kind": "model", "hash": "1", "bytes": 12_345, "root": "r"}},
        classes={"yes": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "rows": 8}},
        environment={"python": "3.12", "packages": {"numpy": "2"}, "processor": "EPYC", "cores": 8, "gpus": []},
    )  # fmt: skip
    lines = capture_lines(print_run, details, {"loss": points(1.0, 0.5, 0.25, 0.5)})
    expected = [
        "run 20260101-abc: failed after 1.5 min, no data",
        "auc 0.7500 0.5000",
        "loss 0.5000 0.2500 3 █▃▁▃",
        "broken nan 3",
        "yes 0.5000 0.2500 0.3333 8",
        "dropout 0.1",
        "residual true",
        "and 1 hyperparameter with default values (--all)",
        "command python train.py",
        "environment Python 3.12, 1 package, EPYC, 8 cores",
        "peak memory 3,072 MiB",
        "tags team=red",
        "notes why: a baseline",
        "files model (12,345 bytes)",
    ]
    assert [line for line in lines if line in expected] == expected  # in this order
    assert lines[1].startswith("fit with 1 trial 'wide' of experiment 'first', started 1970-01-01")
    assert not any(line.startswith("folder") for line in lines)  # which is not known
    assert "epochs 5 default" in capture_lines(print_run, details, {}, True)


def test_long_tables_of_a_run_fold(capture_lines):
    details = make_details(metrics={f"m{k:02}": make_metric(0.5, 0.5, 1) for k in range(30)})
    assert "and 18 more metrics like these (--all)" in capture_lines(print_run, details, {})
    assert any(line.startswith("m29") for line in capture_lines(print_run, details, {}, True))


def test_a_run_that_is_running_is_shown(capture_lines):
    details = make_details(state="running", ended=None, heartbeat=1003.0)
    assert capture_lines(print_run, details, {})[0] == "run 20260101-abc: running after 3.0 s"


@pytest.mark.parametrize(("state", "reason"), [("lost", None), ("failed", "it ended without finishing")])
def test_the_end_of_a_killed_run_is_not_known(capture_lines, state, reason):
    line = capture_lines(print_run, make_details(state=state, reason=reason), {})[0]
    assert line.startswith(f"run 20260101-abc: {state} after at least 1.5 min")


def test_the_unseen_inputs_of_a_script_are_shown(capture_lines):
    details = make_details(kind="script", unseen=["standard input", "the network: example.org"])
    assert "unseen inputs standard input; the network: example.org" in capture_lines(print_run, details, {})
    tracked = details.model_copy(update={"kind": "track"})  # of which they are known only with reuse=True
    assert not any("unseen" in line for line in capture_lines(print_run, tracked, {}))


def test_runs_without_results_cannot_be_compared(capture_lines):
    result = ResultComparison("nothing to compare", 0.0, None, {}, 0, [])
    expected = "nothing to compare: the runs recorded no results (run bb)"
    assert capture_lines(print_verdict, "bb", result) == [expected]


def test_text_of_users_is_not_markup(capture_lines):
    details = make_details(id="r", name="[bold]x[/bold]", experiment="a\\[b]", tags={"[red]": "[/]"}, reason="[/x]")
    lines = capture_lines(print_run, details, {})
    assert "[bold]x[/bold]" in lines[1]
    assert lines[0].endswith("[/x]")
    assert "tags [red]=[/]" in lines
    row = capture_lines(print_runs, [details], {}, {})[2]
    assert "[bold]x[/bold]" in row
    assert "a\\[b]" in row


def test_a_comparison_shows_what_differs_and_says_what_is_the_same(capture_lines):
    comparison = Comparison(
        ("aa", "bb"), {"dropout": ["0.1", None]}, {"auc": [0.75, 0.5]}, {}, {}, "-lr = 1\n+lr = 2\n"
    )
    lines = capture_lines(print_comparison, comparison, {"auc": {"aa": points(0, 1)}})
    assert "dropout 0.1000" in lines
    assert "data: the same" in lines
    assert "environment: the same" in lines
    assert "auc 0.7500 0.5000 ▁█" in lines
    assert lines[lines.index("source:") + 1 :][:2] == ["-lr = 1", "+lr = 2"]
    assert "source: the same" in capture_lines(print_comparison, replace(comparison, source=""), {})


def test_a_verdict_names_the_first_difference_and_its_causes(capture_lines):
    first = FirstDifference(3, "loss: 1 was 2")
    result = ResultComparison("differs", 0.0125, first, {"package": {"numpy": ["2.2", "2.3"]}}, 2, [])
    lines = capture_lines(print_verdict, "bb", result)
    assert lines[0].startswith("differs, the largest relative difference is 0.0125 ")
    assert "2 results compared; run bb" in lines[0]
    assert lines[1:] == ["first difference: loss: 1 was 2, at step 3", "package differs: numpy 2.2 -> 2.3"]
    identical = ResultComparison("identical", 0.0, None, {}, 1, [])
    assert capture_lines(print_verdict, "bb", identical) == ["identical (1 result compared; run bb)"]
    unexplained = replace(result, causes={}, max_difference=math.inf)
    assert "not deterministic" in capture_lines(print_verdict, "bb", unexplained)[-1]
