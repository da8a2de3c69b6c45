"""Profiles: computed by the program, committed as they are printed, below all that people set."""

import json
import re
import subprocess
import tomllib

import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from program import Program, make_chat_model

NAMES = ["m1-max", "m1-ultra", "m2-max", "m2-ultra", "m3-max", "m3-ultra", "m4-max", "linux-small",
         "linux-server", "h100"]
MIB = 1 << 20
UNITS = {"": 1, "M": MIB, "G": 1 << 30}
KV_BYTES = {"f16": 131072, "q8_0": 131072 * 34 // 64}


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


def shown(program, *arguments, **settings):
    listed = json.loads(program.good("config", "show", "--json", *arguments, **settings))["settings"]
    return {row["key"]: row for row in listed}


def in_bytes(text):
    number, unit = re.fullmatch(r"(\d+)([MG]?)", text).groups()
    return int(number) * UNITS[unit]


def mistral_7b_q5_k_m():
    """Bytes of the weights: llama.cpp's mix has q6_k for the output, and for values and feed-forward outputs of
    the layers that its use_more_bits picks."""
    def size(kind, values):
        block, bytes_of_block = GGML_QUANT_SIZES[kind]
        return values // block * bytes_of_block

    more, less = GGMLQuantizationType.Q6_K, GGMLQuantizationType.Q5_K
    layers, width, hidden, kv, vocabulary = 32, 4096, 14336, 1024, 32000
    total = size(less, vocabulary * width) + size(more, vocabulary * width) + 4 * width
    for i in range(layers):
        precise = more if i < layers // 8 or i >= 7 * layers // 8 or (i - layers // 8) % 3 == 2 else less
        total += size(precise, kv * width) + size(precise, hidden * width)
        total += size(less, kv * width) + 2 * size(less, width * width) + 2 * size(less, hidden * width) + 8 * width
    return total


def test_the_weights_are_those_of_the_model(source_root):
    text = (source_root / "src/config/profile.c").read_text(encoding="utf-8")
    assert int(re.search(r"WEIGHT_BYTES +UINT64_C\((\d+)\)", text)[1]) == mistral_7b_q5_k_m()


def test_the_names(program):
    listed = [line.split()[0] for line in program.good("config", "profile").splitlines()]
    assert listed == [*NAMES, "auto"]


@pytest.mark.parametrize("name", NAMES)
def test_committed_profiles_are_what_is_printed(program, source_root, name):
    committed = (source_root / f"profiles/{name}.toml").read_text(encoding="utf-8")
    assert committed == program.good("config", "profile", name), "run scripts/regenerate.sh"
    assert "never run on such a machine" in committed
    assert {path.stem for path in (source_root / "profiles").iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", [*NAMES, "auto"])
def test_a_profile_follows_from_its_machine(program, name):
    text = program.good("config", "profile", name)
    values = {key: value for section in tomllib.loads(text).values() for key, value in section.items()}
    gib, bandwidth = map(float, re.search(r"(\d+) GiB of memory, ([\d.]+) GB/s", text).groups())
    weights = mistral_7b_q5_k_m()
    assert f"{weights / 1e9:.2f} GB of weights" in text
    ceiling = int(re.search(r"= (\d+)\n# tokens/s", text)[1])
    assert ceiling == pytest.approx(bandwidth * 1e9 / weights, abs=0.6)

    heap, token = in_bytes(values["heap_size"]), KV_BYTES[values["kv_cache_dtype"]]
    pool, batch = in_bytes(values["memory_pool_size"]), values["max_batch_size"]
    if name != "auto":
        assert heap <= gib * 1024 * MIB
        assert weights + pool + (1 << 30) <= heap + MIB, "the plan for Mistral 7B fits"
        assert batch * 4096 * token <= pool, "each answer of a batch has its 4096 tokens"
        full = (weights + batch * 4096 * token) / bandwidth / 1e9
        assert full <= max(1 / 20, 2 * weights / bandwidth / 1e9) * 1.001
    assert values["max_running_requests"] == 2 * batch
    assert 0 <= pool - values["max_total_tokens"] * token < MIB
    assert values["max_sequence_length"] <= values["max_total_tokens"]
    assert in_bytes(values["prefix_cache_size"]) <= pool // 4
    cores = re.search(r"From: (\d+) cores", text)
    assert values.get("num_threads") == (int(cores[1]) if cores else None)
    reasons = re.findall(r"^# (?!\()(.+)\n\w+ = ", text, re.MULTILINE)
    assert len(reasons) == len(values), "each setting says why"


@pytest.mark.parametrize("name", ["linux-small", "m3-ultra", "h100"])
def test_a_name_and_its_file_are_the_same_settings(program, source_root, name):
    by_name, by_file = (shown(program, "--profile", given)
                        for given in (name, source_root / f"profiles/{name}.toml"))
    as_config = shown(program, "--config", source_root / f"profiles/{name}.toml")
    for key, row in by_name.items():
        if key != "resources.profile":
            assert row["value"] == by_file[key]["value"] == as_config[key]["value"], key
            assert (row["from"] == "profile") == (by_file[key]["from"] == "profile") == (as_config[key]["from"] == "config")
    assert by_name["metal.heap_size"]["origin"] == f"profile {name}"
    assert re.fullmatch(rf"profile .*{name}\.toml:\d+:1", by_file["metal.heap_size"]["origin"])


def test_a_profile_lies_below_everything_but_the_defaults(program, tmp_path):
    (tmp_path / "c.toml").write_text("[resources]\nprofile = 'm1-max'\n[inference]\nmax_batch_size = 3\n")
    (tmp_path / ".env").write_text("MISTRAL_KV_CACHE_DTYPE=f32\n")
    rows = shown(program, "--config", tmp_path / "c.toml", "--env-file", tmp_path / ".env", "--num-threads", "2",
                 environment={"MISTRAL_PREFILL_CHUNK_SIZE": "64"})
    assert {key: rows[key]["from"] for key in (
        "inference.max_batch_size", "memory.kv_cache_dtype", "performance.prefill_chunk_size",
        "resources.num_threads", "inference.max_running_requests", "server.port")} == {
            "inference.max_batch_size": "config", "memory.kv_cache_dtype": "env-file",
            "performance.prefill_chunk_size": "environment", "resources.num_threads": "command line",
            "inference.max_running_requests": "profile", "server.port": "default"}
    assert shown(program, environment={"MISTRAL_PROFILE": "m1-max"})["metal.heap_size"]["value"] == 48 << 30


def test_auto_looks_at_this_machine(program):
    rows = shown(program, "--profile", "auto")
    assert rows["resources.num_threads"]["origin"] == "profile auto"
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        total = int(re.search(r"MemTotal:\s+(\d+)", meminfo.read())[1]) * 1024
    assert 0 < rows["metal.heap_size"]["value"] <= total


def test_every_subcommand_that_reads_settings_takes_one(mistral, program):
    overview = subprocess.run([mistral, "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^  ([a-z]+) ", overview, re.MULTILINE)
    assert len(commands) >= 10
    for command in commands:
        if "--config FILE" in program.good(command, "--help"):
            said = program.bad(2, command, "--profile", "m1-mx", "x")
            assert said.startswith("--profile: there is no profile 'm1-mx'; did you mean 'm1-max'?"), (command, said)


def test_a_file_that_is_no_profile(program, tmp_path):
    (tmp_path / "p.toml").write_text("[metal]\nheep_size = '1G'\n")
    assert "p.toml:2:1: metal.heep_size" in program.bad(2, "config", "show", "--profile", tmp_path / "p.toml")
    assert "none.toml" in program.bad(2, "config", "show", "--profile", "none.toml")


def test_check_says_what_hides_a_profile(program, tmp_path):
    model = make_chat_model(tmp_path)
    (tmp_path / "c.toml").write_text("[inference]\nmax_batch_size = 3\n")

    def finding(*arguments):
        done = program("check", "--json", "--quick", "--port", "0", "--ollama-port", "0", model, *arguments)
        return next(row for row in json.loads(done.out)["findings"] if row["check"] == "profile")

    row = finding("--profile", "linux-small", "--config", tmp_path / "c.toml")
    assert row["level"] == "ok" and "9 of its settings act; set elsewhere: " in row["text"]
    assert "c.toml:2:1 (5)" in row["text"]
    (tmp_path / "empty.toml").write_text("")
    assert finding("--profile", tmp_path / "empty.toml")["level"] == "warning"
