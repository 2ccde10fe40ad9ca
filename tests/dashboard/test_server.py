"""The command on another address: TLS, a new token, and programs that record with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing

import pytest

from rosenblatt.errors import StoreError
from rosenblatt.runs.store.queries import find_runs
from rosenblatt.runs.store.remote_store import RemoteStore
from rosenblatt.runs.store.store import Store
from tests.web.certificates import make_certificates

PROGRAM = """
import rosenblatt
with rosenblatt.track("remote", name="elsewhere") as run:
    run.log({"loss": 0.5})
"""


@pytest.mark.slow
def test_a_program_records_over_tls_with_the_token(tmp_path, monkeypatch):
    authority, certificate, key = make_certificates(tmp_path)
    url = f"sqlite:///{tmp_path}/runs.db"
    command = [sys.executable, "-m", "rosenblatt", "ui", "--store", str(tmp_path / "runs.db"), "--port", "0",
               "--host", "0.0.0.0", "--allow-host", "localhost", "--tls-cert", str(certificate), "--tls-key",
               str(key)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address, token = re.search(r"(https://localhost:\d+)/#token=(\S+)", server.stdout.readline()).groups()
            environment = {"SSL_CERT_FILE": str(authority), "ROSENBLATT_TOKEN": token, "ROSENBLATT_STORE": address}
            subprocess.run([sys.executable, "-c", PROGRAM], env=os.environ | environment, cwd=tmp_path, check=True)
            with pytest.raises(StoreError, match=r"is not trusted .* SSL_CERT_FILE"):
                RemoteStore(address)
            monkeypatch.setenv("SSL_CERT_FILE", str(authority))
            with pytest.raises(StoreError, match=r"refuses this program: .* Set ROSENBLATT_TOKEN"):
                RemoteStore(address)
        finally:
            server.kill()
    with closing(Store(url)) as store:
        (run,) = find_runs(store)
    assert (run.name, run.state) == ("elsewhere", "finished")
