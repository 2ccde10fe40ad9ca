import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = [pytest.mark.frameworks, pytest.mark.torch]

EXPORT = """
import sys
from pathlib import Path
from rosenblatt.models.export.export import export_model
from rosenblatt.models.export.formats import FORMATS
from rosenblatt.models.export.sample_rows import sample_rows
from tests.models.export.fitted_models import make_deep_model, make_ensemble
folder = Path(sys.argv[1])
for name, model in (("table", make_ensemble()), ("all", make_deep_model("text, image and table", n_networks=1))):
    result = export_model(model, FORMATS["tensorflow"], folder / name, sample_rows(model))
    assert result.comparison.largest_difference < 1e-5
result = export_model(model, FORMATS["keras"], folder / "all.keras", sample_rows(model))
assert result.comparison.largest_difference < 1e-5
"""
SERVE = """
import sys, json, tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
specs = {name: [spec.dtype.name, spec.shape.as_list()] for name, spec in serve.structured_input_signature[1].items()}
numbers = tf.constant([[40.0, 0.0, 1.7e9, 3.0]] * 3, tf.float64)
predictions = serve(numbers=numbers, categories=tf.constant([["ünï"], [""], ["?"]]))["predictions"]
print(json.dumps([specs, predictions.numpy().sum(axis=1).tolist()]))
"""


def run(code, *arguments):
    variables = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("tensorflow"), reason="tensorflow is not installed")
def test_exports_predict_as_the_model_does_with_their_framework_alone(tmp_path):
    run(EXPORT, tmp_path)
    specs, sums = json.loads(run(SERVE, tmp_path / "table"))
    assert specs == {"numbers": ["float64", [None, 4]], "categories": ["string", [None, 1]]}
    assert sums == pytest.approx([1.0] * 3)
    signature = json.loads((tmp_path / "table" / "assets.extra" / "rosenblatt.json").read_text())
    assert signature["outputs"] == ["a", "b", "c"]
    assert {path.name for path in tmp_path.iterdir()} == {"table", "all", "all.keras"}
