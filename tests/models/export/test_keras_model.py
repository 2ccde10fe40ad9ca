import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [pytest.mark.frameworks, pytest.mark.torch, pytest.mark.slow]

CHECKS = Path(__file__).with_name("keras_checks.py")
# Keras imports TensorFlow for any backend, in seconds.
RUN = """
import sys, pytest
if sys.argv[1] != "tensorflow": sys.modules["tensorflow"] = None
sys.exit(pytest.main([sys.argv[2], "-n", "0", "-q", "-x", "-p", "no:cacheprovider", "-W", "default"]))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_keras_models_predict_and_train_as_the_model_does(backend):
    if not (find_spec("keras") and find_spec(backend)):
        pytest.skip(f"keras or {backend} is not installed")
    variables = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", RUN, backend, str(CHECKS)]
    process = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-1000:]
