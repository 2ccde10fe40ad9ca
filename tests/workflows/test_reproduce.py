"""Fits are reproduced bit for bit, and causes of differences are found."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from rosenblatt.cli.exit_status import ExitStatus
from rosenblatt.cli.main import cli
from rosenblatt.errors import RunError, SpecError
from rosenblatt.runs.compare import compare, possible_causes
from rosenblatt.runs.launch import LaunchRequest, launch
from rosenblatt.runs.store.details import RunDetails
from rosenblatt.runs.store.queries import find_runs, run_details
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from rosenblatt.runs.verdict import FirstDifference, Gap, compare_results
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.recorded_call import find_call
from rosenblatt.workflows.reproduce import ReproduceOptions, reproduce
from rosenblatt.workflows.request import FitRequest
from rosenblatt.workflows.resume import resume
from tests.runs.conftest import add_run_with_curves

FAST = ["--epochs", "4", "--folds", "2", "--members", "2", "--hidden-sizes", "8"]


@pytest.fixture
def store(own_store):
    store = Store(f"sqlite:///{own_store}/runs.db")
    yield store
    store.close()


@pytest.fixture
def fitted_run(tmp_path, people, monkeypatch, store, same_process_check):
    monkeypatch.chdir(tmp_path)
    people.write_csv("people.csv")
    return fit()


def fit(*arguments):
    result = CliRunner().invoke(cli, ["fit", "people.csv", "-t", "rich", "--json", *FAST, *arguments], obj=ExitStatus())
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["run"]


def silent(_):
    """Ignore a message."""


def test_a_fit_is_reproduced_identically(fitted_run, store):
    result = reproduce(store, fitted_run, silent).result
    assert result.verdict == "identical"
    assert result.max_difference == 0.0
    assert result.causes == {}
    assert result.n_compared > 5


def test_a_deterministic_search_and_its_trials_are_reproduced_identically(fitted_run, store):
    run = fit("--trials", "4", "--deterministic", "--repeats", "1", "--members", "auto")
    assert reproduce(store, run, silent).result.verdict == "identical"
    assert reproduce(store, f"{run}-2", silent).result.verdict == "identical"


def test_changed_rows_are_the_cause(fitted_run, store):
    frame = pl.read_csv("people.csv")
    frame.with_columns(noise=pl.col("noise") ** 2).write_csv("people.csv")
    result = reproduce(store, fitted_run, silent).result
    assert result.verdict == "differs"
    assert result.first_difference.step is not None
    assert set(result.causes) == {"data"}


def test_a_changed_seed_is_the_cause(fitted_run, store):
    result = compare_results(store, fitted_run, fit("--seed", "7"), 1e-3)
    assert result.verdict == "differs"
    assert set(result.causes) == {"seed"}


def test_a_changed_hyperparameter_is_the_cause(fitted_run, store):
    result = compare_results(store, fitted_run, fit("--dropout", "0.4"), 1e-3)
    assert set(result.causes) == {"hyperparameter"}
    assert result.causes["hyperparameter"]["dropout"][1] == "0.4"


def merge_dicts(values, changes):
    """Replace values in nested dictionaries."""
    return values | {
        name: merge_dicts(values.get(name, {}), change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }


CAUSES = [
    ({"environment": {"packages": {"numpy": "1.0"}}}, "package"),
    ({"environment": {"python": "3.9"}}, "package"),
    ({"environment": {"processor": "another"}}, "hardware"),
    ({"environment": {"gpus": [{"name": "H200"}]}}, "hardware"),
    ({"source_hash": "another"}, "source"),
    ({"engine": {"source": "another"}}, "source"),
    ({"split": {"training": "another"}}, "data"),
    ({"seeds": {"torch": 3}}, "seed"),
]


def test_each_cause_has_its_name(fitted_run, store):
    details = run_details(store, fitted_run)
    assert possible_causes(details, run_details(store, fitted_run)) == {}
    for change, cause in CAUSES:
        changed = merge_dicts(details.to_json(), change)
        assert set(possible_causes(details, RunDetails.model_validate(changed))) == {cause}, change


def test_verdicts_of_curves(store):
    batch = RecordBatch()
    add_run_with_curves(batch, "a", loss=[1.0, 2.0, float("nan")])
    add_run_with_curves(
        batch, "b", loss=[1.0, 2.0001, float("nan")], **{"system/cpu percent": [3.0], "epoch_time": [1.0]}
    )
    add_run_with_curves(batch, "c", loss=[1.0, 3.0, 5.0])
    add_run_with_curves(batch, "d", loss=[1.0])
    add_run_with_curves(batch, "e", acc=[1.0])
    store.write(batch)
    assert compare_results(store, "a", "a", 1e-3).verdict == "identical"
    near = compare_results(store, "a", "b", 1e-3)
    assert near.verdict == "within tolerance"
    assert near.max_difference == pytest.approx(5e-5)
    assert near.not_compared == ["epoch_time", "system/cpu percent"]
    assert compare_results(store, "a", "b", 1e-6).first_difference == FirstDifference(
        1, "loss: 2.0 was 2.0001 this time"
    )
    assert compare_results(store, "a", "c", 1e-3).first_difference.step == 1
    assert compare_results(store, "a", "d", 1e-3).first_difference == FirstDifference(
        1, "loss has 3 points in the first run, 1 in the second"
    )
    assert compare_results(store, "a", "e", 1e-3).verdict == "differs"


def test_a_comparison_holds_only_differences(fitted_run, store):
    comparison = compare(store, fitted_run, fit("--dropout", "0.4", "--seed", "1"))
    assert set(comparison.params) == {"dropout", "seed"}
    assert comparison.environment == {}
    assert comparison.source == ""
    assert set(comparison.data) == {"test rows", "training rows"}  # the seed also changes the split
    assert comparison.metrics["auc"][0] is not None


def test_a_run_of_a_notebook_cannot_be_reproduced(store, monkeypatch):
    monkeypatch.setattr("sys.argv", ["a notebook"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # of `python -m pytest`
    with track("mine") as run:
        run.log({"loss": 1.0})
    with pytest.raises(RunError, match="was not recorded by a script"):
        reproduce(store, run.id, silent)


def test_a_script_that_was_started_by_itself_is_reproduced(work_folder):
    code = "import sys, rosenblatt\nwith rosenblatt.track() as run: run.log({'loss': float(sys.argv[1])})\n"
    (work_folder / "alone.py").write_text(code)
    subprocess.run([sys.executable, "alone.py", "0.25"], check=True)
    (work_folder / "alone.py").unlink()
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    assert reproduce(store, "last", silent).result.verdict == "identical"
    store.close()


def test_resuming_without_an_interrupted_search_is_an_error(fitted_run, store):
    with pytest.raises(RunError, match="No search of 'people' was interrupted"):
        resume(store, "people", silent)
    with pytest.raises(RunError, match="no experiment and no run 'nothing'"):
        resume(store, "nothing", silent)


def test_the_difference_between_sources_is_that_of_their_files(work_folder):
    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True, capture_output=True
        )

    code = "import rosenblatt\nrosenblatt.track().finish()\n"
    (work_folder / "train.py").write_text(code)
    git("init", "-q", ".")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    run_ids = []
    for change in ("", "# changed\n"):
        (work_folder / "train.py").write_text(code + change)
        run_ids.append(launch(LaunchRequest("train.py", ()))[1].id)
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    lines = compare(store, *run_ids).source.splitlines()
    assert lines[0] == "diff --git train.py train.py"
    assert [line for line in lines if line.startswith("+") and "++" not in line] == ["+# changed"]
    store.close()


def test_a_request_of_another_version_is_refused_in_one_sentence():
    data = FitRequest(table="t.csv", spec=Spec()).to_json()
    assert FitRequest.from_json(data).table.endswith("t.csv")
    with pytest.raises(SpecError, match=r"recorded by a version of rosenblatt with other options \(header\)"):
        FitRequest.from_json(data | {"header": True})


def test_a_fit_of_standard_input_is_not_repeated(tmp_path, monkeypatch, store, same_process_check):
    monkeypatch.chdir(tmp_path)
    table = "a,y\n" + "".join(f"{k * 37 % 101},{k % 2}\n" for k in range(60))
    result = CliRunner().invoke(cli, ["fit", "-", "-t", "y", *FAST], input=table, obj=ExitStatus())
    assert "rosenblatt predict model.rosenblatt new.csv" in result.output
    with pytest.raises(RunError, match="standard input, which is not stored"):
        reproduce(store, "last", silent)


PLAIN = "print('done')\n"  # without a result, as `import rosenblatt` takes most of the time of these scripts
STEADY = "import rosenblatt\nwith rosenblatt.track() as run: run.log({'loss': 0.5}, step=0)\n"
RANDOM = STEADY.replace("0.5", "float(int.from_bytes(__import__('os').urandom(4), 'big'))")


@pytest.fixture
def scripts(work_folder, monkeypatch):
    """Record runs of scripts, and reproduce them in the store of the working folder."""
    # the process of the command imports no modules of a project, but that of the tests does
    monkeypatch.setattr("rosenblatt.runs.capture.snapshot.RunSnapshot.capture_modules", lambda self: False)

    class Scripts:
        store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")

        def run(self, code, *arguments):
            (work_folder / "t.py").write_text(code)
            return launch(LaunchRequest("t.py", arguments))[1].id

        def change(self, run, **metadata):
            """Record other metadata of a run."""
            batch = RecordBatch()
            for name, value in metadata.items():
                batch.add_metadata(run, name, value)
            self.store.write(batch)

        def reproduce(self, run, **options):
            return reproduce(self.store, run, silent, ReproduceOptions(**options))

    yield Scripts()
    Scripts.store.close()


def test_only_the_same_inputs_show_that_a_program_is_not_deterministic(scripts):
    run = scripts.run(RANDOM)
    result = scripts.reproduce(run).result
    assert (result.verdict, result.causes, result.gaps, result.compared) == ("differs", {}, [], {"metric": 1})
    scripts.change(run, unseen=["standard input"])
    assert scripts.reproduce(run).result.gaps == [Gap("input", "standard input")]
    source = replace(run_details(scripts.store, run).source, skipped={"lib": "a repository of its own"})
    batch = RecordBatch()
    batch.add_metadata(run, "source", batch.add_document(source.to_json()))
    scripts.store.write(batch)
    assert Gap("source", "lib (a repository of its own)") in scripts.reproduce(run).result.gaps


def test_other_results_of_a_source_that_is_not_restored_are_no_verdict(scripts, work_folder):
    (work_folder / "helper.py").write_text("")
    run = scripts.run("import helper\n" + RANDOM)
    modules = [module.to_json() for module in run_details(scripts.store, run).modules]
    scripts.change(run, modules=[*modules, {"path": str(work_folder / "helper.py"), "hash": "another"}])
    result = scripts.reproduce(run).result
    assert (result.verdict, result.first_difference) == ("could not be run again", None)
    assert Gap("source", "helper.py has other content than the run imported") in result.gaps
    scripts.change(run, modules=[*modules, {"path": str(work_folder / "gone.py"), "hash": "another"}])
    assert Gap("source", "gone.py is missing") in scripts.reproduce(run).result.gaps


@pytest.fixture
def marker(tmp_path):
    """A file that scripts see in their first run, and that is removed before they run again."""
    path = tmp_path / "marker"
    path.touch()
    return path


START = "import os, sys, rosenblatt\nrun, is_first = rosenblatt.track(), os.path.exists(sys.argv[1])\n"


def test_a_script_that_fails_only_the_second_time_could_not_be_run_again(scripts, marker):
    run = scripts.run(f"{START}run.log({{'loss': 1.0}})\nopen(sys.argv[1]).close()\n", str(marker))
    marker.unlink()
    reproduction = scripts.reproduce(run)
    assert reproduction.result.verdict == "could not be run again"
    assert reproduction.result.reason.startswith("FileNotFoundError: ")
    assert reproduction.result.reason.endswith(", exit status 1")
    assert Gap("data", f"{marker} is gone") in reproduction.result.gaps
    assert run_details(scripts.store, reproduction.run).state == "failed"


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        (["ValueError('1')", "ValueError('2')"], "identical"),
        (["ValueError('1')", "KeyError('1')"], "could not be run again"),
        (["ValueError('1')", "SystemExit(0)"], "differs"),  # in the exit status
    ],
)
def test_a_run_that_failed_is_compared_unless_it_fails_in_another_way(scripts, marker, errors, verdict):
    code = f"{START}run.log({{'loss': 1.0}})\nraise {errors[0]} if is_first else {errors[1]}\n"
    run = scripts.run(code, str(marker))
    marker.unlink()
    assert scripts.reproduce(run).result.verdict == verdict


def test_a_run_that_was_killed_is_compared_as_far_as_it_came(scripts, marker):
    log = "for step in range(5):\n    run.log({'loss': step}, step=step)\n"
    run = scripts.run(f"{START}{log}    if step == 2 and is_first: run.flush(); os.kill(os.getpid(), 9)\n", str(marker))
    marker.unlink()
    result = scripts.reproduce(run).result
    assert (result.verdict, result.compared) == ("identical", {"metric": 1})
    assert [gap.kind for gap in result.gaps] == ["end"]


def test_a_script_works_on_copies_in_a_folder_that_is_removed(scripts, work_folder, tmp_path):
    (work_folder / "rows.csv").write_text("1\n")
    code = "text = open('rows.csv').read()\nopen('rows.csv', 'a').write('2')\nprint(__file__)\n"
    run = scripts.run(code + STEADY)
    (work_folder / "rows.csv").write_text("1\n")
    before = sorted(path.name for path in work_folder.iterdir())
    reproduction = scripts.reproduce(run)
    assert (reproduction.result.verdict, reproduction.result.causes) == ("identical", {})
    assert (work_folder / "rows.csv").read_text() == "1\n"
    assert sorted(path.name for path in work_folder.iterdir()) == before
    assert not Path(run_details(scripts.store, reproduction.run).folder).exists()
    scripts.reproduce(run, keep=tmp_path / "kept")
    assert (tmp_path / "kept" / "source" / "rows.csv").read_text() == "1\n2"
    with pytest.raises(RunError, match="cannot be created"):
        scripts.reproduce(run, keep=tmp_path / "kept")


def test_a_reproduction_stands_for_the_run_that_it_reproduces(scripts):
    run = scripts.run(PLAIN)
    again = scripts.reproduce(run).run
    assert run_details(scripts.store, scripts.reproduce(again).run).reproduces == run
    assert run_details(scripts.store, scripts.reproduce("last").run).reproduces == run


def test_each_run_of_a_script_is_compared_with_its_counterpart(scripts):
    run = scripts.run(
        "import rosenblatt\nfor k in range(2):\n    with rosenblatt.track() as run: run.log({'loss': k})\n"
    )
    for record in find_runs(scripts.store, "kind = track"):
        assert scripts.reproduce(record.id).result.verdict == "identical"
    assert scripts.reproduce(run).result.verdict == "identical"


def test_the_search_of_a_script_is_reproduced(scripts):
    scripts.run(
        "import rosenblatt\nrosenblatt.tune(lambda p, run: p['x'] ** 2, {'x': rosenblatt.uniform(0, 1)}, trials=3)\n"
    )
    search = find_runs(scripts.store, "kind = search")[0]
    for run in (search.id, f"{search.id}-1"):
        result = scripts.reproduce(run).result
        assert (result.verdict, result.compared) == ("identical", {"metric": 1})


def test_a_reproduced_search_trains_its_trials_although_it_may_reuse_them(scripts):
    scripts.run(
        "import rosenblatt\nspace = {'x': rosenblatt.uniform(0, 1)}\n"
        "rosenblatt.tune(lambda p, run: p['x'] ** 2, space, trials=2, reuse=True)\n"
    )
    search = find_runs(scripts.store, "kind = search")[0]
    assert scripts.reproduce(search.id).result.verdict == "identical"
    assert [run_details(scripts.store, run.id).trials for run in find_runs(scripts.store, "kind = search")] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "name", "options"),
    [
        (["--token", "abc"], "token", {"secrets": {"token": "abc"}}),
        (["--token=abc"], "token", {"ask_secret": lambda _: "abc"}),
        (["https://me:abc@host/"], "1", {"secrets": {"1": "me:abc"}}),
    ],
)
def test_a_masked_argument_is_given_again(scripts, arguments, name, options):
    run = scripts.run(f"import sys\n{STEADY.replace('0.5', 'len(sys.argv[-1])')}", *arguments)
    with pytest.raises(RunError, match=f"--secret {name}=VALUE"):
        scripts.reproduce(run)
    reproduction = scripts.reproduce(run, **options)
    assert reproduction.result.verdict == "identical"
    assert [gap.kind for gap in reproduction.result.gaps] == ["argument"]
    assert "abc" not in str(run_details(scripts.store, reproduction.run).launch.arguments)


def test_a_secret_that_no_argument_needs_is_named_once(scripts):
    run = scripts.run(PLAIN, "--token", "abc")
    messages = list[str]()
    reproduce(scripts.store, run, messages.append, ReproduceOptions(secrets={"token": "abc", "tokn": "geheim"}))
    about = [message for message in messages if "--secret" in message]
    assert len(about) == 1
    assert "'tokn' has no effect" in about[0]
    assert "'token'" in about[0]
    assert "geheim" not in about[0]


RECORD = "import rosenblatt; run = rosenblatt.track(name='other'); run.log({'loss': 1.0}); run.finish()"


@pytest.mark.parametrize(
    ("arguments", "stdin", "program"),
    [
        (["-c", RECORD], "", "python -c"),
        ([], RECORD, "standard input"),
        (["-i", "-c", "0"], f"{RECORD}\n", "prompt"),
        (["worker.py"], "", "worker process"),
    ],
)
def test_only_scripts_and_modules_are_run_again(scripts, work_folder, arguments, stdin, program):
    worker = (
        "import multiprocessing, sys\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.get_context('spawn').Process(target=exec, args=(sys.argv[1],)).start()\n"
    )
    (work_folder / "worker.py").write_text(worker)
    command = [sys.executable, *arguments, *([RECORD] if "worker.py" in arguments else [])]
    subprocess.run(command, input=stdin, text=True, check=True, capture_output=True)
    with pytest.raises(RunError, match=f"was not recorded by a script .* but by .*{program}"):
        scripts.reproduce("other")


def test_code_of_another_user_runs_only_if_that_is_confirmed(scripts):
    run = scripts.run(PLAIN)
    scripts.change(run, user="mallory")
    for confirm in (None, lambda _: False):
        with pytest.raises(RunError, match=r"recorded by the user mallory, on .* with --yes"):
            scripts.reproduce(run, confirm=confirm)
    assert scripts.reproduce(run, confirm=lambda question: "mallory" in question).run


def test_code_from_a_store_that_others_can_write_to_runs_only_if_that_is_confirmed(scripts, work_folder):
    run = scripts.run(PLAIN)
    (work_folder / ".rosenblatt" / "runs.db").chmod(0o666)
    with pytest.raises(RunError, match=r"in a store to which others can write \(everybody\)\. .* with --yes"):
        scripts.reproduce(run)
    assert scripts.reproduce(run, confirm=lambda question: "others can write" in question).run


def test_a_fit_of_another_user_is_repeated_only_if_that_is_confirmed(fitted_run, store):
    batch = RecordBatch()
    batch.add_metadata(fitted_run, "user", "mallory")
    store.write(batch)
    with pytest.raises(RunError, match=r"recorded by the user mallory.* Fit '.*people.csv', and record its model"):
        reproduce(store, fitted_run, silent)
    options = ReproduceOptions(confirm=lambda question: "mallory" in question)
    assert reproduce(store, fitted_run, silent, options).result.verdict == "identical"


def test_a_changed_environment_variable_is_the_cause(scripts, monkeypatch):
    monkeypatch.setenv("LEARNING_RATE", "1")
    run = scripts.run(STEADY.replace("0.5", "float(__import__('os').environ['LEARNING_RATE'])"))
    assert scripts.reproduce(run).result.verdict == "identical"
    monkeypatch.setenv("LEARNING_RATE", "2")
    result = scripts.reproduce(run).result
    assert (result.verdict, result.causes) == ("differs", {"variable": {"LEARNING_RATE": ["one value", "another"]}})
    monkeypatch.delenv("LEARNING_RATE")
    result = scripts.reproduce(run).result
    assert result.verdict == "could not be run again"
    assert Gap("environment", "the environment variable LEARNING_RATE has changed") in result.gaps


@pytest.mark.parametrize("arguments", [(), ("-m",)])
def test_a_record_without_the_name_of_its_script_is_refused(arguments):
    record = {"id": "r1", "experiment": "e", "name": "", "kind": "script", "state": "finished", "started": 0.0}
    run = RunDetails.model_validate(record | {"heartbeat": 0.0, "program": "script", "arguments": arguments})
    with pytest.raises(RunError, match="record of run r1 does not name its script"):
        find_call(run)
