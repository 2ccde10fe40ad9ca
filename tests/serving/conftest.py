"""Tests of the server need the extra `serve` and the packages of `make test`; `make check` does without them."""

from importlib.util import find_spec

PACKAGES = ("starlette", "uvicorn", "prometheus_client", "httpx2", "schemathesis")
collect_ignore_glob = [] if all(map(find_spec, PACKAGES)) else ["test_*.py"]
