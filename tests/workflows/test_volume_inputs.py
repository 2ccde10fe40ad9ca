from __future__ import annotations

import polars as pl
import pytest

from rosenblatt.data.table import DETECT_FORMAT
from rosenblatt.errors import QueryError, SpecError
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.request import FitRequest
from rosenblatt.workflows.tables import read_and_report
from rosenblatt.workflows.volume_inputs import pin_versions, read_volume
from tests.data.volumes.helpers import add_frame

pytest.importorskip("deltalake", reason="deltalake is not installed: pip install 'rosenblatt[volumes]'")


@pytest.fixture
def people(tmp_path):
    """The address of a volume of two versions, of 5 and of 10 samples."""
    for n in (5, 10):
        add_frame(str(tmp_path), "people", pl.DataFrame({"id": range(n), "age": range(n)}), tmp_path)
    return f"{tmp_path}/people"


@pytest.mark.parametrize(
    ("name", "query", "version"),
    [("latest", "", 2), ("1", "age > 1", 1), ("latest", "age > 1 @version=1", 1), ("1", "@version=1", 1)],
)
def test_the_version_of_a_query_is_pinned_and_read(people, name, query, version):
    pinned = pin_versions(FitRequest(table=f"{people}@{name}", query=query, spec=Spec()))
    assert pinned.table.endswith(f"/people@{version}")
    n_samples = 5 * version if "age" not in query else 5 * version - 2
    assert read_volume(pinned.table, pinned.query).frame.height == n_samples


def test_a_query_of_another_version_than_its_volume_is_refused(people):
    with pytest.raises(QueryError, match="people@2 is a version already"):
        pin_versions(FitRequest(table=f"{people}@2", query="@version=1", spec=Spec()))


def test_the_note_on_a_query_counts_the_samples_of_its_version(people):
    assert (
        read_volume(people, "age > 1 @version=1").notes[0] == "selected 3 of 5 samples of people@1: age > 1 @version=1"
    )


def test_a_query_of_a_table_that_is_no_volume_is_refused(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("age,town\n30,Ulm\n")
    with pytest.raises(SpecError, match=r"people\.csv' is none. Add it to one, or omit it"):
        read_and_report(str(path), DETECT_FORMAT, print, query="age > 3")


def test_the_samples_that_a_query_selects_are_reported(people):
    messages = []
    assert read_and_report(f"{people}@2", DETECT_FORMAT, messages.append, query="age > 6").frame.height == 3
    assert messages == ["people@2: 3 rows, 2 columns", "  selected 3 of 10 samples of people@2: age > 6"]
