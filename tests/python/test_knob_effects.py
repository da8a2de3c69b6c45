"""Every setting acts: each is changed, and something outside the program is seen to change. A row of
knobs.def without an effect here fails."""

import contextlib
import http.client
import http.server
import json
import os
import platform
import re
import shutil
import socket
import threading
import time

import pytest

from fake_hub import FakeHub, Repository, model_bytes
from program import Program, make_chat_model
from server_harness import RealServer, chat

EFFECTS = {}


def effect(*names):
    def register(function):
        EFFECTS.update(dict.fromkeys(names, function))
        return function
    return register


class World:
    """What an effect is looked for with."""

    def __init__(self, mistral, model, folder):
        self.mistral, self.model, self.folder = mistral, model, folder
        self.program = Program(mistral, folder)
        self.servers = []

    def serve(self, *settings, model=None):
        settings = settings if "--ollama-port" in settings else ("--ollama-port", "0", *settings)
        self.servers.append(RealServer(self.mistral, model or self.model, *settings, home=self.folder))
        return self.servers[-1]

    def logged(self, event, field, *settings):
        return self.serve(*settings).wait_log(lambda e: e["event"] == event)[field]

    def refused(self, *settings):
        done = self.program("serve", self.model, "--port", "0", "--ollama-port", "0", "--log-level", "error",
                            *settings)
        assert done.returncode != 0
        return done.err


@pytest.fixture(scope="module")
def nonsense(tmp_path_factory):
    return make_chat_model(tmp_path_factory.mktemp("models"))


@pytest.fixture
def world(mistral, nonsense, tmp_path):
    made = World(mistral, nonsense, tmp_path)
    yield made
    for server in made.servers:
        server.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def complete(server, prompt="once upon a time there was", **fields):
    body = {"prompt": prompt, "max_tokens": 16, **fields}
    answer = server.request("POST", "/v1/completions", body)
    assert answer.status == 200, answer
    return answer.json["choices"][0]["text"]


def metric(server, name):
    page = server.request("GET", "/metrics").body.decode()
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
    assert found, name
    return sum(map(float, found))


# ---- server ----


@effect("host")
def host(world):
    assert world.logged("listening", "host", "--host", "127.0.0.2") == "127.0.0.2"


@effect("port")
def port(world):
    wanted = free_port()
    assert world.serve("--port", str(wanted)).port == wanted


@effect("ollama_port")
def ollama_port(world):
    wanted = free_port()
    server = world.serve("--ollama-port", str(wanted))
    server.port = wanted
    assert server.request("GET", "/api/version").status == 200


@effect("api_key")
def api_key(world):
    assert world.serve("--api-key", "k").request("GET", "/v1/models").status == 401


@effect("allow_no_key")
def allow_no_key(world):
    assert "key" in world.refused("--host", "0.0.0.0")
    world.serve("--host", "0.0.0.0", "--allow-no-key").assert_healthy()


@effect("allowed_origins")
def allowed_origins(world):
    origin = {"Origin": "https://chat.example"}
    assert world.serve().request("GET", "/v1/models", headers=origin).status == 403
    server = world.serve("--allowed-origins", "https://chat.example")
    assert server.request("GET", "/v1/models", headers=origin).status == 200


@effect("allowed_hosts")
def allowed_hosts(world):
    host = {"Host": "chat.example:8080"}
    assert world.serve().request("GET", "/v1/models", headers=host).status == 403
    server = world.serve("--allowed-hosts", "other.example, chat.example")
    assert server.request("GET", "/v1/models", headers=host).status == 200
    assert "no name or address" in world.refused("--allowed-hosts", "http://chat.example")


@effect("max_connections")
def max_connections(world):
    server = world.serve("--max-connections", "1")
    with server.connect() as first:
        # One that has nothing to do would give way: this one waits for its answer.
        body = b'{"prompt": "once", "max_tokens": 30000, "stream": true, "ignore_eos": true}'
        first.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        first.recv(100)
        data = server.exchange(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"200 OK" not in data


@effect("max_connections_per_address")
def max_connections_per_address(world):
    server = world.serve("--max-connections-per-address", "1")
    with server.connect() as first, server.connect() as second:
        assert first.recv(1) == b"", "the second takes the place of the idle first"
        second.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in second.recv(100)


@effect("max_body_size")
def max_body_size(world):
    body = {"prompt": "x" * 2000}
    assert world.serve("--max-body-size", "1K").request("POST", "/v1/completions", body).status == 413


@effect("preparers")
def preparers(world):
    def threads(*settings):
        return len(os.listdir(f"/proc/{world.serve(*settings).process.pid}/task"))
    assert threads("--preparers", "9") == threads("--preparers", "2") + 7


@effect("drain_timeout")
def drain_timeout(world):
    server = world.serve("--drain-timeout", "0")
    with server.connect() as connection:
        body = json.dumps({"prompt": "once", "max_tokens": 30000, "stream": True, "ignore_eos": True})
        connection.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
                           f"\r\n\r\n{body}".encode())
        connection.recv(100)
        server.signal()
        server.process.wait(20)


@effect("sandbox")
def sandbox(world):
    assert world.logged("sandbox", "reason", "--sandbox", "off") == "the setting sandbox is off"
    assert world.logged("sandbox", "reason") != "the setting sandbox is off"


# ---- models ----


@effect("models_path")
def models_path(world):
    listed = json.loads(world.program.good("list", "--json", "--models-path", world.model.parent))
    assert [row["name"] for row in listed["models"]] == ["nonsense"]


@effect("default_model")
def default_model(world):
    done = world.program("serve", "--port", "0", "--log-level", "error", "--default-model", "some-other-model")
    assert done.returncode == 3 and "some-other-model" in done.err


@effect("model_cache_size")
def model_cache_size(world):
    for name in ("b", "c"):
        shutil.copy(world.model, world.folder / f"{name}.gguf")

    def loaded(*settings):
        server = world.serve("--models-path", world.folder, *settings)
        for name in ("b", "c"):
            answer = server.request("POST", "/v1/completions", {"model": name, "prompt": "once", "max_tokens": 1})
            assert answer.status == 200, answer
        deadline = time.monotonic() + (5 if "0" in settings else 1)  # what goes goes at once
        names = set()
        while time.monotonic() < deadline:
            names = {row["name"].split(":")[0] for row in server.request("GET", "/api/ps").json["models"]}
            if "b" not in names:
                break
            time.sleep(0.05)
        return names

    assert {"b", "c"} <= loaded() and "b" not in loaded("--model-cache-size", "0")


@effect("model_type")
def model_type(world):
    assert "merge the adapter" in world.refused("--model-type", "lora")
    assert "is a file" in world.refused("--model-type", "plain")


@effect("default_quantization")
def default_quantization(world):
    with contextlib.closing(FakeHub()) as hub:
        hub.repositories["o/r"] = Repository({f"m-{f}.gguf": model_bytes(100) for f in ("Q4_0", "Q8_0")})
        world.program("pull", "hf:o/r", "--endpoint", hub.url, "--models-path", world.folder,
                      "--default-quantization", "q8_0")
        paths = [path for _, path, _ in hub.requests]
    assert any("m-Q8_0.gguf" in path for path in paths), paths
    assert not any("m-Q4_0.gguf" in path for path in paths), paths


@effect("dynamic_quantization", "quantization_cache_size")
def quantising_at_load(world):
    def formats(*settings):
        server = world.serve("--dynamic-quantization", *settings)
        return server.wait_log(lambda e: e["event"] == "model_loaded")["format"]

    cache = world.folder / ".cache" / "mistral" / "converted"
    assert formats("--no-dynamic-quantization") == "F32"
    assert formats("--quantization-cache-size", "0") == "Q5_1"  # rows are too short for Q5_K
    assert list(cache.glob("*")) == []
    assert formats() == "Q5_1"
    assert len(list(cache.glob("*"))) == 1


# ---- inference ----


@effect("max_sequence_length")
def max_sequence_length(world):
    assert world.logged("model_loaded", "context", "--max-sequence-length", "64") == 64


@effect("max_total_tokens")
def max_total_tokens(world):
    assert world.logged("model_loaded", "kv_tokens", "--max-total-tokens", "160") == 160


@effect("memory_pool_size")
def memory_pool_size(world):
    assert world.logged("model_loaded", "kv_tokens", "--memory-pool-size", "1M") < 131072


def differs(field, *settings):
    def observe(world):
        changed, plain = (world.logged("memory_plan", field, *s) for s in (settings, settings[:-2]))
        assert changed != plain
    return observe


EFFECTS["max_batch_size"] = differs("scratch", "--max-batch-size", "200")
EFFECTS["decode_chunk_size"] = differs("scratch", "--max-batch-size", "200", "--decode-chunk-size", "4")
EFFECTS["prefill_chunk_size"] = differs("scratch", "--prefill-chunk-size", "2048")
EFFECTS["max_running_requests"] = differs("requests", "--max-running-requests", "32")
EFFECTS["memory_fraction"] = differs("allowed", "--memory-fraction", "0.5")
EFFECTS["heap_size"] = differs("allowed", "--heap-size", "1G")


@effect("max_waiting_requests")
def max_waiting_requests(world):
    assert metric(world.serve("--max-waiting-requests", "7"), "mistral_sequences_waiting_limit") != metric(
        world.serve("--max-waiting-requests", "9"), "mistral_sequences_waiting_limit")


@effect("temperature")
def temperature(world):
    cold, warm = world.serve("--temperature", "0"), world.serve("--temperature", "5")
    assert len({complete(cold) for _ in range(3)}) == 1 and len({complete(warm) for _ in range(3)}) > 1


@effect("enable_continuous_batching")
def enable_continuous_batching(world):
    def overtakes(tokens, *settings):
        server = world.serve("--temperature", "0", *settings)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as long:
            long.request("POST", "/v1/completions", json.dumps(
                {"prompt": "once", "max_tokens": tokens, "ignore_eos": True, "stream": True}), {"Content-Type": "application/json"})
            long.getresponse().readline()  # it runs
            complete(server, max_tokens=1)
            return metric(server, "mistral_generate_tokens_total") <= tokens  # else the long one had ended

    assert overtakes(20000) and not overtakes(4000, "--no-continuous-batching")


@effect("enable_prefix_caching", "prefix_cache_size")
def prefix_caching(world):
    def hits(*settings):
        server = world.serve(*settings)
        for _ in range(2):
            complete(server, prompt="the time of the people " * 20)
        return metric(server, "mistral_prefix_cache_hit_tokens_total")

    assert hits() > 0 and hits("--no-prefix-caching") == 0 and hits("--prefix-cache-size", "0") == 0


@effect("draft_tokens")
def draft_tokens(world):
    server = world.serve("--draft-tokens", "8", "--temperature", "0")
    complete(server, prompt="the time of the people " * 20, max_tokens=200)
    assert metric(server, "mistral_draft_tokens_total") > 0


@effect("kv_cache_dtype")
def kv_cache_dtype(world):
    assert world.logged("model_loaded", "kv_cache_dtype", "--kv-cache-dtype", "q8_0") == "q8_0"


@effect("enable_memory_pooling")
def enable_memory_pooling(world):
    assert world.logged("model_loaded", "kv_bytes", "--no-memory-pooling") < world.logged(
        "model_loaded", "kv_bytes")


@effect("use_flash_attention")
def use_flash_attention(world):
    assert world.logged("model_loaded", "attention", "--no-flash-attention") == "plain"


# ---- resources ----


@effect("profile")
def profile(world):
    origins = {e["key"]: e["from"] for e in world.serve("--profile", "linux-small", "--max-batch-size", "2").log
               if e["event"] == "setting"}
    assert origins["inference.max_running_requests"] == "profile linux-small"
    assert origins["inference.max_batch_size"] == "--max-batch-size"


@effect("num_threads")
def num_threads(world):
    assert world.logged("model_loaded", "threads", "--num-threads", "3") == 3


@effect("repack_weights")
def repack_weights(world):
    mapped, packed = world.serve("--no-repack-weights"), world.serve()
    for server, form in ((mapped, "mapped"), (packed, "repacked")):
        assert server.wait_log(lambda e: e["event"] == "model_loaded")["weights"] == form
    plans = [server.wait_log(lambda e: e["event"] == "memory_plan")["packed"] for server in (mapped, packed)]
    assert plans[0] < plans[1]
    assert complete(mapped, temperature=0) == complete(packed, temperature=0)
    assert packed.wait_log(lambda e: e["event"] == "weights_packed")["bytes"] > 0


@effect("kernels")
def kernels(world):
    assert world.logged("model_loaded", "kernels", "--kernels", "portable") == "portable"
    foreign = "neon" if platform.machine() == "x86_64" else "avx2"
    assert f"kernels is {foreign}, which this processor cannot run" in world.refused("--kernels", foreign)


@effect("device")
def device(world):
    assert "device is metal" in world.refused("--device", "metal")


@effect("tensor_parallel_size")
def tensor_parallel_size(world):
    assert "tensor_parallel_size is 2" in world.refused("--tensor-parallel-size", "2")


@effect("pipeline_parallel_size")
def pipeline_parallel_size(world):
    assert "pipeline_parallel_size is 3" in world.refused("--pipeline-parallel-size", "3")


def says_not_applicable(key, *arguments):
    def observe(world):
        done = world.program("check", "--quick", "--json", "--port", "0", "--ollama-port", "0", world.model,
                             *arguments)
        rows = [row["text"] for row in json.loads(done.out)["findings"] if row["check"] == "not_applicable"]
        assert rows == [f"not applicable on cpu: {key}"]
    return observe


NOT_ON_A_CPU = {
    "use_graph_capture": ("performance.use_graph_capture", "--no-graph-capture"),
    "device_id": ("metal.device_id", "--device-id", "1"),
    "command_buffer_size": ("metal.command_buffer_size", "--command-buffer-size", "2G"),
    "simd_reduction": ("metal.simd_reduction", "--no-simd-reduction"),
    "async_dispatch": ("metal.async_dispatch", "--no-async-dispatch"),
    "command_queue_size": ("metal.command_queue_size", "--command-queue-size", "8"),
}
EFFECTS.update({name: says_not_applicable(*row) for name, row in NOT_ON_A_CPU.items()})


def test_the_log_says_once_what_is_not_applicable(world):
    arguments = [argument for _, *row in NOT_ON_A_CPU.values() for argument in row]
    server = world.serve(*arguments)
    (line,) = [e for e in server.log if e["event"] == "not_applicable"]
    assert set(line["settings"].split(", ")) == {key for key, *_ in NOT_ON_A_CPU.values()}


# ---- hub ----


class answering:
    """A server that gives one body to every GET; [(path, headers)] of what came."""

    def __init__(self, body):
        requests = self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append((self.path, dict(self.headers)))
                good = "/api/" in self.path
                self.send_response(200 if good else 404)
                self.send_header("Content-Length", str(len(body) if good else 0))
                self.end_headers()
                self.wfile.write(body if good else b"")

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return f"http://127.0.0.1:{self.server.server_port}", self.requests

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@effect("hub_endpoint", "hub_token")
def hub(world):
    with answering(b"{}") as (url, requests):
        world.program("pull", "hf:o/r:Q4_0", "--endpoint", url, "--models-path", world.folder,
                      environment={"HF_TOKEN": "hf_secret"})
    assert requests and requests[0][1].get("Authorization") == "Bearer hf_secret"


@effect("hub_ollama_registry")
def hub_ollama_registry(world):
    with answering(b"{}") as (url, requests):
        world.program("pull", "ollama:mistral:7b", "--ollama-registry", url, "--models-path", world.folder)
    assert requests and requests[0][0] == "/v2/library/mistral/manifests/7b"


@effect("hub_connections")
def hub_connections(world):
    content = model_bytes(9 << 20)
    for connections, ranged in (("1", False), ("3", True)):
        with contextlib.closing(FakeHub()) as hub:
            hub.repositories["o/r"] = Repository({f"m{connections}-Q4_0.gguf": content})
            world.program("pull", "hf:o/r", "--endpoint", hub.url, "--models-path", world.folder,
                          "--connections", connections)
            assert (len(hub.ranges()) > 1) == ranged


@effect("hub_timeout")
def hub_timeout(world):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        process = world.program.start("pull", "hf:o/r:Q4_0", "--timeout", "1", "--models-path", world.folder,
                                      "--endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}")
        silent.settimeout(20)  # less than the default: a second attempt comes only when one is given up
        try:
            held = [silent.accept() for _ in range(2)]
            assert len(held) == 2
        finally:
            process.kill()
            process.communicate()


# ---- logging ----


@effect("log_level")
def log_level(world):
    done = world.program("serve", world.model, "--port", "0", "--ollama-port", "0", "--device", "cuda",
                         "--log-level", "off")
    quiet = len(done.err.splitlines())
    server = world.serve()
    assert quiet == 1 and any(e["level"] == "info" for e in server.log)


@effect("log_format")
def log_format(world):
    process = world.program.start("serve", world.model, "--port", "0", "--ollama-port", "0", "--log-format", "text")
    line = process.stderr.readline().decode()
    process.terminate()
    process.communicate()
    assert not line.startswith("{") and " info " in line


@effect("log_prompts")
def log_prompts(world):
    server = world.serve("--log-prompts")
    server.request("POST", "/v1/chat/completions", chat("a secret word", max_tokens=1))
    server.wait_log(lambda e: "a secret word" in json.dumps(e))


# ---- all of them ----


def knobs(source_root):
    text = (source_root / "src/config/knobs.def").read_text(encoding="utf-8").split("*/", 1)[1]
    return re.findall(r"^KNOB(?:_FOR\(DEVICES_GPU, |\()(\w+),", text, re.MULTILINE)


def test_every_setting_has_an_effect_here(source_root):
    names = knobs(source_root)
    assert len(names) == len(set(names)) > 40
    assert set(names) == set(EFFECTS)


@pytest.mark.parametrize("name", sorted(EFFECTS))
def test_a_setting_acts(world, name):
    EFFECTS[name](world)
