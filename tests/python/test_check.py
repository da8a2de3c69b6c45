"""mistral check: every finding, provoked; its exit codes; and test-performance.sh, which calls it."""

import json
import os
import platform
import resource
import socket
import subprocess

import pytest

from program import Program, make_chat_model
from server_harness import RealServer

FREE = ["--port", "0", "--ollama-port", "0", "--quick"]


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


@pytest.fixture(scope="module")
def nonsense(tmp_path_factory):
    return make_chat_model(tmp_path_factory.mktemp("models"))


def findings(program, *arguments, **settings):
    """Name → finding (the last of a name), with the exit code under "exit"."""
    done = program("check", "--json", *arguments, **settings)
    told = json.loads(done.out)
    assert done.returncode == (1 if told["errors"] else 0), done.err
    levels = [row["level"] for row in told["findings"]]
    assert (levels.count("error"), levels.count("warning")) == (told["errors"], told["warnings"])
    for row in told["findings"]:
        assert row["level"] == "ok" or row["advice"], row
    return {row["check"]: row for row in told["findings"]} | {"exit": done.returncode}


def test_all_is_well(program, nonsense):
    found = findings(program, nonsense, *FREE, "--models-path", nonsense.parent)
    assert found["exit"] == 0
    for name in ("settings", "device", "memory", "files", "access", "folder", "disk", "model", "memory_plan"):
        assert found[name]["level"] == "ok", found[name]
    assert "1 models in" in found["folder"]["text"] and "KV pool" in found["memory_plan"]["text"]


@pytest.mark.parametrize(
    ("name", "level", "text", "arguments"),
    [
        ("device", "error", "device is cuda", ["--device", "cuda"]),
        ("parallel", "error", "tensor_parallel_size is 2", ["--tensor-parallel-size", "2"]),
        ("model_type", "error", "merge the adapter", ["--model-type", "lora"]),
        ("not_applicable", "warning", "not applicable on cpu: metal.device_id", ["--device-id", "1"]),
        ("threads", "warning", "num_threads is 1000", ["--num-threads", "1000"]),
        ("processor", "warning", "portable", ["--kernels", "portable"]),
        ("processor", "error", "which it cannot run",
         ["--kernels", "neon" if platform.machine() == "x86_64" else "avx2"]),
        ("files", "warning", "max_connections needs 1000064", ["--max-connections", "1000000"]),
        ("access", "error", "serve refuses", ["--host", "0.0.0.0"]),
        ("access", "warning", "allow_no_key is on", ["--host", "0.0.0.0", "--allow-no-key"]),
        ("access", "ok", "with a key", ["--host", "0.0.0.0", "--api-key", "k"]),
        ("folder", "warning", "does not exist", ["--models-path", "/no/such/folder"]),
        ("disk", "warning", "0 B are free", ["--models-path", "/dev/pts"]),
        ("memory_plan", "error", "does not fit", ["--heap-size", "1M"]),
        ("memory_plan", "warning", "instead of the default", ["--heap-size", "45M"]),
    ],
)
def test_a_finding(program, nonsense, name, level, text, arguments):
    found = findings(program, nonsense, *FREE, *arguments, preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, (4096, 4096)))
    assert (found[name]["level"], text in found[name]["text"]) == (level, True), found[name]


def test_a_missing_and_a_broken_model(program, tmp_path):
    assert "mistral pull" in findings(program, "no-such-model", *FREE)["model"]["advice"]
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\3\0\0\0")
    assert findings(program, tmp_path / "broken.gguf", *FREE)["model"]["level"] == "error"


def test_the_containers_limit_bounds_the_plan(program, nonsense, tmp_path):
    for path, text in {
        "proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n", "proc/self/cgroup": "0::/box\n",
        "proc/cpuinfo": "model name\t: Test Processor 9\n", "sys/fs/cgroup/box/memory.max": str(40 << 20),
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = findings(program, nonsense, *FREE, "--root", tmp_path)
    assert "8.0 GiB, of which 4.0 GiB" in found["memory"]["text"]
    assert "limited to 40.0 MiB" in found["container"]["text"]
    assert "memory_fraction of the container's limit" in found["memory_plan"]["text"]
    assert "Test Processor 9" in found["processor"]["text"]


def test_a_port_that_is_taken(program, nonsense):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        found = findings(program, nonsense, "--quick", "--port", "0", "--ollama-port", port)
    assert found["port"]["level"] == "error" and f"ollama_port {port}" in found["port"]["text"]


def test_a_taken_ollama_port_that_nobody_asked_for_is_no_error(program, nonsense):
    with socket.socket() as other:
        other.bind(("127.0.0.2", 11434))  # an address that no other test's server listens on
        other.listen()
        found = findings(program, nonsense, "--quick", "--host", "127.0.0.2", "--port", "0")
    assert found["port"]["level"] == "warning" and "serve does without it" in found["port"]["text"]
    assert found["exit"] == 0


def test_a_running_server_is_recognised(program, mistral, nonsense, tmp_path):
    server = RealServer(mistral, nonsense, "--ollama-port", "0", home=tmp_path)
    try:
        found = findings(program, nonsense, "--quick", "--port", str(server.port))
    finally:
        server.stop()
    assert "nonsense" in found["running"]["text"] and "version" in found["running"]["text"]


def test_the_speed_to_expect_is_measured(program, nonsense):
    found = findings(program, nonsense, *[a for a in FREE if a != "--quick"])
    assert "GB/s" in found["speed"]["text"] and "tokens/s" in found["speed"]["text"]


def test_settings_that_cannot_be_read_are_another_exit_code(program, tmp_path):
    (tmp_path / "c.toml").write_text("[server]\nprot = 1\n")
    assert "c.toml:2:1" in program.bad(2, "check", "--config", tmp_path / "c.toml")


def test_people_get_marks_and_advice_without_colours(program, nonsense):
    done = program("check", nonsense, *FREE, "--device", "metal", "--device-id", "1")
    assert done.returncode == 1 and "\x1b" not in done.out
    assert "✗ device" in done.out and "! not_applicable" in done.out and "✓ settings" in done.out
    assert "→ set device to auto or cpu" in done.out and done.out.endswith("errors: 1, warnings: 2\n")


def test_the_stacks_script_checks_the_stacks_settings(mistral, source_root, nonsense, tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MISTRAL_PROGRAM": str(mistral)}
    done = subprocess.run([source_root / "stacks/mistral/test-performance.sh", "--json", *FREE, nonsense],
                          env=environment, cwd="/", capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert done.returncode == 0, told
    assert any("settings are set" in row["text"] for row in told["findings"])
