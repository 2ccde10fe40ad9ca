from dataclasses import replace

import numpy as np
import pytest

from rosenblatt.models.export.export import export_model
from rosenblatt.models.export.formats import FORMATS
from rosenblatt.models.export.huggingface_folder import make_card, write
from rosenblatt.models.export.safetensors_checker import read_folder
from rosenblatt.models.export.sample_rows import sample_rows
from rosenblatt.models.export.signature import read_signature
from rosenblatt.models.metadata import ModelMetadata, TestScore
from rosenblatt.models.model_file import load_model
from tests.models.export.fitted_models import make_deep_model, make_dense_model, typed_rows

pytestmark = pytest.mark.frameworks
SCORE = TestScore(name="accuracy", model=0.91, baseline=0.6, higher_is_better=True, interval=(0.88, 0.94))


@pytest.fixture(scope="module")
def model():
    metadata = ModelMetadata(
        rows=800, test_rows=200, source="/home/me/people|1.csv", scores=(SCORE,), version="0.1.0",
        cautions=("the test rows are few: 200",),
    )  # fmt: skip
    return replace(make_dense_model("relu"), metadata=metadata)


def test_the_card_is_metadata_that_the_hub_reads(model, tmp_path):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    write(model, read_signature(model), tmp_path / "people")
    card = tmp_path / "people" / "README.md"
    metadata = huggingface_hub.metadata_load(card)
    assert metadata["library_name"] == "rosenblatt"
    assert metadata["pipeline_tag"] == "tabular-classification"
    assert "license" not in metadata
    (result,) = metadata["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == 0.91
    assert huggingface_hub.ModelCard.load(card).data.eval_results[0].metric_name == "accuracy"


def test_the_card_has_scores_with_intervals_data_hyperparameters_and_limits(model):
    pytest.importorskip("huggingface_hub")
    card = make_card(model, read_signature(model))
    assert "| accuracy | 0.91 | 0.88 to 0.94 | 0.6 |" in card
    assert "800 rows of `people|1.csv`; 200 test rows held out." in card
    assert "/home/me" not in card
    assert "- the test rows are few: 200" in card
    assert "| dropout | 0.1 |" in card


def test_the_folder_has_the_model_itself_and_its_weights(model, tmp_path):
    pytest.importorskip("huggingface_hub")
    signature = write(model, read_signature(model), tmp_path / "people")
    names = sorted(path.name for path in (tmp_path / "people").iterdir())
    assert names == ["README.md", "config.json", "model.rosenblatt", "model.safetensors"]
    rows = typed_rows().select(column.name for column in model.schema.columns)
    loaded = load_model(tmp_path / "people" / "model.rosenblatt")
    assert np.array_equal(loaded.predict_typed(rows), model.predict_typed(rows))
    assert read_folder(tmp_path / "people")["format"] == "rosenblatt"
    assert any("license" in sentence for sentence in signature.boundaries)


def test_a_model_of_texts_has_the_task_of_the_hub():
    pytest.importorskip("huggingface_hub")
    texts = make_deep_model("texts, attention")
    card = make_card(texts, read_signature(texts))
    assert "pipeline_tag: text-classification" in card
    assert "there are no test scores" in card


@pytest.mark.slow
def test_an_exported_folder_is_compared_in_a_new_process(model, tmp_path):
    pytest.importorskip("huggingface_hub")
    result = export_model(model, FORMATS["huggingface"], tmp_path / "people", sample_rows(model))
    assert result.comparison.largest_difference < 1e-5
