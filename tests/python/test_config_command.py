"""mistral config, the files that are printed from the settings, and the old stack's own files."""

import json
import re
import tomllib

import pytest

from program import Program, make_chat_model
from server_harness import RealServer

# What the stack that this one replaces gave people to edit: its names, its values.
OLD_ENV = """\
MISTRAL_HOST=0.0.0.0               # bind address
MISTRAL_API_PORT=8080
OLLAMA_API_PORT=11434
MISTRAL_MODELS_PATH="./data/mistral-models"
MISTRAL_MODEL_PATH=/models         # where its container mounts the other
DEFAULT_MODEL=mistral-7b-instruct
MISTRAL_MODEL_TYPE=auto            # plain, gguf, lora, x-lora, toml
MISTRAL_MAX_BATCH_SIZE=8
MISTRAL_MAX_RUNNING_REQUESTS=16
MISTRAL_MAX_TOTAL_TOKENS=131072
MISTRAL_MAX_SEQ_LEN=32768
MISTRAL_TEMPERATURE='0.7'
MISTRAL_ENABLE_CONTINUOUS_BATCHING=true
MISTRAL_ENABLE_PREFIX_CACHING=true
MISTRAL_PREFIX_CACHE_SIZE=2G
MISTRAL_LOG_LEVEL=info
MISTRAL_LOG_FORMAT=json
MISTRAL_NUM_THREADS=0
MISTRAL_DEVICE=metal
ENABLE_METAL=true
ENABLE_CUDA=false
MISTRAL_MEMORY_FRACTION=0.9
MISTRAL_METAL_DEVICE_ID=0
MISTRAL_METAL_HEAP_SIZE=64G        # Mac Studio Ultra
MISTRAL_METAL_COMMAND_BUFFER_SIZE=1G
MISTRAL_USE_FLASH_ATTENTION=true
MISTRAL_METAL_SHADER_VARIANT=optimized
MISTRAL_METAL_SIMD_REDUCTION=true
MISTRAL_METAL_ASYNC_DISPATCH=true
MISTRAL_METAL_COMMAND_QUEUE_SIZE=64
MISTRAL_ENABLE_MEMORY_POOLING=true
MISTRAL_MEMORY_POOL_SIZE=8589934592  # 8GB pool
MISTRAL_KV_CACHE_DTYPE=f16
MISTRAL_DEFAULT_QUANTIZATION=q5_k_m
MISTRAL_DYNAMIC_QUANTIZATION=true
MISTRAL_QUANTIZATION_CACHE_SIZE=1073741824
MISTRAL_TENSOR_PARALLEL_SIZE=1
MISTRAL_PIPELINE_PARALLEL_SIZE=1
MISTRAL_USE_GRAPH_CAPTURE=true
MISTRAL_PREFILL_CHUNK_SIZE=2048
MISTRAL_DECODE_CHUNK_SIZE=256
MISTRAL_MEMORY_LIMIT=64G
MISTRAL_MEMORY_RESERVATION=32G
MISTRAL_HEALTH_INTERVAL=30s
MISTRAL_HEALTH_TIMEOUT=10s
MISTRAL_HEALTH_RETRIES=3
MISTRAL_HEALTH_START_PERIOD=60s
MISTRAL_LOG_MAX_SIZE=10m
MISTRAL_LOG_MAX_FILE=3
ENABLE_GPU_MONITORING=false
CUDA_VERSION=12.2.0
MISTRAL_RS_VERSION=v0.6.0
RUST_LOG=info
GRAFANA_PASSWORD=secret
"""

OLD_TOML = """\
[server]
host = "0.0.0.0"
port = 8080

[model]
path = "/models"
default_model = "mistral-7b-instruct"
model_type = "auto"  # auto, plain, gguf, lora, x-lora, toml
cache_size = 2147483648

[inference]
max_batch_size = 8
max_running_requests = 16
max_total_tokens = 131072
max_sequence_length = 32768
temperature = 0.7
enable_continuous_batching = true
enable_prefix_caching = true
prefix_cache_size = "2G"

[logging]
level = "info"
format = "json"

[resources]
num_threads = 0
use_gpu = true
device = "metal"
memory_fraction = 0.9

[metal]
device_id = 0
heap_size = 68719476736
command_buffer_size = "1G"
use_flash_attention = true
shader_variant = "optimized"
simd_reduction = true
async_dispatch = true
command_queue_size = 64

[memory]
enable_memory_pooling = true
memory_pool_size = "8G"
kv_cache_dtype = "f16"
max_seq_len = 32768

[quantization]
default_quantization = "q5_k_m"
dynamic_quantization = true
cache_size = "1G"

[performance]
tensor_parallel_size = 1
pipeline_parallel_size = 1
use_graph_capture = true
prefill_chunk_size = 2048
decode_chunk_size = 256
"""

PRINTED = {
    "stacks/mistral/.env.example": ("--format", "env", "--stack"),
    "stacks/mistral/config/mistral/config.toml": ("--format", "toml", "--stack"),
    "docs/configuration.md": ("--format", "markdown"),
}


@pytest.fixture
def program(mistral, tmp_path):
    made = Program(mistral, tmp_path)
    del made.environment["MISTRAL_DYNAMIC_QUANTIZATION"]  # nothing but what a test sets
    return made


def shown(program, *arguments, **settings):
    listed = json.loads(program.good("config", "show", "--json", *arguments, **settings))["settings"]
    return {row["key"]: row for row in listed}


@pytest.mark.parametrize("path", PRINTED)
def test_committed_copies_are_what_is_printed(program, source_root, path):
    committed = (source_root / path).read_text(encoding="utf-8")
    assert committed == program.good("config", "print", *PRINTED[path]), "run scripts/regenerate.sh"


@pytest.mark.parametrize(("form", "flag"), [("env", "--env-file"), ("toml", "--config")])
def test_a_printed_file_is_read_back_to_the_same_values(program, tmp_path, form, flag):
    given = ["--allowed-origins", "a \"b\" $c # d, 'e'", "--temperature", "0.25", "--num-threads", "3",
             "--prefix-cache-size", "1536K", "--kv-cache-dtype", "q8_0", "--no-prefix-caching"]
    before = shown(program, *given)
    path = tmp_path / "printed"
    path.write_text(program.good("config", "print", "--format", form, *given))
    after = shown(program, flag, path)
    assert {k: v["value"] for k, v in after.items()} == {k: v["value"] for k, v in before.items()}
    assert after["inference.temperature"]["origin"].startswith(f"{path}:")


def test_secrets_are_never_printed(program):
    for form in ("env", "toml", "markdown"):
        assert "sesame" not in program.good("config", "print", "--format", form, "--api-key", "sesame")
    assert "sesame" not in program.good("config", "show", "--api-key", "sesame")
    row = shown(program, "--api-key", "sesame")["server.api_key"]
    assert (row["value"], row["from"]) == ("(set)", "command line")


def test_every_value_says_where_it_came_from(program, tmp_path):
    toml, env = tmp_path / "c.toml", tmp_path / ".env"
    toml.write_text("[server]\nport = 1\nhost = '::1'\n")
    env.write_text("MISTRAL_PORT=2\nexport MISTRAL_LOG_LEVEL=warn # quiet\n")
    lines = program.good("config", "show", "--config", toml, "--env-file", env, "--temperature", "1",
                         environment={"MISTRAL_MAX_BATCH_SIZE": "5"}).splitlines()
    origins = {line.split(" = ")[0]: re.split(r"\s{2,}", line)[-1] for line in lines}
    assert origins["server.port"] == f"{env}:1:1"
    assert origins["server.host"] == f"{toml}:3:1"
    assert origins["logging.level"] == f"{env}:2:8"
    assert origins["inference.temperature"] == "--temperature"
    assert origins["inference.max_batch_size"] == "environment variable MISTRAL_MAX_BATCH_SIZE"
    assert origins["model.path"] == "default"


def test_the_old_env_file_loads_and_acts(program, tmp_path):
    path = tmp_path / ".env"
    path.write_text(OLD_ENV)
    rows = shown(program, "--env-file", path)
    assert rows["server.host"]["value"] == "0.0.0.0"
    assert rows["resources.device"]["value"] == "metal"
    assert rows["metal.heap_size"]["value"] == 64 << 30
    assert rows["model.path"]["value"] == "./data/mistral-models"
    ours = {line.split("=")[0] for line in OLD_ENV.splitlines()}
    for row in rows.values():
        if set(row["environment"]) & ours:
            assert row["from"] == "env-file", row


@pytest.mark.parametrize(("first", "second"), [("MODELS", "MODEL"), ("MODEL", "MODELS")])
def test_of_the_old_stack_s_two_folders_the_host_s_counts(program, tmp_path, first, second):
    folders = {"MODELS": "/on/the/host", "MODEL": "/in/the/container"}
    (tmp_path / ".env").write_text("".join(f"MISTRAL_{name}_PATH={folders[name]}\n" for name in (first, second)))
    assert shown(program, "--env-file", tmp_path / ".env")["model.path"]["value"] == "/on/the/host"
    alone = shown(program, environment={"MISTRAL_MODEL_PATH": "/in/the/container"})
    assert alone["model.path"]["value"] == "/in/the/container"


def test_a_server_runs_with_the_old_files(mistral, tmp_path):
    """But for the device that is not here, and for listening to everybody without a key."""
    (tmp_path / ".env").write_text(OLD_ENV.replace("ENABLE_METAL=true", "ENABLE_METAL=false"))
    (tmp_path / "config.toml").write_text(OLD_TOML)
    server = RealServer(mistral, make_chat_model(tmp_path), "--config", tmp_path / "config.toml", "--env-file",
                        tmp_path / ".env", "--device", "auto", "--host", "127.0.0.1", home=tmp_path)
    try:
        assert server.request("POST", "/v1/completions", {"prompt": "once", "max_tokens": 2}).status == 200
        loaded = server.wait_log(lambda e: e["event"] == "model_loaded")
        assert (loaded["kv_tokens"], loaded["context"], loaded["kv_cache_dtype"]) == (131072, 32768, "f16")
        (line,) = [e for e in server.log if e["event"] == "not_applicable"]
        assert "metal.command_queue_size" in line["settings"]
        origins = {e["key"]: e["from"] for e in server.log if e["event"] == "setting"}
        assert f"{tmp_path}/.env:" in origins["memory.memory_pool_size"]
    finally:
        server.stop()


def test_the_old_config_file_loads_and_acts(program, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(OLD_TOML)
    rows = shown(program, "--config", path)
    by_any_key = {key: row for row in rows.values() for key in row["keys"]}
    for section, values in tomllib.loads(OLD_TOML).items():
        for name, value in values.items():
            if f"{section}.{name}" in ("resources.use_gpu", "metal.shader_variant"):
                continue
            row = by_any_key[f"{section}.{name}"]
            size = re.fullmatch(r"(\d+)G", value) if isinstance(value, str) else None
            assert row["value"] == (int(size[1]) << 30 if size else value), row
            assert row["from"] == "config"


@pytest.mark.parametrize(
    ("variables", "device", "kernels"),
    [
        ({"ENABLE_METAL": "true"}, "metal", "auto"),
        ({"ENABLE_METAL": "1", "MISTRAL_DEVICE": "metal"}, "metal", "auto"),
        ({"ENABLE_CUDA": "yes", "ENABLE_METAL": "false"}, "cuda", "auto"),
        ({"ENABLE_METAL": "false"}, "auto", "auto"),
        ({"MISTRAL_METAL_SHADER_VARIANT": "reference"}, "auto", "portable"),
    ],
)
def test_older_names(program, variables, device, kernels):
    rows = shown(program, environment=variables)
    assert rows["resources.device"]["value"] == device
    assert rows["resources.kernels"]["value"] == kernels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[resources]\nuse_gpu = false\ndevice = 'metal'\n",
         "c.toml:3:1: resources.device: its value differs from that of resources.use_gpu, "
         "which is the same setting; keep one"),
        ("[metal]\nshader_variant = 'fast'\n",
         "c.toml:2:1: metal.shader_variant: it takes optimized or reference, not 'fast'"),
        ("[metal]\nheep_size = '1G'\n",
         "c.toml:2:1: metal.heep_size: there is no such setting; did you mean 'metal.heap_size'?"),
        ("[resources]\nmemory_fraction = 1.5\n",
         "c.toml:2:1: resources.memory_fraction: it takes a number from 0.01 to 1, not '1.5'"),
    ],
)
def test_mistakes_are_named(program, tmp_path, text, message):
    (tmp_path / "c.toml").write_text(text)
    assert program.bad(2, "config", "show", "--config", tmp_path / "c.toml") == f"{tmp_path}/{message}"


def test_what_the_scripts_read_is_no_mistake_here(program, source_root):
    """Each MISTRAL_ name of the scripts is a setting or known to be theirs; only others are warned of."""
    names = set()
    for script in [*source_root.glob("scripts/**/*.sh"), *source_root.glob("stacks/**/*.sh")]:
        names |= set(re.findall(r"\bMISTRAL_[A-Z_]*[A-Z]\b", script.read_text(encoding="utf-8")))
    assert len(names) >= 5
    for name in sorted(names):
        value = "1"
        done = program("config", "profile", environment={name: value})
        assert "unknown_environment_variable" not in done.err, name
    assert "unknown_environment_variable" in program("config", "profile", environment={"MISTRAL_RUN_ASS": "1"}).err


def test_wrong_uses(program):
    assert "neither show, print nor profile" in program.bad(2, "config", "list")
    assert "'show' takes no argument" in program.bad(2, "config", "show", "m1-max")
    assert "--format takes env, toml or markdown" in program.bad(2, "config", "print", "--format", "yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "metal"], "device is metal"),
        (["--device", "cuda"], "device is cuda"),
        (["--tensor-parallel-size", "2"], "tensor_parallel_size is 2"),
        (["--pipeline-parallel-size", "2"], "pipeline_parallel_size is 2"),
        (["--model-type", "lora"], "merge the adapter into its model"),
        (["--model-type", "x-lora"], "merge the adapters into their model"),
        (["--model-type", "toml"], "selector files"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_with_what_was_found(program, arguments, message):
    said = program.bad(1, "serve", "no-such-model", "--log-level", "error", *arguments)
    assert message in said
    if "model-type" not in arguments[0]:
        assert "NVIDIA GPU" in said and "Metal" in said
