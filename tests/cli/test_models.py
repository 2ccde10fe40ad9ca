"""The commands fit, predict, evaluate and describe: output, files and errors."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from shutil import copy

import numpy as np
import polars as pl
import pytest

from rosenblatt.cli.main import main
from rosenblatt.models.model_file import load_model
from tests.waiting import wait_until

FAST = ["--members", "2", "--epochs", "5", "--hidden-sizes", "16", "--bins", "8"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, people):
    monkeypatch.chdir(tmp_path)
    people.write_csv("people.csv")
    return tmp_path


@pytest.fixture
def model(run, folder, model_file):
    """A model of the people, fitted once for all tests."""
    if not model_file.exists():
        assert run("fit", "people.csv", "--target", "rich", *FAST, "--out", str(model_file))[0] == 0
    copy(model_file, folder)
    return model_file.name


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    return tmp_path_factory.mktemp("fitted") / "people.rosenblatt"


def test_fit_predict_evaluate_describe(run, model, folder, people, new_process_check):
    status, out, _ = run("fit", "people.csv", "-t", "rich", *FAST)
    assert status == 0
    assert "task: two classes of 'rich'" in out
    assert "accuracy" in out
    assert "majority class" in out
    assert "model: people.rosenblatt (replaced); checked: a new process predicts the same" in out
    assert run("predict", model, "people.csv", "--out", "p.csv")[0] == 0
    predicted = pl.read_csv("p.csv")
    assert predicted.columns == ["rich", "probability of no", "probability of yes"]
    assert predicted.height == 300
    status, out, _ = run("evaluate", model, "people.csv")
    assert status == 0
    assert "AUC" in out
    status, out, _ = run("describe", model)
    assert status == 0
    for text in ("16 relu/silu -> 1 output   x 2 networks", "hidden_sizes", "trained on 240 rows of people.csv", "AUC"):
        assert text in out
    status, out, _ = run("describe", "people.csv")
    assert status == 0
    for word in ("age", "number", "Oslo", "likely task: two classes of 'rich'"):
        assert word in out


def test_with_json_standard_output_has_nothing_else(run, model):
    for arguments in (
        ("fit", "people.csv", "--target", "rich", "--json", *FAST),
        ("evaluate", model, "people.csv", "--json"),
        ("describe", model, "--json"),
        ("describe", "people.csv", "--json"),
    ):
        status, out, _ = run(*arguments)
        assert status == 0
        assert isinstance(json.loads(out), dict)


def test_predictions_are_printed_or_written_in_the_format_of_the_file_name(run, model):
    _, out, _ = run("predict", model, "people.csv")
    assert out.splitlines()[0] == "rich,probability of no,probability of yes"
    for name, read in (("p.parquet", pl.read_parquet), ("p.jsonl", pl.read_ndjson), ("p.arrow", pl.read_ipc)):
        assert run("predict", model, "people.csv", "--out", name)[0] == 0
        assert read(name).height == 300
    assert run("predict", model, "people.csv", "--out", "p.tsv", "--with-inputs")[0] == 0
    assert pl.read_csv("p.tsv", separator="\t").columns[-3] == "predicted rich"


def test_a_report_is_written(run, folder):
    assert run("fit", "people.csv", "-t", "rich", "--report", "r.html", *FAST)[0] == 0
    assert (folder / "r.html").read_text().startswith("<!doctype html>")
    assert run("evaluate", "people.rosenblatt", "people.csv", "--report", "e.html")[0] == 0
    assert (folder / "e.html").stat().st_size > 10_000


def test_a_report_groups_errors_by_columns_that_need_not_be_inputs(run, folder, people):
    people.with_columns(team=pl.Series(["red", "blue"] * 150)).write_csv("teams.csv")
    options = ["--ignore", "team", "--report", "r.html", "--by", "team", "--by", "1", *FAST]
    assert run("fit", "teams.csv", "-t", "rich", *options)[0] == 0
    page = (folder / "r.html").read_text()
    assert "Errors by team" in page
    assert "Errors by age" in page
    assert "held-out rows" in page
    assert run("evaluate", "teams.rosenblatt", "teams.csv", "--report", "e.html", "--by", "team")[0] == 0
    page = (folder / "e.html").read_text()
    assert "Errors by team" in page
    assert "held-out rows" not in page


def write_bad_files(folder):
    """Write files with all kinds of faults."""
    rng = np.random.default_rng(0)
    pl.DataFrame({"x": rng.normal(size=60), "y": ["a"] * 60}).write_csv("one-class.csv")
    pl.DataFrame({"x": ["?"] * 60, "z": range(60), "y": ["a", "b"] * 30}).write_csv("void.csv")
    pl.DataFrame({"x": [*rng.normal(size=59), float("inf")], "y": ["a", "b"] * 30}).write_csv("infinite.csv")
    pl.DataFrame({"x": [*map(str, rng.normal(size=40)), *["abc"] * 20], "y": ["a", "b"] * 30}).write_csv("half.csv")
    pl.DataFrame({"Age": [1.0], "city": ["Oslo"], "noise": [0.0]}).write_csv("other.csv")
    pl.DataFrame({"age": ["old"] * 9, "city": ["Oslo"] * 9, "noise": [0.0] * 9}).write_csv("words.csv")
    (folder / "empty.csv").write_text("")
    (folder / "names.csv").write_text("a,b\n")
    (folder / "unknown.toml").write_text("[training]\nepoch = 3\n")
    (folder / "limits.toml").write_text("[training]\ndropout = 3\n")
    (folder / "cut.rosenblatt").write_bytes((folder / "people.rosenblatt").read_bytes()[:5000])
    (folder / "foreign.rosenblatt").write_text("hello")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "none.csv", "-t", "y"], "There is no file 'none.csv'"),
        (["fit", "empty.csv", "-t", "y"], "is empty"),
        (["fit", "names.csv", "-t", "y"], "has no rows"),
        (["fit", "people.csv", "-t", "Rich"], "There is no column 'Rich'; .* Did you mean 'rich'?"),
        (["fit", "people.csv", "-t", "rich", "--ignore", "agee"], "Did you mean 'age'?"),
        (["fit", "one-class.csv", "-t", "y"], "one value only, 'a'"),
        (["fit", "void.csv", "-t", "y", "--ignore", "z"], "x: .*no row has a value"),
        (["evaluate", "people.rosenblatt", "names.csv"], "'names.csv' has no rows"),
        (["explain", "people.rosenblatt", "names.csv"], "'names.csv' has no rows"),
        (["fit", "people.csv", "-t", "rich", "--test", "names.csv"], "'names.csv' has no rows"),
        (["fit", "infinite.csv", "-t", "y"], "infinite number in row 60"),
        (["fit", "half.csv", "-t", "y"], "changes kind half-way"),
        (["fit", "people.csv", "-t", "rich", "--config", "none.toml"], "cannot be read"),
        (["fit", "people.csv", "-t", "rich", "--config", "unknown.toml"], "Did you mean 'epochs'?"),
        (["fit", "people.csv", "-t", "rich", "--config", "limits.toml"], "dropout must be"),
        (["fit", "people.csv", "-t", "rich", "--dropout", "x"], "dropout must be .* but it is 'x'"),
        (["fit", "people.csv", "-t", "rich", "--dropuot", "0"], "No such option.*--dropout"),
        (["fit", "people.csv", "-t", "rich", "--out", "none/m"], "There is no folder 'none'"),
        (["fit", "people.csv", "-t", "rich", "--out", "."], "but it is a folder"),
        (["fit", "people.csv", "-t", "noise", "--kind", "perceptron"], "perceptron predicts classes"),
        (["fit", "people.csv", "-t", "rich", "--scoring", "auc"], "scoring must be"),
        (["fit", "people.csv", "-t", "rich", "--by", "city"], "--by groups the errors in a report.*Add --report"),
        (["fit", "people.csv", "-t", "rich", "--by", "cty", "--report", "r.html"], "'cty'.*Did you mean 'city'?"),
        (["evaluate", "people.rosenblatt", "people.csv", "--by", "city"], "Add --report"),
        (["fit", "people.csv", "-t", "rich", "--by", "city", "--report", "r.html", "--test-fraction", "0"], "no rows"),
        (["fit", "people.csv", "-t", "rich", "--by", "city", "--report", "r.html", "--task", "tagging"], "each step"),
        (["fit", "people.csv", "--by", "city", "--report", "r.html", "--task", "language"], "each step"),
        (["evaluate", "people.rosenblatt", "people.csv", "--by", "cty", "--report", "r.html"], "mean 'city'?"),
        (["fit", "people.csv"], "No target column is given"),
        (["fit", "people.csv", "-t", ","], "No target column is given"),
        (["fit", "people.csv", "-t", "rich", "-o", "people.csv"], "'people.csv' is also another file of this command"),
        (["predict", "people.rosenblatt", "people.csv", "-o", "people.csv"], "is also another file of this command"),
        (["predict", "people.rosenblatt", "other.csv"], "lacks 'age', .* Did you mean 'Age'?"),
        (["predict", "people.rosenblatt", "words.csv"], "'age' must hold numbers"),
        (["predict", "cut.rosenblatt", "people.csv"], "or incomplete"),
        (["predict", "foreign.rosenblatt", "people.csv"], "not a Rosenblatt model"),
        (["predict", "people.csv", "people.csv"], "not a Rosenblatt model"),
        (["predict", "people.rosenblatt", "people.csv", "--out", "p.xlsx"], "but it ends in .xlsx"),
        (["evaluate", "people.rosenblatt", "other.csv"], "lacks the target 'rich'"),
        (["describe", "none.rosenblatt"], "There is no model file"),
        (["describe", "none.csv"], "There is no file"),
        (["train"], "No such command 'train'"),
        (["evalute"], "No such command 'evalute'. Did you mean 'evaluate'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_status_2(run, model, folder, arguments, message):
    write_bad_files(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    status, _, err = run(*arguments)
    assert status == 2
    assert re.search(message, err)
    assert "Traceback" not in err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@contextmanager
def terminal():
    """Open a pseudo-terminal; yield its descriptor and a function that returns everything written to it so far."""
    master, slave = os.openpty()
    os.set_blocking(master, False)
    output = b""

    def screen():
        nonlocal output
        with suppress(BlockingIOError):
            while part := os.read(master, 65536):
                output += part
        return output.decode(errors="replace")

    try:
        yield slave, screen
    finally:
        os.close(slave)
        os.close(master)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_keeps_the_best_epoch_and_says_so(run, model, folder, signal_number, status):
    """The fixture `model` compiles the engine, so training starts at once."""
    endless = [*FAST, "--epochs", "1000000", "--patience", "1000000"]
    command = [sys.executable, "-m", "rosenblatt", "fit", "people.csv", "-t", "rich", *endless, "-o", "m.rosenblatt"]
    with terminal() as (slave, screen):  # only a terminal gets a progress bar, which shows the first epoch
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=slave, text=True, env={**os.environ, "TERM": "xterm"}
        )
        try:
            wait_until(
                lambda: "validation loss" in screen() or process.poll() is not None, description="the first epoch"
            )
            process.send_signal(signal_number)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
        err = screen()
    assert process.returncode == status, err
    assert "stopped early: the best epochs so far are kept" in out
    assert "Traceback" not in err
    stopped = load_model(folder / "m.rosenblatt")
    assert stopped.metadata.interrupted
    assert run("predict", "m.rosenblatt", "people.csv")[0] == 0


def test_a_full_disk_is_a_one_sentence_error_and_leaves_no_file(model, folder):
    """The operating system limits the size of files, so the model cannot be written."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000));"
        "sys.argv = ['rosenblatt', *sys.argv[1:]]; from rosenblatt.cli.main import main; main()"
    )
    big = [*FAST, "--hidden-sizes", "256,256", "--epochs", "1", "-o", "big.rosenblatt"]
    arguments = ["fit", "people.csv", "-t", "rich", *big]
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert "could not be written: File too large. Nothing was changed" in process.stderr
    assert "Traceback" not in process.stderr
    assert not [path for path in folder.iterdir() if "big" in path.name]


def test_a_closed_pipe_is_no_error(model, folder):
    command = f"{sys.executable} -m rosenblatt predict people.rosenblatt people.csv | head -1"
    process = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    assert process.stdout == "rich,probability of no,probability of yes\n"
    assert "Traceback" not in process.stderr


def test_output_that_cannot_be_written_is_a_one_sentence_error(model, folder):
    command = f"{sys.executable} -m rosenblatt predict people.rosenblatt people.csv > /dev/full"
    process = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "The output could not be written: No space left on device" in process.stderr
    assert "Traceback" not in process.stderr


def test_help_keeps_the_lines_of_its_examples(run):
    _, out, _ = run("--help")
    assert "\\b" not in out
    assert "  rosenblatt describe people.csv " in out


def test_scores_are_called_test_scores_only_if_no_row_was_in_training(run, model):
    pl.read_csv("people.csv")[:5].with_columns(noise=pl.lit(7.5)).write_csv("new.csv")
    assert "\ntest score " in run("evaluate", model, "new.csv")[1]
    assert "\nscore " in run("evaluate", model, "people.csv")[1]
    fields = json.loads(run("evaluate", model, "people.csv", "--json")[1])
    assert fields["held_out"] is False
    assert fields["in_training"] == {"rows": 300, "checked": 300, "seen": 240}
    assert "240 of the 300 rows" in fields["cautions"][0]


def test_arguments_are_shown_as_visible_text_in_errors(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["rosenblatt", "describe", "a.csv", "b\x1b]0;title\x07.csv"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit):
        main()
    assert "Got unexpected extra argument (b\\x1b]0;title\\x07.csv)" in capsys.readouterr().err
