"""What /metrics says of a real engine's work: a request of known size, a queue, a set back."""

import json
import subprocess
import time
import pytest
from metrics_page import MetricsPage
from program import make_chat_model
from server_harness import RealServer, chat, make_request, receive_until, run_in_threads

CHAT = "/v1/chat/completions"
MODEL = {"model": "nonsense"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_chat_model(tmp_path_factory.mktemp("model"))


def start(mistral, model, tmp_path, tokens):
    return RealServer(mistral, model, "--max-running-requests", "2", "--max-batch-size", "2",
                      "--max-waiting-requests", "1", "--max-total-tokens", str(tokens),
                      "--max-sequence-length", str(tokens), "--num-threads", "1", home=tmp_path)


@pytest.fixture
def server(mistral, model, tmp_path):
    server = start(mistral, model, tmp_path, 1024)
    yield server
    server.stop()


@pytest.fixture
def roomy_server(mistral, model, tmp_path):
    """Answers in it outlast whatever a busy machine does to the test."""
    server = start(mistral, model, tmp_path, 32768)
    yield server
    server.stop()


def after_the_step(server, name, least):
    """The last token goes out before its step is counted."""
    deadline = time.monotonic() + 10
    while True:
        page = MetricsPage(server)
        if page.get(name, batch_size="1", **MODEL) >= least or time.monotonic() > deadline:
            return page
        time.sleep(0.01)


def test_a_request_alone(server):
    usage = server.request("POST", CHAT, chat("hello there", max_tokens=20, seed=1,
                                              ignore_eos=True)).json["usage"]
    n = usage["completion_tokens"]
    assert n > 1
    page = after_the_step(server, "mistral_decode_duration_seconds_count", n - 1)
    assert page.get("mistral_prefill_duration_seconds_count", batch_size="1", **MODEL) == 1
    assert page.get("mistral_decode_duration_seconds_count", batch_size="1", **MODEL) in (n - 1, n)
    assert page.get("mistral_time_between_tokens_seconds_count", **MODEL) == n - 1
    assert page.get("mistral_queue_duration_seconds_count", **MODEL) == 1
    assert page.get("mistral_engine_steps_total", **MODEL) in (n, n + 1)
    assert page.get("mistral_prefix_cache_lookup_tokens_total", **MODEL) == usage["prompt_tokens"]
    assert page.get("mistral_prefix_cache_hit_tokens_total", **MODEL) == 0
    assert page.get("mistral_model_load_duration_seconds_count", **MODEL) == 1
    assert page.get("mistral_kv_blocks_capacity", **MODEL) == 1024 // 16
    assert page.get("mistral_kv_blocks_used", **MODEL) == 0
    assert page.get("mistral_kv_blocks_cached", **MODEL) == (usage["prompt_tokens"] + n - 1) // 16
    assert page.get("mistral_sequences_waiting_limit", **MODEL) == 1
    decode = page.get("mistral_decode_duration_seconds_sum", batch_size="1", **MODEL)
    prefill = page.get("mistral_prefill_duration_seconds_sum", batch_size="1", **MODEL)
    busy = page.get("mistral_device_busy_seconds_total", device="cpu", device_id="0")
    assert 0 < decode < busy and decode + prefill < busy * 1.5
    again = server.request("POST", CHAT, chat("hello there", max_tokens=2, seed=1)).json["usage"]
    hits = MetricsPage(server).get("mistral_prefix_cache_hit_tokens_total", **MODEL)
    assert hits == again["prompt_tokens_details"]["cached_tokens"] > 0


def test_the_program_says_which_it_is(server, mistral):
    (labels,) = [dict(labels) for name, labels in MetricsPage(server).samples if name == "mistral_build_info"]
    shown = subprocess.run([mistral, "--version"], capture_output=True, text=True, check=True).stdout
    assert shown == f"mistral {labels['version']} ({labels['commit']})\n"
    assert MetricsPage(server).get("mistral_build_info", **labels) == 1


def test_memory_of_the_device(server, model):
    page = MetricsPage(server)
    memory = {"device": "cpu", "device_id": "0"}
    weights = page.get("mistral_device_memory_usage_bytes", memory_type="weights", **memory)
    assert weights == model.stat().st_size
    # 1024 tokens of keys and values in f16: tests/tools/make_model.py has the model's shape.
    kv_cache = page.get("mistral_device_memory_usage_bytes", memory_type="kv_cache", **memory)
    assert kv_cache > 0 and kv_cache % 1024 == 0
    for name in ("mistral_metal_memory_usage_bytes", "mistral_metal_compute_utilization_ratio"):
        assert name not in page.text, "there is no Metal device"


def test_a_full_queue(roomy_server):
    """Two run, one waits, the fourth is turned away; the gauges say so while it lasts."""
    server, connections = roomy_server, []
    for i in range(3):
        connection = server.connect()
        body = chat(f"{i} go on", max_tokens=15000, stream=True, ignore_eos=True, seed=i)
        connection.sendall(make_request("POST", CHAT, body))
        connections.append(connection)
        if i < 2:
            receive_until(connection, b"data: ")
    for _ in range(500):
        page = MetricsPage(server)
        if page.get("mistral_sequences_waiting", **MODEL) == 1:
            break
    assert page.get("mistral_sequences_running", **MODEL) == 2
    assert page.get("mistral_batch_queue_size") == 1
    assert page.get("mistral_kv_blocks_used", **MODEL) > 0
    assert page.get("mistral_active_requests") == 3
    assert server.request("POST", CHAT, chat("one too many")).status == 503
    assert MetricsPage(server).get("mistral_rejections_total", reason="queue_full") == 1
    for connection in connections:
        connection.close()
    for _ in range(1000):
        page = MetricsPage(server)
        if page.get("mistral_kv_blocks_used", **MODEL) == 0 == page.get("mistral_active_requests"):
            break
    assert page.get("mistral_sequences_running", **MODEL) == 0
    assert page.get("mistral_batch_queue_size") == 0
    assert page.get("mistral_decode_duration_seconds_count", batch_size="2", **MODEL) > 0


def test_sequences_set_back_and_a_busy_device(server):
    """Two requests that each want more than half of the KV pool cannot both stay."""
    def one(i):
        body = chat(f"{i}", max_tokens=700, ignore_eos=True, seed=i)
        assert server.request("POST", CHAT, body).status == 200

    run_in_threads(2, one)
    page = MetricsPage(server)
    assert page.get("mistral_preemptions_total", **MODEL) >= 1
    assert page.get("mistral_generate_duration_seconds_count", **MODEL) == 2
    for _ in range(3000):
        ratio = MetricsPage(server).get("mistral_device_compute_utilization_ratio", device="cpu",
                                        device_id="0")
        if ratio > 0:
            break
    assert 0 < ratio <= 1


def test_guesses_are_counted_with_those_that_come_true(mistral, model, tmp_path):
    server = RealServer(mistral, model, "--draft-tokens", "8", "--temperature", "0", "--num-threads", "1", home=tmp_path)
    try:
        body = {"prompt": "the time of the people " * 20, "max_tokens": 200, "ignore_eos": True}
        answer = server.request("POST", "/v1/completions", body)
        assert answer.json["usage"]["completion_tokens"] == 200
        deadline = time.monotonic() + 10
        while True:
            page = MetricsPage(server)
            guessed = page.get("mistral_draft_tokens_total", **MODEL)
            came_true = page.get("mistral_draft_hit_tokens_total", **MODEL)
            steps = page.get("mistral_engine_steps_total", **MODEL)
            if 200 <= steps + came_true <= 208:
                break
            assert time.monotonic() < deadline, (steps, came_true)
    finally:
        server.stop()
    assert 0 < came_true <= guessed, "each step gives one token, and one more for each guess that came true"


@pytest.mark.release_only
def test_counting_costs_less_than_a_hundredth_of_a_step(mistral, smollm2, build_dir, tmp_path):
    """Of a small model's: a larger one's steps are longer. The margin is a factor of thousands."""
    cost = json.loads(subprocess.run([build_dir / "bench/metrics_bench", "20000"], capture_output=True, text=True,
                                     check=True).stdout)
    server = RealServer(mistral, smollm2, "--max-total-tokens", "1024", home=tmp_path)
    try:
        server.request("POST", "/v1/completions", {"prompt": "once upon a time", "max_tokens": 16, "ignore_eos": True})
        page = MetricsPage(server)
    finally:
        server.stop()
    step = page.sum("mistral_decode_duration_seconds_sum") / page.sum("mistral_decode_duration_seconds_count")
    assert 0 < cost["step_ns_1"] * 1e-9 < step / 100
    assert cost["page_us"] > 0
