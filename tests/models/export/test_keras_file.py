import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.frameworks

WITHOUT_BACKEND = """
import sys
sys.modules["tensorflow"] = None
from rosenblatt.errors import ExportError
from rosenblatt.models.export.keras_file import load_builder
try:
    load_builder()
except ExportError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("keras"), reason="keras is not installed")
def test_a_missing_backend_is_named_with_the_variable_that_chooses_another():
    command = [sys.executable, "-c", WITHOUT_BACKEND]
    variables = os.environ | {"KERAS_BACKEND": "tensorflow"}
    process = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert "Keras needs the package tensorflow as its backend." in process.stdout
    assert "KERAS_BACKEND" in process.stdout
