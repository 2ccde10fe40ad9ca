"""Shared fixtures for tests of clusters: stores of each kind."""

from tests.runs.conftest import server, sqlite, store, url

__all__ = ["server", "sqlite", "store", "url"]
