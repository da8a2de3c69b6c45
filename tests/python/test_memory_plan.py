"""The memory plan: what does not fit is refused before it is loaded, with sums and a way out that
works; what fits stays within the plan."""

import pathlib
import re

import pytest

from make_model import make_model
from program import Program
from server_harness import RealServer, make_request, parse_answer, receive_all, run_in_threads

EXPERTS = pathlib.Path(__file__).parents[1] / "golden/architectures/qwen3moe.gguf"
PLAN = ("mapped", "packed", "kv_pool", "scratch", "requests", "program")


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


@pytest.fixture
def serve(mistral, tmp_path):
    servers = []

    def start(model, *settings):
        servers.append(RealServer(mistral, model, *settings, home=tmp_path))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def plan_of(server):
    return server.wait_log(lambda e: e["event"] == "memory_plan")


def test_too_much_is_refused_with_the_table_and_a_way_out_that_works(program, serve, smollm2):
    settings = ["--heap-size", "400M", "--max-sequence-length", "2048"]
    done = program("serve", smollm2, "--port", "0", "--log-level", "error", *settings,
                   "--max-total-tokens", "131072")
    assert done.returncode == 1
    *table, error = done.err.splitlines()
    assert [line.split("  ")[1] for line in table[1:]] == [
        "weights, in the file's form", "weights, repacked", "KV pool", "scratch of a step", "requests",
        "program and tokenizer", "together", "allowed"]
    assert "400.0 MiB may be used (heap_size)" in error and "kv_cache_dtype to q8_0" in error
    tokens = int(re.search(r"set max_total_tokens to (\d+) or less", error)[1])
    server = serve(smollm2, *settings, "--max-total-tokens", str(tokens))
    plan = plan_of(server)
    assert plan["kv_tokens"] == tokens and plan["total"] == sum(plan[part] for part in PLAN) <= 400 << 20


def test_a_default_shrinks_to_what_fits_and_says_so(serve, smollm2):
    server = serve(smollm2, "--heap-size", "300M")
    shrunk = server.wait_log(lambda e: e["event"] == "kv_pool_shrunk")
    assert shrunk["level"] == "warn" and 512 <= shrunk["max_total_tokens"] < shrunk["default"] == 131072
    assert plan_of(server)["total"] <= 300 << 20


def test_nothing_fits(program, smollm2):
    done = program("serve", smollm2, "--port", "0", "--log-level", "error", "--heap-size", "50M")
    assert done.returncode == 1 and "take a smaller model" in done.err


def test_memory_fraction_bounds_the_plan(program, serve, smollm2):
    server = serve(smollm2, "--memory-fraction", "0.5", "--max-total-tokens", "1024")
    plan = plan_of(server)
    assert plan["allowed_by"].startswith("memory_fraction of the ") and plan["allowed"] > plan["total"]
    done = program("serve", smollm2, "--port", "0", "--log-level", "error", "--memory-fraction", "0.01",
                   "--max-total-tokens", "1048576", "--memory-pool-size", "64G")
    assert done.returncode == 1 and "memory_fraction of the " in done.err


def test_a_second_model_has_what_the_first_one_leaves(serve, tmp_path):
    """A small second one is loaded, and goes for another when both do not fit; what does not fit beside the model that
    is served from the start is refused, with what that one takes."""
    folder = tmp_path / ".local/share/mistral/models"
    folder.mkdir(parents=True)
    for name in ("first", "second", "third"):
        make_model(folder / f"{name}.gguf", layers=1, format="Q8_0")
    settings = ["--max-sequence-length", "512", "--max-total-tokens", "4096"]
    alone = plan_of(serve(str(folder / "first.gguf"), *settings))["total"]
    server = serve(str(folder / "first.gguf"), *settings, "--heap-size", str(int(alone * 2.5)))

    def ask(name):
        return server.request("POST", "/v1/completions", {"model": name, "prompt": "x", "max_tokens": 1})

    assert ask("second").status == 200
    assert plan_of(server)["others"] == 0
    server.wait_log(lambda e: e["event"] == "memory_plan" and e["others"] == alone and e["fits"])
    assert ask("third").status == 200
    server.wait_log(lambda e: e["event"] == "model_unloading" and e["model"] == "second" and e["reason"] == "room")
    server = serve(str(folder / "first.gguf"), *settings, "--heap-size", str(int(alone * 1.5)))
    answer = ask("second")
    assert answer.status == 500 and "other models, loaded already" in answer.json["error"]["message"]
    assert ask("first").status == 200


def test_experts_that_do_not_fit_are_left_in_the_file_and_answer_the_same(program, serve):
    settings = ["--no-dynamic-quantization", "--max-sequence-length", "512", "--max-total-tokens", "1024"]
    request = {"prompt": [3, 1, 4, 1, 5, 9, 2, 6], "max_tokens": 12, "temperature": 0, "logprobs": 3}

    def answer(server):
        given = server.request("POST", "/v1/completions", request)
        assert given.status == 200, given.json
        return given.json["choices"][0]

    whole = serve(str(EXPERTS), *settings)
    plan = plan_of(whole)
    assert plan["experts_read"] == 0
    server = serve(str(EXPERTS), *settings, "--heap-size", str(plan["total"] - 1))
    reading = plan_of(server)
    told = server.wait_log(lambda e: e["event"] == "experts_left_in_file")
    assert told["level"] == "warn" and told["bytes"] == reading["experts_read"] > 0
    # At least as much is saved; the KV pool has not shrunk for it.
    assert reading["total"] <= plan["total"] - reading["experts_read"] and reading["kv_pool"] == plan["kv_pool"]
    assert reading["total"] == sum(reading[part] for part in PLAN)
    assert answer(server) == answer(whole)
    done = program("serve", str(EXPERTS), "--port", "0", "--log-level", "error", *settings,
                   "--heap-size", str(reading["total"] - 1))
    assert done.returncode == 1
    done = program("check", str(EXPERTS), *settings, "--heap-size", str(reading["total"] + 4096))
    assert "experts, left in the file" in done.out


def test_element_and_pool_size_are_counted(serve, smollm2):
    settings = ["--max-sequence-length", "512", "--max-total-tokens", "4096"]
    sizes = {dtype: plan_of(serve(smollm2, *settings, "--kv-cache-dtype", dtype))["kv_pool"]
             for dtype in ("f32", "f16", "q8_0")}
    assert 1.9 < sizes["f32"] / sizes["f16"] < 2.1 and 1.7 < sizes["f16"] / sizes["q8_0"] < 2


@pytest.mark.release_only
def test_resident_memory_under_load_stays_within_5_percent_of_the_plan(serve, smollm2):
    server = serve(smollm2, "--max-total-tokens", "6144", "--max-sequence-length", "2048")

    def resident():
        with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) * 1024

    def ask(i):
        prompt = "".join(f"word{i}{j} " for j in range(330))
        body = {"prompt": prompt, "max_tokens": 8, "temperature": 0.7, "top_p": 0.9}
        with server.connect() as connection:
            connection.settimeout(240)  # much is computed: a loaded machine is no failure
            connection.sendall(make_request("POST", "/v1/completions", body))
            assert parse_answer(receive_all(connection)).status == 200

    run_in_threads(6, ask)
    planned = plan_of(server)["total"]
    assert 0.95 * planned < resident() < 1.05 * planned
