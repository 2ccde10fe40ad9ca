"""Tracking of any program: logged values, and values captured automatically."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest

import rosenblatt
from rosenblatt.errors import RunError, StorageError
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.details import Param
from rosenblatt.runs.store.queries import find_run, find_runs, list_artifacts, load_all_curves, load_output, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track


@pytest.fixture
def store(own_store):
    opened = Store(f"sqlite:///{own_store}/runs.db")
    yield opened
    opened.close()


def test_a_run_holds_logged_and_captured_values(store, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "rows.csv").write_text("1,2\n")
    with rosenblatt.track(
        "mine", params={"lr": 0.1}, name="first", tags={"who": "ana"}, data=[tmp_path / "rows.csv"]
    ) as run:
        run.log({"loss": 0.3, "acc": 0.9}, step=10)
        run.log_artifact(tmp_path / "model.pt")
        run.note("remark", {"good": True})
        print("hello")
    details = run_details(store, run.id)
    assert (details.experiment, details.name, details.state, details.kind) == (
        "mine",
        "first",
        "finished",
        "track",
    )
    assert details.params == {"lr": Param(value="0.1", explicit=True)}
    assert details.metrics["acc"].step == 10
    assert details.artifacts["model.pt"].bytes == 7
    assert details.notes == {"remark": {"good": True}}
    assert details.tags == {"who": "ana"}
    assert details.data[0].bytes == 4
    assert details.peak_memory > 1e6
    assert details.command[0].startswith("python")
    assert details.source.root
    assert load_output(store, run.id) == [("stdout", "hello\n")]


def test_only_numbers_are_logged_of_any_library(store):
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
        for invalid in ("0.5", None, [1.0, 2.0], {"x": 1}, np.ones(3), 10**400):
            with pytest.raises(RunError, match="The metric 'bad' must be one number"):
                run.log({"bad": invalid})
        for name in ("", 3, None):
            with pytest.raises(RunError, match="The name of a metric must be text"):
                run.log({name: 1.0})
        for step in (0.5, "1", 2**70, np.nan):
            with pytest.raises(RunError, match="A step must be an integer"):
                run.log({"a": 1.0}, step=step)
    curves = load_all_curves(store, run.id)
    assert [curves[name].values[0] for name in "abcde"] == [1.0, 1.0, 0.5, 2.0, 3.0]
    assert "bad" not in curves


def test_steps_are_counted_by_default(store):
    with track("steps") as run:
        for step in (None, None, 10, None, np.int64(20), 30.0):
            run.log({"a": 1.0}, step)
    assert load_all_curves(store, run.id)["a"].steps.tolist() == [0, 1, 10, 11, 20, 30]


def test_whole_curves_are_logged(store):
    values = np.random.default_rng(0).normal(size=200_000)
    with track("curves") as run:
        run.log_curve("loss", values)
        run.log_curve("loss", [1.0, 2.0], [300_000, 300_001])
        with pytest.raises(RunError, match="one step for each value"):
            run.log_curve("loss", [1.0, 2.0], [1])
    curve = load_all_curves(store, run.id)["loss"]
    assert np.array_equal(curve.values, [*values, 1.0, 2.0])
    summary = run_details(store, run.id).metrics["loss"]
    assert (summary.last, summary.min, summary.min_step) == (2.0, values.min(), int(values.argmin()))


def test_a_million_points_are_stored_bit_for_bit(store):
    values = np.random.default_rng(1).normal(size=1_000_000)
    with track("many") as run:
        run.log_curve("loss", values)
    assert np.array_equal(load_all_curves(store, run.id)["loss"].values, values)


WITH_BLOCK, WITHOUT_BLOCK = "with rosenblatt.track('end') as run:\n    ", "run = rosenblatt.track('end')\n"


@pytest.mark.parametrize(
    ("script_start", "code", "state", "reason"),
    [
        *((script_start, "pass", "finished", None) for script_start in (WITH_BLOCK, WITHOUT_BLOCK)),
        *(
            (script_start, "raise ValueError('wrong')", "failed", "ValueError: wrong")
            for script_start in (WITH_BLOCK, WITHOUT_BLOCK)
        ),
        *(
            (script_start, "raise KeyboardInterrupt", "stopped", "interrupted")
            for script_start in (WITH_BLOCK, WITHOUT_BLOCK)
        ),
        *((script_start, "sys.exit(0)", "finished", None) for script_start in (WITH_BLOCK, WITHOUT_BLOCK)),
        (WITH_BLOCK, "sys.exit(3)", "failed", "SystemExit: 3"),
    ],
)
def test_how_a_program_ends_is_recorded(store, script_start, code, state, reason):
    command = [sys.executable, "-c", f"import sys, rosenblatt\n{script_start}{code}"]
    subprocess.run(command, capture_output=True, check=False)
    run = find_runs(store)[0]
    assert (run.state, run.reason) == (state, reason)
    assert run.ended is not None


def test_reuse_returns_the_finished_run(store):
    def track_reusing(**options):
        # the tests import polars, whose files are not seen, so that the data are named
        return track("again", params={"lr": options.pop("lr", 1)}, reuse=True, data=[__file__], **options)

    with track_reusing() as first:
        first.log({"loss": 1.0})
    reused = track_reusing()
    assert reused.reused
    assert reused.id == first.id
    reused.log({"loss": 2.0})  # ignored
    reused.finish()
    assert len(load_all_curves(store, first.id)["loss"].values) == 1
    with track_reusing(lr=2) as other:
        assert not other.reused


def test_figures_and_folders_are_stored(store, tmp_path):
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
        with pytest.raises(RunError, match="Expected a figure, but got str"):
            run.log_figure("bad", "no figure")
        with pytest.raises(StorageError, match="cannot be stored"):
            run.log_artifact(tmp_path / "nothing")
    stored = list_artifacts(store, run.id)
    assert set(stored) == {"roc.png", "picture.png", "out/a.txt", "out/deep/b.txt"}
    Artifacts(store.url, store).fetch(stored["roc.png"].hash, stored["roc.png"].root, tmp_path / "roc.png")
    assert Image.open(io.BytesIO((tmp_path / "roc.png").read_bytes())).size[0] > 100


def test_secrets_are_not_recorded(store, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(sys, "argv", ["train.py", "--token", "do-not-tell", "--lr", "0.1"])
    with track("secret", params={"api_key": "do-not-tell", "url": "postgresql://ana:do-not-tell@db/x"}) as run:
        print("password: do-not-tell")
    details = run_details(store, run.id)
    assert "do-not-tell" not in str(details)
    assert "do-not-tell" not in str(load_output(store, run.id))
    assert details.environment.variables["CUDA_VISIBLE_DEVICES"] == "0"


def test_the_nearest_store_is_searched_upwards(work_folder):
    (work_folder / ".rosenblatt").mkdir()
    (work_folder / "a" / "b").mkdir(parents=True)
    code = "import rosenblatt\nprint(rosenblatt.track('deep').url)"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=work_folder / "a" / "b", capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == f"sqlite:///{work_folder}/.rosenblatt/runs.db"


def test_a_new_store_is_ignored_by_git(work_folder):
    track("first").finish()
    assert (work_folder / ".rosenblatt" / ".gitignore").read_text() == "*\n"


def test_nothing_is_recorded_without_a_store(work_folder):
    with track("none", store="none", params={"a": 1}) as run:
        run.log({"loss": 1.0})
        run.log_curve("loss", [1.0])
        run.tag(a="b")
        assert run.flush()
    assert list(work_folder.iterdir()) == []


def test_a_run_is_found_by_id_prefix_name_or_last(store):
    with track("named", name="special") as run:
        pass
    assert {find_run(store, name) for name in (run.id, run.id[:6], "special", "last")} == {run.id}
    with pytest.raises(RunError, match="There is no run 'nothing'"):
        find_run(store, "nothing")
    with track("named", name="special"), pytest.raises(RunError, match="'special' is ambiguous"):
        find_run(store, "special")


def test_progress_bars_are_recorded_in_their_final_state(store):
    with track("bars") as run:
        for percent in range(0, 101, 10):
            print(f"\r{percent} %", end="", flush=True)
        print("\n\x1b[32mgreen\x1b[0m")
    assert load_output(store, run.id) == [("stdout", "100 %\ngreen\n")]


def test_long_output_is_truncated_with_a_note(store, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.tracking.output.MAX_CHARACTERS", 1000)
    with track("loud") as run:
        for i in range(500):
            print("line", i)
    text = "".join(printed for _, printed in load_output(store, run.id))
    assert 1000 < len(text) < 1200
    assert "the rest is not recorded" in text


def test_packages_and_hardware_of_the_environment_are_captured():
    from rosenblatt.runs.capture.environment import capture_environment

    captured = capture_environment()
    assert captured.packages["numpy"] == np.__version__
    assert captured.packages["scikit-learn"]
    assert captured.cores >= 1
    assert captured.memory > 1e8
    assert any(library["user_api"] == "blas" for library in captured.linear_algebra)


def test_the_load_of_gpus_is_read_with_nvml(monkeypatch):
    """Test machines have no GPU, so a fake library with the same functions replaces NVIDIA's."""
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
    assert environment.capture_environment().gpus == (environment.Gpu(name="H200", memory=141 * 2**30, driver="580"),)
    samples = []
    monitor = resources.ResourceMonitor(lambda values, second: samples.append(values))
    monitor._next_sample = 0.0
    monitor.sample()
    assert samples[0]["system/gpu 0 percent"] == 97.0


def test_tracking_loads_numpy_only_for_points_and_records_its_libraries(store, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, rosenblatt\n"
        "run = rosenblatt.track('x')\n"
        "assert 'numpy' not in sys.modules\n"
        "if sys.argv[1:]:\n"
        "    run.log({'loss': 1.0})\n"
        "run.finish()\n"
        "print('numpy' in sys.modules)\n"
    )
    command = [sys.executable, str(script)]
    outputs = [
        subprocess.run([*command, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        for arguments in ([], ["points"])
    ]
    assert outputs == ["False\n", "True\n"]
    (with_points,) = find_runs(store, where="metrics.loss = 1")
    assert run_details(store, with_points.id).environment.linear_algebra


def test_a_run_that_is_interrupted_while_it_ends_keeps_its_state(store):
    def interrupt():
        raise KeyboardInterrupt

    run = track("interrupted")
    run.measure_peak_memory = interrupt
    with pytest.raises(KeyboardInterrupt):
        run.finish("stopped", "interrupted")
    run.flush()
    assert [(found.state, found.reason) for found in find_runs(store)] == [("stopped", "interrupted")]


def test_a_finished_run_ignores_further_records(store, capsys):
    with track("ended") as run:
        for step in range(100):
            run.log({"loss": float(step)}, step)
    assert capsys.readouterr().err == ""
    run.log({"loss": 7.0})
    run.log({"loss": 8.0})
    run.log_curve("loss", [1.0])
    run.set_params({"late": 1})
    run.flush()
    assert capsys.readouterr().err.splitlines() == [
        f"rosenblatt: run {run.id} has ended, so what is logged to it now is not recorded"
    ]
    assert load_all_curves(store, run.id)["loss"].values.tolist() == list(range(100))
    assert run_details(store, run.id).params == {}


@pytest.mark.parametrize(
    "record",
    [
        lambda run: run.log({"loss": 7.0}),
        lambda run: run.log_curve("loss", [1.0]),
        lambda run: run.set_params({"late": 1}),
        lambda run: run.note("late", 1),
        lambda run: run.tag(late="yes"),
        lambda run: run.log_bytes("late", b"1"),
    ],
    ids=["log", "log_curve", "set_params", "note", "tag", "log_bytes"],
)
def test_what_is_recorded_after_the_end_of_a_run_is_reported(own_store, capsys, record):
    with track("ended") as run:
        run.note("early", 1)
    assert capsys.readouterr().err == ""
    record(run)
    record(run)
    assert capsys.readouterr().err.count("has ended, so what is logged to it now is not recorded") == 1


def test_values_of_any_type_are_recorded(store):
    circle = []
    circle.append(circle)
    with track("odd", params={"n": np.int64(4), "many": np.arange(3)}) as run:
        run.note("pairs", {(0, 1): 3})
        run.note("circle", circle)
        run.note("array", np.arange(3))
        run.note("secret", {"password": "tiger", "url": "https://token@git.example/x"})
    details = run_details(store, run.id)
    assert details.notes["array"] == [0, 1, 2]
    assert details.notes["pairs"] == "{(0, 1): 3}"
    assert "tiger" not in str(details)
    assert "token@" not in str(details)
    assert [found_run.id for found_run in find_runs(store, "params.n = 4")] == [run.id]


def test_errors_with_any_text_are_recorded(store):
    with pytest.raises(FileNotFoundError), track("odd"):
        raise FileNotFoundError("caf\udce9.csv postgresql://ana:hunter2@db/x")
    run = find_runs(store)[0]
    assert run.state == "failed"
    assert "hunter2" not in run.reason


def test_many_runs_of_one_process_leave_no_threads(store):
    import threading

    with track("first") as run:
        pass
    threads = threading.active_count()
    for i in range(10):
        with track("many", params={"n": i}) as run:
            run.log({"loss": 1.0})
    assert threading.active_count() == threads
    assert run._process > 0


def test_nothing_is_installed_for_the_whole_process(work_folder):
    code = """
import sys
before = sys.excepthook, sys.stdout, sys.stderr
import rosenblatt
rosenblatt.track("hooks").finish()
assert (sys.excepthook, sys.stdout, sys.stderr) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_script_keeps_the_experiment_of_its_command(work_folder):
    from rosenblatt.runs.launch import LaunchRequest, launch

    (work_folder / "train.py").write_text("import rosenblatt\nwith rosenblatt.track() as run: run.log({'loss': 1.0})\n")
    _, run = launch(LaunchRequest("train.py", (), experiment="mnist"))
    opened = Store(run.url)
    assert find_runs(opened)[0].experiment == "mnist"
    opened.close()
