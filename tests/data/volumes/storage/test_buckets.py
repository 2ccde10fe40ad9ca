"""Buckets and web servers under faults: nothing is lost, nothing half read, and messages name the reason."""

from __future__ import annotations

import json
import re

import pytest

from rosenblatt.data.volumes.storage import buckets
from rosenblatt.data.volumes.storage.objects import open_objects
from rosenblatt.errors import ConflictError, StorageError
from tests.data.volumes.faulty_proxy import Action, FaultyProxy
from tests.data.volumes.servers import serve_files

CONTENT = bytes(range(256)) * 40
TRANSIENT = [Action.UNAVAILABLE, Action.DROP_REQUEST, Action.DROP_ANSWER]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(buckets, "MAX_RETRIES", 2)
    monkeypatch.setitem(buckets.BACKOFF, "init_backoff", buckets.timedelta(milliseconds=1))
    monkeypatch.setitem(buckets.BACKOFF, "max_backoff", buckets.timedelta(milliseconds=5))


@pytest.fixture(params=["s3", "azure"])
def proxy(request) -> FaultyProxy:
    return request.getfixturevalue(f"{request.param}_proxy")


@pytest.fixture
def objects(request, proxy):
    return open_objects(request.getfixturevalue(f"{request.node.callspec.params['proxy']}_root"))


@pytest.fixture
def s3(s3_root):
    return open_objects(s3_root)


@pytest.mark.parametrize("action", [*TRANSIENT, Action.CUT, Action.DELAY])
def test_reads_are_whole_after_a_transient_fault(proxy, objects, action):
    objects.put("a", CONTENT)
    for method, read, expected in (
        ("GET", lambda: objects.read("a"), CONTENT),
        ("GET", lambda: objects.read_ranges("a", [5, 10_000], [6, 7]), [CONTENT[5:11], CONTENT[10_000:10_007]]),
        ("GET", lambda: b"".join(objects.stream("a")), CONTENT),
        ("HEAD", lambda: objects.info("a").size, len(CONTENT)),
    ):
        fault = proxy.inject(action, method=method, count=1)
        assert read() == expected
        assert fault.hits == 1


@pytest.mark.parametrize("action", [*TRANSIENT, Action.CUT, Action.DELAY])
def test_writes_are_whole_after_a_transient_fault(proxy, objects, action):
    fault = proxy.inject(action, method="PUT", count=1)
    objects.put("a", CONTENT)
    assert fault.hits == 1
    assert objects.read("a") == CONTENT
    fault = proxy.inject(action, method="POST|DELETE", count=1)
    if action is Action.CUT:
        with pytest.raises(StorageError, match="the connection ended in the middle of an answer"):
            objects.delete(["a"])
    else:
        objects.delete(["a"])
    assert fault.hits == 1
    assert objects.info("a") is None


@pytest.mark.parametrize("action", [*TRANSIENT, Action.CUT])
def test_listings_are_whole_after_a_transient_fault(proxy, objects, action):
    for name in "abc":
        objects.put(name, b"1")
    fault = proxy.inject(action, method="GET", count=1)
    assert [info.path for info in objects.list("")] == ["a", "b", "c"]
    assert fault.hits == 1


@pytest.mark.parametrize("action", TRANSIENT)
def test_conditional_writes_land_once(proxy, objects, action):
    objects.create("probe first", b"")
    fault = proxy.inject(action, method="PUT", path="/a$", count=1)
    is_told = objects.create("a", b"1")
    assert fault.hits == 1
    assert is_told is (action is not Action.DROP_ANSWER)  # then the second try is told that the object exists
    assert objects.read("a") == b"1"
    proxy.inject(action, method="PUT", path="/a$", count=1)
    objects.replace("a", b"2", objects.info("a").etag)
    assert objects.read("a") == b"2"


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (Action.UNAVAILABLE, "the store answers 503 Service Unavailable."),
        (Action.CUT, "the connection ended in the middle of an answer."),
        (Action.DROP_REQUEST, "http://127.0.0.1:{port} cannot be reached."),
        (Action.DENIED, "the store answers 403 Forbidden. Check {variables}"),
        (Action.EXPIRED, "the credentials have expired. Check {variables}"),
    ],
)
def test_lasting_faults_are_named(proxy, objects, action, reason):
    objects.put("a", CONTENT)
    proxy.inject(action)
    variables = buckets._CREDENTIALS["s3" if objects.address.startswith("s3") else "az"]
    reason = re.escape(reason.format(port=proxy.port, variables=variables))
    with pytest.raises(StorageError, match=rf"^'{objects.address}/a' cannot be read: {reason}"):
        objects.read("a")
    with pytest.raises(StorageError, match=rf"^'{objects.address}' cannot be listed: {reason}"):
        list(objects.list(""))
    if action is not Action.CUT:
        with pytest.raises(StorageError, match=rf"cannot be written: {reason}"):
            objects.put("b", CONTENT)


def test_a_missing_bucket_is_named(proxy, request):
    scheme = {"s3": "s3", "azure": "az"}[request.node.callspec.params["proxy"]]
    objects = open_objects(f"{scheme}://missing/{request.node.name}")
    for call in (
        lambda: objects.read("a"),
        lambda: list(objects.list("")),
        objects.folders,
        lambda: objects.put("a", b""),
        lambda: objects.create("a", b""),
        lambda: objects.replace("a", b"", None),
    ):
        with pytest.raises(StorageError, match=r"the bucket does not exist. Create it, or check its name"):
            call()


def test_stores_that_ignore_conditions_are_refused(s3, s3_proxy):
    s3_proxy.inject(Action.IGNORE_CONDITIONS)
    for write in (lambda: s3.create("a", b"1"), lambda: s3.replace("a", b"1", None)):
        with pytest.raises(StorageError, match="ignores conditions of writes"):
            write()
    assert list(s3.list("")) == []


def test_stores_that_check_only_whether_an_object_exists_are_refused(s3, s3_proxy):
    s3_proxy.inject(Action.IGNORE_CONDITIONS, skip=2, count=1)  # of the probe: object, If-None-Match, If-Match
    with pytest.raises(StorageError, match="ignores conditions of writes"):
        s3.create("a", b"1")


def test_a_store_is_probed_once(s3, s3_proxy):
    s3.create("a", b"1")
    n_requests = s3_proxy.count()
    s3.create("b", b"1")
    assert s3_proxy.count() == n_requests + 1
    assert [info.path for info in s3.list("")] == ["a", "b"]


def test_another_writer_is_told_from_an_answer_that_was_lost(s3, s3_proxy):
    s3.replace("a", b"1", None)
    tag = s3.info("a").etag
    s3_proxy.inject(Action.DROP_ANSWER, method="PUT", count=1)
    s3.replace("a", b"2", tag)
    with pytest.raises(ConflictError):
        s3.replace("a", b"3", tag)
    assert s3.read("a") == b"2"


def test_missing_credentials_are_named_at_once(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(StorageError, match=r"'s3://bucket/none': there are no credentials. Set AWS_ACCESS_KEY_ID"):
        open_objects("s3://bucket/none")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(StorageError, match=r"Account must be specified. Check AZURE_STORAGE_ACCOUNT_NAME"):
        open_objects("az://bucket/none")


def test_credentials_that_change_are_used(s3_root, s3_proxy, monkeypatch):
    first = open_objects(s3_root)
    assert open_objects(s3_root) is first
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    open_objects(s3_root).put("a", b"1")
    assert open_objects(s3_root) is not first


@pytest.mark.parametrize("address", ["ftp://a/b", "s3:///b", "az:///b", "gs://"])
def test_addresses_that_name_no_store_are_refused(monkeypatch, address):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    with pytest.raises(StorageError, match=r"cannot be opened|names no bucket"):
        open_objects(address)


def test_credentials_in_an_address_are_not_shown(s3_proxy):
    assert open_objects("s3://user:secret@bucket/a?key=secret").address == "s3://bucket/a"


def test_web_servers_are_read(tmp_path):
    (tmp_path / "a b").write_bytes(CONTENT)
    with serve_files(tmp_path) as address, FaultyProxy(address) as proxy:
        objects = open_objects(proxy.address)
        proxy.inject(Action.CUT, count=1)
        assert objects.read("a b") == CONTENT
        assert objects.read_ranges("a b", [10_000, 7], [5, 2]) == [CONTENT[10_000:10_005], CONTENT[7:9]]
        assert objects.info("a b").size == len(CONTENT)
        assert objects.info("b") is None
        with pytest.raises(FileNotFoundError):
            objects.read("b")
        with pytest.raises(StorageError, match=r"cannot be listed. Name a volume"):
            list(objects.list(""))
        for write in (
            objects.put,
            objects.create,
            lambda *a: objects.replace(*a, None),
            lambda *a: objects.delete(a[:1]),
        ):
            with pytest.raises(StorageError, match="a web server, which can only be read"):
                write("a", b"")


def test_google_cloud_storage_is_given_generations(monkeypatch, tmp_path):
    """No server of it is to be had here that obstore can use: the server is one of ours with a single object."""
    flask = pytest.importorskip("flask")
    requests = []

    def answer(path):
        request, headers = flask.request, {"ETag": '"a"', "x-goog-generation": "7"}
        requests.append((request.method, request.headers.get("x-goog-if-generation-match")))
        is_refused = request.method == "PUT" and requests[-1][1] not in (None, "7")
        return flask.Response(
            b"", 412 if is_refused else 200, headers | {"Last-Modified": "Fri, 27 Nov 2026 00:00:00 GMT"}
        )

    with serve_files(tmp_path, answer) as address:
        monkeypatch.setenv("GOOGLE_BASE_URL", address)
        account = {
            "gcs_base_url": address,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        objects = open_objects("gs://bucket/root")
        tag = objects.info("a").etag
        requests.clear()
        objects.replace("a", b"1", tag)
    conditions = [condition for method, condition in requests if method == "PUT"]
    assert conditions == [None, "0", "1", "7"]  # the probe, and the write
