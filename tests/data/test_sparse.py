"""Sparse matrices are recognized without importing SciPy, in whatever format they are."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import coo_matrix, csc_array, csr_array

from rosenblatt.data.sparse import is_sparse, stack_sparse


@pytest.mark.parametrize("make", [csr_array, csc_array, coo_matrix])
def test_matrices_and_arrays_of_any_format_are_sparse(make):
    assert is_sparse(make(np.eye(2)))


@pytest.mark.parametrize("table", [np.eye(2), [[1.0]], None, "sparse"], ids=str)
def test_other_tables_are_not_sparse(table):
    assert not is_sparse(table)


def test_rows_are_stacked_in_order():
    stacked = stack_sparse([csr_array(np.eye(2)), csr_array(2 * np.eye(2))])
    np.testing.assert_array_equal(stacked.toarray(), np.vstack([np.eye(2), 2 * np.eye(2)]))


def test_a_model_is_loaded_and_tables_are_recognized_without_scipy():
    code = (
        "import sys, numpy\nfrom rosenblatt.data.sparse import is_sparse\nimport rosenblatt.models.model_file\n"
        "print(is_sparse(numpy.eye(2)), sorted({'scipy.sparse', 'scipy.special', 'optuna'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False []\n"
