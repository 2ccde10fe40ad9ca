"""The real servers of the tests do what stores in production do."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tests.data.volumes.servers import serve_files


def test_the_web_server_answers_ranges_and_lists_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a b.bin").write_bytes(b"0123456789")
    with serve_files(tmp_path) as address:
        request = urllib.request.Request(f"{address}/folder/a%20b.bin", headers={"Range": "bytes=2-4"})
        with urllib.request.urlopen(request) as answer:
            assert (answer.status, answer.read()) == (206, b"234")
        for path in ("folder", "../", "missing"):
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(f"{address}/{path}")
            assert error.value.code == 404
            error.value.close()


@pytest.mark.parametrize("server", ["s3", "azure"])
def test_object_stores_honour_conditions(request, server):
    obstore = pytest.importorskip("obstore")
    from obstore.store import from_url

    address = request.getfixturevalue(f"{server}_root")
    store = from_url(address, client_options={"allow_http": True})
    first = obstore.put(store, "a", b"1", mode="create")
    with pytest.raises(obstore.exceptions.AlreadyExistsError):
        obstore.put(store, "a", b"2", mode="create")
    obstore.put(store, "a", b"3", mode={"e_tag": first["e_tag"]})
    with pytest.raises(obstore.exceptions.PreconditionError):
        obstore.put(store, "a", b"4", mode={"e_tag": first["e_tag"]})
    assert obstore.get(store, "a").bytes() == b"3"
    assert [meta["path"] for batch in obstore.list(store) for meta in batch] == ["a"]
