"""The command line on images, sequences, texts and time series."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from PIL import Image

from rosenblatt.models import prepared
from rosenblatt.models.model_file import load_model
from rosenblatt.runs.store.locations import store_url
from rosenblatt.runs.store.queries import find_runs
from rosenblatt.runs.store.store import Store
from rosenblatt.tuning import coordinator, device_workers
from rosenblatt.workflows.generate import generate_text

RNN = ["--members", "1", "--epochs", "3", "--recurrent-width", "6"]
CNN = ["--members", "1", "--epochs", "3", "--channels", "4", "--block-layers", "1"]


@pytest.fixture(autouse=True)
def working(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for part, n_images in (("train", 24), ("test", 8)):
        for name, level in (("dark", 40), ("light", 200)):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for k in range(n_images):
                pixels = np.clip(rng.normal(level, 30, (8, 9, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{k}.png")
    return tmp_path / "photos"


@pytest.fixture
def names(tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "names").mkdir()
    for name, letters in (("Vowel", "aeiou"), ("Hard", "krtpx")):
        rows = ["".join(rng.choice(list(letters), rng.integers(2, 8))) for _ in range(40)]
        (tmp_path / "names" / f"{name}.txt").write_text("\n".join(rows))
    return tmp_path / "names"


@pytest.mark.slow
@pytest.mark.torch
def test_a_folder_of_images_from_fit_to_explanation(run, photos, new_process_check):
    options = ("--epochs", "12", "--learning-rate", "0.02", "--report", "report.html")
    status, out, err = run("fit", "photos", "--kind", "cnn", *CNN, *options)
    assert (status, err) == (0, "")
    assert "rows: 48 for training, 16 for testing" in out
    assert "checked: a new process predicts the same" in out
    assert "accuracy" in (photos.parent / "report.html").read_text()
    status, out, _ = run("predict", "photos.rosenblatt", "photos/test/dark")
    assert out.splitlines()[0] == "image,class,probability of dark,probability of light"
    status, out, _ = run("evaluate", "photos.rosenblatt", "photos/test", "--json")
    assert json.loads(out)["scores"]["accuracy"]["model"] > 0.8
    for method in ("gradients", "grad_cam", "occlusion"):
        status, out, err = run(
            "explain", "photos.rosenblatt", "photos/test", "--method", method, "--plot", f"{method}.png"
        )
        assert (status, err) == (0, "")
        assert "attribution (#" in out
        assert (photos.parent / f"{method}.png").read_bytes().startswith(b"\x89PNG")
    status, out, _ = run("describe", "photos.rosenblatt")
    assert "8x8x3 image -> conv 3x3 4" in out


@pytest.mark.torch
def test_an_archive_of_images_from_fit_to_predictions_by_name(run, photos):
    for part in ("train", "test"):
        shutil.make_archive(part, "zip", photos / part)
    status, _, err = run("fit", "train.zip", "--test", "test.zip", "--kind", "cnn", *CNN)
    assert (status, err) == (0, "")
    status, out, err = run("predict", "train.rosenblatt", "test.zip", "--with-inputs")
    assert status == 0
    assert "columns of lists and files are not written: 'image'" in err
    assert out.splitlines()[0].startswith("file,class,predicted class,probability of dark")
    assert out.splitlines()[1].startswith("dark/0.png,dark,")
    assert "5 bytes" not in run("describe", "test.zip")[1]


@pytest.mark.slow
@pytest.mark.torch
def test_evaluate_uses_the_test_folder_and_predict_all_folders(run, photos):
    run("fit", "photos", "--kind", "cnn", *CNN)
    assert json.loads(run("evaluate", "photos.rosenblatt", "photos", "--json")[1])["rows"] == 16
    assert len(run("predict", "photos.rosenblatt", "photos")[1].splitlines()) == 1 + 64
    assert (
        "rows: 48 for training, 16 for testing"
        in run("fit", "photos/train", "--test", "photos", "--kind", "cnn", *CNN)[1]
    )


@pytest.mark.torch
def test_a_network_for_each_color_channel_is_trained(run, photos):
    status, _out, err = run(
        "fit", "photos", "--kind", "channel_mlp", "--members", "1", "--epochs", "5", "--hidden-sizes", "8"
    )
    assert (status, err) == (0, "")
    assert load_model("photos.rosenblatt").networks[0].architecture.summary == (
        "8x8x3 image -> 3 x (64 pixels -> 8 relu) -> 1 output"
    )


@pytest.mark.torch
def test_damaged_images_are_rejected_or_skipped_by_name(run, photos):
    (photos / "train" / "dark" / "3.png").write_bytes(b"torn")
    status, _, err = run("fit", "photos", "--kind", "cnn", *CNN)
    assert status == 2
    assert "1 of 48 images cannot be read: " in err
    assert "dark/3.png (not an image that Pillow can read)" in err
    status, out, _ = run("fit", "photos", "--kind", "cnn", "--on-damaged-images", "skip", *CNN)
    assert status == 0
    assert "1 damaged image left out" in out
    assert "rows: 47 for training" in out
    assert "1 damaged image left out" in run("predict", "photos.rosenblatt", "photos/train")[2]
    status, _, err = run("evaluate", "photos.rosenblatt", "photos/train", "--on-damaged-images", "raise")
    assert status == 2
    assert "3.png' cannot be read" in err or "3.png cannot be read" in err
    (photos / "test" / "dark" / "0.png").write_bytes(b"torn")
    assert json.loads(run("evaluate", "photos.rosenblatt", "photos", "--json")[1])["rows"] == 15


@pytest.mark.torch
def test_a_folder_of_texts(run, names, new_process_check):
    status, out, err = run("fit", "names", *RNN, "--learning-rate", "0.02")
    assert (status, err) == (0, "")
    assert "kind: rnn, as the rows hold texts" in out
    status, out, _ = run("explain", "names.rosenblatt", "names", "--json")
    explanation = json.loads(out)
    assert len(explanation["attributions"][0]["tokens"]) == len(explanation["attributions"][0]["values"])
    assert explanation["attributions"][0]["kind"] == "text"
    assert run("explain", "names.rosenblatt", "names", "--method", "grad_cam")[0] == 2
    other_label = next(label for label in explanation["predictions"] if label != explanation["answer"])
    status, out, _ = run("explain", "names.rosenblatt", "names", "--answer", other_label, "--json")
    assert json.loads(out)["answer"] == other_label
    np.testing.assert_allclose(
        json.loads(out)["attributions"][0]["values"],
        [-value for value in explanation["attributions"][0]["values"]],
        atol=1e-5,
    )
    pl.DataFrame({"text": ["", "x"]}).write_csv("empty.csv", quote_style="always")
    for method in ("gradients", "occlusion"):
        options = ("--method", method, "--plot", "empty.png")
        assert run("explain", "names.rosenblatt", "empty.csv", *options)[::2] == (0, "")


@pytest.mark.slow
@pytest.mark.torch
def test_text_columns_are_combined_with_other_columns(run, tmp_path):
    rng = np.random.default_rng(2)
    words = ["good", "bad", "film", "plot", "the", "of"]
    rows = [" ".join(rng.choice(words, 9)) for _ in range(80)]
    frame = pl.DataFrame({"review": rows, "stars": rng.integers(1, 5, 80), "like": ["good" in row for row in rows]})
    frame.write_csv(tmp_path / "reviews.csv")
    status, out, err = run("fit", "reviews.csv", "--text", "review", "--target", "like", *RNN)
    assert (status, err) == (0, "")
    assert "columns: 1 text, 1 number" in out
    assert run("fit", "reviews.csv", "--target", "like", "--members", "1", "--epochs", "2")[0] == 0
    assert load_model("reviews.rosenblatt").resolved_spec.network.kind == "mlp"
    status, _, err = run("fit", "reviews.csv", "--target", "like", "--kind", "cnn", "--ignore", "review")
    assert status == 2
    assert "but there is none" in err


@pytest.mark.torch
def test_a_folder_with_a_file_for_each_sequence(run, tmp_path):
    rng = np.random.default_rng(3)
    (tmp_path / "sensors").mkdir()
    labels = []
    for k in range(40):
        steps = rng.normal(size=(rng.integers(2, 9), 2))
        labels.append((k, "up" if steps[:, 0].sum() > 0 else "down", "a" if k % 2 else "b"))
        pl.DataFrame(steps, schema=["x", "y"]).write_csv(tmp_path / "sensors" / f"s{k}.csv")
    pl.DataFrame(labels, schema=["id", "moves", "room"], orient="row").write_csv(tmp_path / "sensors" / "target.csv")
    status, out, err = run("fit", "sensors", "--kind", "rnn", "--target", "moves", "--ignore", "room", *RNN)
    assert (status, err) == (0, "")
    assert "columns: 1 sequence" in out
    assert "step " in run("explain", "sensors.rosenblatt", "sensors", "--method", "occlusion")[1]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "new.csv").write_bytes((tmp_path / "sensors" / "s3.csv").read_bytes())
    status, out, _ = run("predict", "sensors.rosenblatt", "one")
    assert status == 0
    assert out.splitlines()[1].startswith("new.csv,")
    status, _, err = run("fit", "sensors", "--kind", "rnn", *RNN)
    assert status == 2
    assert "No target column is given" in err


@pytest.mark.slow
@pytest.mark.torch
def test_each_step_of_a_table_is_tagged(run, tmp_path):
    rng = np.random.default_rng(4)
    rows = [rng.choice(["up", "down"], rng.integers(1, 6)).tolist() for _ in range(40)]
    frame = pl.DataFrame(
        {"words": [" ".join(row) for row in rows], "tags": [" ".join(w[0] for w in row) for row in rows]}
    )
    frame.write_csv(tmp_path / "t.csv")
    options = ("--task", "tagging", "--text", "words", "--tokens", "words", "--learning-rate", "0.05")
    status, out, err = run("fit", "t.csv", "--target", "tags", *options, *RNN)
    assert (status, err) == (0, "")
    assert "F1" in out
    status, out, _ = run("predict", "t.rosenblatt", "t.csv")
    assert [len(row.split(" ")) for row in pl.read_csv(out.encode())["tags"]] == [len(row) for row in rows]
    assert run("evaluate", "t.rosenblatt", "t.csv")[0] == 0
    small_search = ("--trials", "2", "--folds", "2", "--recurrent-width", "6", "--epochs", "2")
    assert run("fit", "t.csv", "--target", "tags", "--task", "tagging", "--text", "words", *small_search)[0] == 0
    frame[1:].vstack(pl.DataFrame({"words": ["up down"], "tags": ["u"]})).write_csv(tmp_path / "odd.csv")
    status, _, err = run("fit", "odd.csv", "--target", "tags", "--task", "tagging", "--text", "words", *RNN)
    assert status == 2
    assert "Row 40 has 1 tag, but 2 words ('up down'). Give each step one tag." in err
    status, _, err = run("fit", "t.csv", "--target", "tags", "--task", "tagging", "--text", "words", "--kind", "cnn")
    assert status == 2
    assert "needs a network of kind rnn, but it is cnn" in err


@pytest.mark.slow
@pytest.mark.torch
def test_a_series_is_forecast(run, tmp_path):
    months = [f"{2010 + k // 12}-{k % 12 + 1:02d}-01" for k in range(96)]
    pl.DataFrame({"month": months, "sales": [100 + k % 12 for k in range(96)]}).write_csv(tmp_path / "sales.csv")
    status, out, err = run("fit", "sales.csv", "--time", "month", "--target", "sales", "--horizon", "6", *RNN)
    assert (status, err) == (0, "")
    assert "baseline: last value" in out
    status, out, _ = run("predict", "sales.rosenblatt", "sales.csv")
    assert pl.read_csv(out.encode()).columns == ["step", "sales"]
    assert pl.read_csv(out.encode()).height == 6
    status, out, _ = run("evaluate", "sales.rosenblatt", "sales.csv", "--json", "--report", "windows.html")
    assert status == 0
    assert (tmp_path / "windows.html").exists()
    result = json.loads(out)
    assert result["rows"] == 96 - 6 - 2 + 1  # windows of at least two steps, followed by six known steps
    assert result["scores"]["mean absolute error"].keys() == {"model", "baseline", "interval"}
    pl.DataFrame({"month": months[:40], "sales": [100 + k % 12 for k in range(40)]}).write_csv(tmp_path / "other.csv")
    options = ("--answer", "sales +3", "--plot", "attribution.png", "--json")
    status, out, err = run("explain", "sales.rosenblatt", "sales.csv", *options)
    assert (status, err) == (0, "attribution: attribution.png\n")
    result = json.loads(out)
    assert result["answer"] == "sales +3"
    assert 80 < result["predictions"]["sales +3"] < 130
    assert len(result["attributions"][0]["values"]) == 24
    status, _, err = run("explain", "sales.rosenblatt", "sales.csv", "--answer", "sales +7")
    assert status == 2
    assert "There is no answer 'sales +7'" in err
    pl.DataFrame({"sales": [1.0] * 30}).write_csv(tmp_path / "timeless.csv")
    for command in ("predict", "evaluate"):
        status, _, err = run(command, "sales.rosenblatt", "timeless.csv")
        assert status == 2
        assert "The table lacks the column 'month'" in err
    forecast = ("fit", "sales.csv", "--time", "month", "--target", "sales", "--horizon", "6", *RNN)
    status, _, err = run(*forecast, "--ignore", "shops")
    assert status == 2
    assert "There is no column 'shops'" in err
    status, out, _ = run(*forecast, "--test", "other.csv", "--validation", "other.csv")
    assert status == 0
    assert "windows: 89 for training, 33 for validation, 33 for testing" in out
    for extra_options in (("--groups", "month"), ("--task", "regression"), ("--kind", "perceptron")):
        status, _, err = run(*forecast, *extra_options)
        assert status == 2
        assert "has no effect for forecasting. Remove it" in err or "needs a network of kind rnn or cnn" in err
    small_search = ("--trials", "2", "--epochs", "2", "--folds", "2", "--out", "searched.rosenblatt")
    for kind, small_network in (("cnn", ("--channels", "4")), ("rnn", ("--recurrent-width", "6"))):
        assert (
            run(
                "fit",
                "sales.csv",
                "--time",
                "month",
                "--target",
                "sales",
                "--kind",
                kind,
                *small_network,
                *small_search,
            )[0]
            == 0
        )
    pl.DataFrame({"month": months[:3], "sales": [1, 2, 3]}).write_csv(tmp_path / "short.csv")
    status, _, err = run("evaluate", "sales.rosenblatt", "short.csv")
    assert status == 2
    assert "No series is longer" in err


@pytest.mark.slow
@pytest.mark.torch
def test_a_language_model_is_trained_and_generates_text(run, tmp_path):
    (tmp_path / "book.txt").write_text("It was the best of times, it was the worst of times. " * 80)
    options = (
        "--kind", "rnn", "--task", "language", "--max-length", "32", "--learning-rate", "0.02",
        "--recurrent-width", "24",
    )  # fmt: skip
    status, out, err = run("fit", "book.txt", *options, "--epochs", "12")
    assert (status, err) == (0, "")
    assert "perplexity" in out
    status, out, _ = run("generate", "book.rosenblatt", "--prompt", "It was", "--length", "20", "--temperature", "0")
    assert out.startswith("It was the ")
    assert run("generate", "book.rosenblatt", "--prompt", "It", "--seed", "3") == run(
        "generate", "book.rosenblatt", "--prompt", "It", "--seed", "3"
    )
    (tmp_path / "more.txt").write_text("It was the worst of times. " * 9)
    (tmp_path / "odd.txt").write_text("emit fo tsrow eht saw tI. " * 9)
    perplexities = {}
    for name in ("more", "odd"):
        status, out, _ = run("evaluate", "book.rosenblatt", f"{name}.txt", "--json")
        assert status == 0
        perplexities[name] = json.loads(out)["scores"]["perplexity"]["model"]
    assert perplexities["more"] < 2 < perplexities["odd"]
    tables = ("--test", "more.txt", "--validation", "odd.txt")
    status, out, err = run("fit", "book.txt", *options, "--epochs", "1", *tables, "--out", "b.rosenblatt")
    assert (status, err) == (0, "")
    assert "rows of 32 tokens: 133 for training, 8 for validation, 8 for testing" in out
    assert run("fit", "book.txt", *options[2:], "--trials", "2", "--epochs", "2", "--out", "b.rosenblatt")[0] == 0
    status, _, err = run("fit", "book.txt", "--task", "language", "--kind", "cnn")
    assert status == 2
    assert "Language modeling needs a network of kind rnn, not cnn" in err
    for extra_options in (("--groups", "chapter"), ("--horizon", "9")):
        status, _, err = run("fit", "book.txt", *options, *extra_options)
        assert status == 2
        assert f"{extra_options[0][2:]} has no effect for language modeling" in err
    (tmp_path / "letter.txt").write_text("I")
    assert "is too short: a text needs two tokens or more" in run("evaluate", "book.rosenblatt", "letter.txt")[2]
    status, _, err = run("predict", "book.rosenblatt", "book.txt")
    assert status == 2
    assert "Use rosenblatt generate" in err
    (tmp_path / "short.txt").write_text("x")
    assert "too few for training" in run("fit", "short.txt", *options)[2]


@pytest.mark.torch
def test_an_incomplete_last_piece_of_a_text_does_not_change_the_vocabulary(run, tmp_path):
    (tmp_path / "book.txt").write_text("abaqabab" + "abababab" * 6 + "q")
    (tmp_path / "more.txt").write_text("abaqabab")
    options = ("--task", "language", "--max-length", "8", "--test", "more.txt", "--validation", "more.txt", *RNN)
    assert run("fit", "book.txt", "--kind", "rnn", *options)[0] == 0
    model = load_model("book.rosenblatt")
    assert model.encoder.media_encodings[0].vocabulary.tokens == model.target.labels[1:] == ("a", "b")


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("tokens", ["words", "subwords"])
def test_generated_words_come_from_the_text(run, tmp_path, tokens):
    (tmp_path / "book.txt").write_text("It was the best of times, it was the worst of times, said the king. " * 40)
    options = (
        "--task",
        "language",
        "--tokens",
        tokens,
        "--max-length",
        "16",
        "--learning-rate",
        "0.03",
        "--epochs",
        "30",
    )
    status, _, err = run("fit", "book.txt", "--kind", "rnn", *options, "--recurrent-width", "24")
    assert (status, err) == (0, "")
    model = load_model("book.rosenblatt")
    assert model.encoder.media_encodings[0].vocabulary.tokens == model.target.labels[1:]
    _, out, _ = run(
        "generate", "book.rosenblatt", "--prompt", "It was the best of", "--length", "6", "--temperature", "0"
    )
    assert out.lower().startswith("it was the best of times, it was the")


@pytest.mark.slow
@pytest.mark.torch
def test_multibyte_characters_are_never_split(run, tmp_path):
    book = "".join(chr(1024 + k % 256) for k in range(1500))
    (tmp_path / "book.txt").write_text(book)
    options = (
        "--task", "language", "--tokens", "subwords", "--max-vocabulary", "256", "--max-length", "16",
        "--epochs", "8",
    )  # fmt: skip
    assert (
        run("fit", "book.txt", "--kind", "rnn", *options, "--recurrent-width", "24", "--learning-rate", "0.03")[0] == 0
    )
    text = "".join(pieces := list(generate_text(load_model("book.rosenblatt"), "", 60, 0.8, None, 1.0, 0)))
    assert len(set(text) & set(book)) > 5
    assert not any(piece.endswith("\ufffd") for piece in pieces[:-1])


@pytest.mark.slow
@pytest.mark.torch
def test_generate_rejects_models_of_other_tasks(run, names):
    run("fit", "names", *RNN)
    status, _, err = run("generate", "names.rosenblatt")
    assert status == 2
    assert "the task of this model is binary" in err


@pytest.mark.slow
@pytest.mark.torch
def test_reproduce_keeps_the_machine_dependent_choices_of_the_run(run, photos, monkeypatch):
    monkeypatch.setattr("rosenblatt.training.torch.engine.fastest_cpu_precision", lambda: "mixed")
    monkeypatch.setattr("rosenblatt.models.fit.cores", lambda: 2)
    assert run("fit", "photos", "--kind", "cnn", *CNN)[0] == 0
    monkeypatch.setattr("rosenblatt.training.torch.engine.fastest_cpu_precision", lambda: "float32")
    monkeypatch.setattr("rosenblatt.models.fit.cores", lambda: 1)
    (first,) = find_runs(Store(store_url(None)))
    status, out, _ = run("runs", "reproduce", first.id, "--json")
    assert status == 0
    assert json.loads(out)["verdict"] == "identical"


@pytest.mark.slow
@pytest.mark.torch
def test_a_search_over_recurrent_networks_is_recorded_and_resumed(run, names):
    options = (
        "--trials", "4", "--folds", "2", "--epochs", "4", "--deterministic", "--recurrent-width", "6",
        "--seed", "2",
    )  # fmt: skip
    status, out, err = run("fit", "names", "--kind", "rnn", *options, "--checkpoint", "state")
    assert (status, err) == (0, "")
    first = load_model("names.rosenblatt")
    assert "search: 4 trials" in out
    assert len([run for run in find_runs(Store(store_url(None))) if run.kind == "trial"]) == 4
    status, out, _ = run("fit", "names", "--kind", "rnn", *options, "--checkpoint", "state")
    assert "resuming the search in state (trials so far: 4)" in out
    second = load_model("names.rosenblatt")
    for network, first_network in zip(second.networks, first.networks, strict=True):
        np.testing.assert_array_equal(network.theta, first_network.theta)


@pytest.mark.slow
@pytest.mark.torch
def test_a_search_on_a_device_trains_trials_of_equal_shape_together(run, names, tmp_path, monkeypatch):
    from rosenblatt.training.torch import lanes as torch_lanes

    lane_counts, original_epoch = [], torch_lanes.LaneStack.train_epoch

    def epoch(self, stop):
        lane_counts.append((len(self.members), sum(member is not None for member in self.members)))
        return original_epoch(self, stop)

    monkeypatch.setattr(torch_lanes.LaneStack, "train_epoch", epoch)
    monkeypatch.setattr(coordinator.SearchCoordinator, "start_workers", lambda self: device_workers.DeviceWorker("cpu"))
    options = (
        "--trials", "6", "--folds", "2", "--epochs", "4", "--recurrent-width", "6", "--rnn-cell", "gru",
        "--config", "space.toml",
    )  # fmt: skip
    (tmp_path / "space.toml").write_text("[space]\nlearning_rate = { log_uniform = [1e-3, 1e-1] }\n")
    status, out, err = run("fit", "names", "--kind", "rnn", *options)
    assert (status, err) == (0, "")
    assert "search: 6 trials" in out
    assert max(lanes for lanes, _ in lane_counts) <= 12  # a network for each of two folds of six trials
    assert max(active for _, active in lane_counts) >= 4


@pytest.mark.torch
def test_a_missing_device_is_rejected(run, names):
    status, _, err = run("fit", "names", "--kind", "rnn", "--device", "cuda:5", *RNN)
    assert status == 2
    assert "Device 'cuda:5' is not available" in err


def test_without_pytorch_the_error_says_how_to_install_it(run, names, monkeypatch):
    monkeypatch.setattr(prepared, "find_spec", lambda name: None)
    status, _, err = run("fit", "names", "--kind", "rnn", *RNN)
    assert status == 2
    assert "kind rnn needs PyTorch, which is not installed. Install it: pip install 'rosenblatt[torch]'" in err


@pytest.mark.slow
@pytest.mark.torch
def test_changed_images_are_not_taken_for_the_same_data(run, photos):
    assert "nothing was trained" not in run("fit", "photos", "--kind", "cnn", *CNN, "--reuse")[1]
    assert "nothing was trained" in run("fit", "photos", "--kind", "cnn", *CNN, "--reuse")[1]
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(photos / "train" / "dark" / "0.png")
    assert "nothing was trained" not in run("fit", "photos", "--kind", "cnn", *CNN, "--reuse")[1]


def test_forecasting_options_need_time(run, names):
    status, _, err = run("fit", "names", "--horizon", "3", *RNN)
    assert status == 2
    assert "horizon is for forecasts only. Name the time column with --time" in err
