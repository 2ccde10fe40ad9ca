"""What a program of anybody's can say of its run, and what is known of it without being told."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest

import rosenblatt
from rosenblatt.errors import RunError, StorageError
from rosenblatt.runs.store.artifacts import fetch
from rosenblatt.runs.store.queries import all_curves, artifacts_of, details, find_runs, output_of, run_named
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track


@pytest.fixture
def store(own_store):
    found = Store(f"sqlite:///{own_store}/runs.db")
    yield found
    found.close()


def test_a_run_holds_what_it_was_told_and_what_it_was_not(store, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "rows.csv").write_text("1,2\n")
    with rosenblatt.track(
        "mine", params={"lr": 0.1}, name="first", tags={"who": "ana"}, data=[tmp_path / "rows.csv"]
    ) as run:
        run.log({"loss": 0.3, "acc": 0.9}, step=10)
        run.log_artifact(tmp_path / "model.pt")
        run.note("remark", {"good": True})
        print("hello")
    known = details(store, run.id)
    assert (known["experiment"], known["name"], known["state"], known["kind"]) == ("mine", "first", "finished", "track")
    assert known["params"] == {"lr": {"value": "0.1", "chosen": True}}
    assert known["metrics"]["acc"]["step"] == 10
    assert known["artifacts"]["model.pt"]["bytes"] == 7
    assert known["notes"] == {"remark": {"good": True}}
    assert known["tags"] == {"who": "ana"}
    assert known["data"][0]["bytes"] == 4
    assert known["peak_memory"] > 1e6
    assert known["command"][0].startswith("python")
    assert known["source"]["root"]
    assert output_of(store, run.id) == [("stdout", "hello\n")]


def test_numbers_of_any_library_are_taken_and_nothing_else(store):
    with track("numbers") as run:
        run.log(
            {
                "a": 1,
                "b": True,
                "c": np.float32(0.5),
                "d": np.array(2.0),
                "e": np.array([3.0]),
                "f": np.nan,
                "g": np.inf,
            }
        )
        for bad in ("0.5", None, [1.0, 2.0], {"x": 1}, np.ones(3), 10**400):
            with pytest.raises(RunError, match="The metric 'bad' must be one number"):
                run.log({"bad": bad})
        for name in ("", 3, None):
            with pytest.raises(RunError, match="The name of a metric must be text"):
                run.log({name: 1.0})
        for step in (0.5, "1", 2**70, np.nan):
            with pytest.raises(RunError, match="A step must be a whole number"):
                run.log({"a": 1.0}, step=step)
    found = all_curves(store, run.id)
    assert [found[name].values[0] for name in "abcde"] == [1.0, 1.0, 0.5, 2.0, 3.0]
    assert "bad" not in found


def test_steps_count_on_where_none_is_given(store):
    with track("steps") as run:
        for step in (None, None, 10, None, np.int64(20), 30.0):
            run.log({"a": 1.0}, step)
    assert all_curves(store, run.id)["a"].steps.tolist() == [0, 1, 10, 11, 20, 30]


def test_whole_curves_are_taken_at_once(store):
    values = np.random.default_rng(0).normal(size=200_000)
    with track("curves") as run:
        run.log_curve("loss", values)
        run.log_curve("loss", [1.0, 2.0], [300_000, 300_001])
        with pytest.raises(RunError, match="one step for each value"):
            run.log_curve("loss", [1.0, 2.0], [1])
    found = all_curves(store, run.id)["loss"]
    assert np.array_equal(found.values, [*values, 1.0, 2.0])
    summary = details(store, run.id)["metrics"]["loss"]
    assert (summary["last"], summary["min"], summary["min_step"]) == (2.0, values.min(), int(values.argmin()))


def test_a_million_points_are_kept_to_the_last_bit(store):
    values = np.random.default_rng(1).normal(size=1_000_000)
    with track("many") as run:
        run.log_curve("loss", values)
    assert np.array_equal(all_curves(store, run.id)["loss"].values, values)


BLOCK, ALONE = "with rosenblatt.track('end') as run:\n    ", "run = rosenblatt.track('end')\n"


@pytest.mark.parametrize(
    ("begun", "code", "state", "reason"),
    [
        *((begun, "pass", "finished", None) for begun in (BLOCK, ALONE)),
        *((begun, "raise ValueError('wrong')", "failed", "ValueError: wrong") for begun in (BLOCK, ALONE)),
        *((begun, "raise KeyboardInterrupt", "stopped", "interrupted") for begun in (BLOCK, ALONE)),
        *((begun, "sys.exit(0)", "finished", None) for begun in (BLOCK, ALONE)),
        (BLOCK, "sys.exit(3)", "failed", "SystemExit: 3"),
    ],
)
def test_how_a_program_ends_is_recorded(store, begun, code, state, reason):
    words = [sys.executable, "-c", f"import sys, rosenblatt\n{begun}{code}"]
    subprocess.run(words, capture_output=True, check=False)
    found = find_runs(store)[0]
    assert (found["state"], found["reason"]) == (state, reason)
    assert found["ended"] is not None


def test_reuse_returns_the_finished_run(store):
    def tracked(**more):
        return track("again", params={"lr": more.pop("lr", 1)}, reuse=True, **more)

    with tracked() as first:
        first.log({"loss": 1.0})
    again = tracked()
    assert again.reused
    assert again.id == first.id
    again.log({"loss": 2.0})  # goes nowhere
    again.finish()
    assert len(all_curves(store, first.id)["loss"].values) == 1
    with tracked(lr=2) as other:
        assert not other.reused


def test_figures_and_folders_are_kept(store, tmp_path):
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure()
    figure.subplots().plot([1, 2])
    (tmp_path / "out" / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt"):
        (tmp_path / "out" / name).write_text(name)
    with track("files") as run:
        run.log_figure("roc", figure)
        run.log_figure("picture.png", Image.new("RGB", (4, 3)))
        run.log_artifact(tmp_path / "out")
        with pytest.raises(RunError, match="A figure was expected, but str came"):
            run.log_figure("bad", "no figure")
        with pytest.raises(StorageError, match="cannot be kept"):
            run.log_artifact(tmp_path / "nothing")
    kept = artifacts_of(store, run.id)
    assert set(kept) == {"roc.png", "picture.png", "out/a.txt", "out/deep/b.txt"}
    fetch(kept["roc.png"]["hash"], kept["roc.png"]["root"], tmp_path / "roc.png")
    assert Image.open(io.BytesIO((tmp_path / "roc.png").read_bytes())).size[0] > 100


def test_secrets_are_not_recorded(store, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(sys, "argv", ["train.py", "--token", "do-not-tell", "--lr", "0.1"])
    with track("secret", params={"api_key": "do-not-tell", "url": "postgresql://ana:do-not-tell@db/x"}) as run:
        print("password: do-not-tell")
    known = details(store, run.id)
    assert "do-not-tell" not in str(known)
    assert "do-not-tell" not in str(output_of(store, run.id))
    assert known["environment"]["variables"]["CUDA_VISIBLE_DEVICES"] == "0"


def test_the_store_is_found_upwards_as_git_does(here):
    (here / ".rosenblatt").mkdir()
    (here / "a" / "b").mkdir(parents=True)
    code = "import rosenblatt\nprint(rosenblatt.track('deep').url)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here / "a" / "b", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"sqlite:///{here}/.rosenblatt/runs.db"


def test_a_new_store_is_not_for_version_control(here):
    track("first").finish()
    assert (here / ".rosenblatt" / ".gitignore").read_text() == "*\n"


def test_nothing_is_recorded_where_no_store_is_wanted(here):
    with track("none", store="none", params={"a": 1}) as run:
        run.log({"loss": 1.0})
        run.log_curve("loss", [1.0])
        run.tag(a="b")
        assert run.flush()
    assert list(here.iterdir()) == []


def test_a_run_is_named_by_its_id_how_that_begins_its_name_or_last(store):
    with track("named", name="special") as run:
        pass
    assert {run_named(store, word) for word in (run.id, run.id[:6], "special", "last")} == {run.id}
    with pytest.raises(RunError, match="There is no run 'nothing'"):
        run_named(store, "nothing")
    with track("named", name="special"), pytest.raises(RunError, match="'special' is not one run"):
        run_named(store, "special")


def test_progress_bars_are_kept_as_they_ended(store):
    with track("bars") as run:
        for share in range(0, 101, 10):
            print(f"\r{share} %", end="", flush=True)
        print("\n\x1b[32mgreen\x1b[0m")
    assert output_of(store, run.id) == [("stdout", "100 %\ngreen\n")]


def test_too_much_output_is_cut_and_told(store, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.tracking.output.MOST", 1000)
    with track("loud") as run:
        for number in range(500):
            print("line", number)
    words = "".join(words for _, words in output_of(store, run.id))
    assert 1000 < len(words) < 1200
    assert "the rest is not kept" in words


def test_modules_and_packages_of_the_environment_are_known():
    from rosenblatt.runs.capture.environment import environment

    known = environment()
    assert known["packages"]["numpy"] == np.__version__
    assert known["packages"]["scikit-learn"]
    assert known["cores"] >= 1
    assert known["memory"] > 1e8
    assert any(library["user_api"] == "blas" for library in known["linear_algebra"])


def test_the_load_of_gpus_is_asked_of_their_library(monkeypatch):
    """No machine of the tests has a GPU: a library of the same calls stands for NVIDIA's."""
    from types import SimpleNamespace

    from rosenblatt.runs.capture import environment, resources

    nvml = SimpleNamespace(
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetName=lambda _: "H200",
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=141 * 2**30, used=5.0),
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=97),
        nvmlSystemGetDriverVersion=lambda: "580",
        NVMLError=OSError,
    )
    monkeypatch.setattr(environment, "gpu_library", lambda: nvml)
    monkeypatch.setattr(resources, "gpu_library", lambda: nvml)
    assert environment.environment()["gpus"] == [{"name": "H200", "memory": 141 * 2**30, "driver": "580"}]
    found = []
    looked = resources.Resources(lambda values, second: found.append(values))
    looked._next = 0.0
    looked.look()
    assert found[0]["system/gpu 0 percent"] == 97.0


def test_what_comes_after_the_end_of_a_run_changes_nothing(store):
    with track("ended") as run:
        for step in range(100):
            run.log({"loss": float(step)}, step)
    run.log({"loss": 7.0})
    run.log_curve("loss", [1.0])
    run.set_params({"late": 1})
    run.flush()
    assert all_curves(store, run.id)["loss"].values.tolist() == list(range(100))
    assert details(store, run.id)["params"] == {}


def test_facts_of_any_kind_are_kept_as_well_as_they_can_be(store):
    circle = []
    circle.append(circle)
    with track("odd", params={"n": np.int64(4), "many": np.arange(3)}) as run:
        run.note("pairs", {(0, 1): 3})
        run.note("circle", circle)
        run.note("array", np.arange(3))
        run.note("secret", {"password": "tiger", "url": "https://token@git.example/x"})
    known = details(store, run.id)
    assert known["notes"]["array"] == [0, 1, 2]
    assert known["notes"]["pairs"] == "{(0, 1): 3}"
    assert "tiger" not in str(known)
    assert "token@" not in str(known)
    assert [one["id"] for one in find_runs(store, "params.n = 4")] == [run.id]


def test_an_error_of_any_text_is_recorded(store):
    with pytest.raises(FileNotFoundError), track("odd"):
        raise FileNotFoundError("caf\udce9.csv postgresql://ana:hunter2@db/x")
    found = find_runs(store)[0]
    assert found["state"] == "failed"
    assert "hunter2" not in found["reason"]


def test_many_runs_of_one_process_leave_nothing_behind(store):
    import threading

    with track("first") as run:
        pass
    hook, threads = sys.excepthook, threading.active_count()
    for number in range(50):
        with track("many", params={"n": number}) as run:
            run.log({"loss": 1.0})
    assert sys.excepthook is hook
    assert threading.active_count() == threads
    assert run._process > 0


def test_a_script_keeps_the_experiment_that_it_was_run_with(here):
    from rosenblatt.runs.launch import Launch, launch

    (here / "train.py").write_text("import rosenblatt\nwith rosenblatt.track() as run: run.log({'loss': 1.0})\n")
    _, run = launch(Launch("train.py", (), experiment="mnist"))
    found = Store(run.url)
    assert find_runs(found)[0]["experiment"] == "mnist"
    found.close()
