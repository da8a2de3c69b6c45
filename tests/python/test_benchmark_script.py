"""scripts/testing/benchmark-mistral.sh, with the earlier script's options; and the commands of docs/benchmarking.md."""

import csv
import os
import re
import subprocess

import pytest
from server_harness import FakeServer, own_environment

pytestmark = pytest.mark.release_only


@pytest.fixture
def server(build_dir):
    fake = FakeServer(build_dir)
    yield fake
    fake.stop()


@pytest.fixture
def benchmark(source_root, mistral, tmp_path, server):
    environment = {**own_environment(), "MISTRAL_PROGRAM": str(mistral), "MISTRAL_URL": server.base_url,
                   "MISTRAL_ENV_FILE": str(tmp_path / "none"), "OUTPUT_DIR": str(tmp_path / "results"),
                   "PATH": "/usr/bin:/bin"}

    def run(*arguments, **changed):
        return subprocess.run(["bash", source_root / "scripts/testing/benchmark-mistral.sh", *arguments], cwd=tmp_path,
                              env={**environment, **changed}, capture_output=True, text=True, timeout=120)

    return run


def test_the_results_lie_where_they_always_did(benchmark, tmp_path, server):
    done = benchmark("-m", "fake-model", "-n", "2", "-w", "1", "--", "--max-tokens", "8")
    assert done.returncode == 0, done.stderr
    names = sorted(re.sub(r"\d{8}_\d{6}", "TIME", path.name) for path in (tmp_path / "results").iterdir())
    assert names == ["mistral_benchmark_TIME.csv", "mistral_benchmark_TIME.html", "mistral_benchmark_TIME.json",
                     "mistral_benchmark_TIME_summary.txt"]
    rows = list(csv.DictReader(next((tmp_path / "results").glob("*.csv")).open()))
    assert [(row["test_name"], row["succeeded"]) for row in rows][1] == ("simple_math", "2") and len(rows) == 6
    assert "comprehensive_guide" in done.stdout and "Set OLLAMA_URL" in done.stdout
    assert server.wait_idle() == 15


def test_the_environment_chooses_and_ollama_is_compared(benchmark, tmp_path, server):
    done = benchmark("-o", str(tmp_path / "other"), TEST_MODEL="fake-model", NUM_RUNS="1", WARMUP_RUNS="0",
                     OLLAMA_URL=server.base_url)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(next((tmp_path / "other").glob("*.csv")).open()))
    assert {row["engine"] for row in rows} == {"mistral.c", "ollama"}
    assert "mistral.c beside ollama" in done.stdout


def test_what_is_wrong_is_said(benchmark, tmp_path):
    assert benchmark("--speed").returncode == 1
    assert "takes a value" in benchmark("-n").stderr
    failed = benchmark("-m", "nobody")
    assert failed.returncode == 3 and "no model 'nobody'" in failed.stderr
    assert list((tmp_path / "results").iterdir()) == []
    assert "--warmup" in benchmark("--help").stdout


def test_the_commands_of_the_page_work(source_root, mistral, tmp_path, server):
    page = (source_root / "docs/benchmarking.md").read_text()
    commands = re.findall(r"^    (mistral bench serve .*)$", page, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        here = re.sub(r"http://127\.0\.0\.1:\d+", server.base_url, command)
        done = subprocess.run(["bash", "-c", here], cwd=tmp_path, capture_output=True, text=True,
                              env={**own_environment(), "PATH": f"{mistral.parent}:{os.environ['PATH']}"})
        assert done.returncode == 0, (here, done.stderr)
        assert "time to first token" in done.stdout
