"""These tests look at the source tree and not at a build: once is enough."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/house/" in item.path.as_posix():
            item.add_marker(pytest.mark.release_only)
