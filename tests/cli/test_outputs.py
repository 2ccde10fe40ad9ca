"""Checks of output files, before a command starts."""

import pytest

from rosenblatt.cli.outputs import check_output_paths
from rosenblatt.errors import TableError


def test_an_output_that_is_an_input_is_refused(tmp_path):
    table = tmp_path / "people.csv"
    table.write_text("a\n1\n")
    with pytest.raises(TableError):
        check_output_paths([str(table)], inputs=[str(table)])
