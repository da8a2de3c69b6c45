"""`mistral serve` under many clients that come and go: nothing lost, nothing mixed up, nothing kept.

A tiny random model, so that the engine is fast and the seams are what takes the time. What each
request must get is what another server gives it alone, one request at a time.
"""

import random
import threading
import time

import pytest
from make_model import make_model
from program import CHAT_TEMPLATE
from server_harness import RealServer, make_request, parse_answer, receive_all, run_in_threads, sse_objects

CLIENTS = 16
POOL_TOKENS = 1536  # far less than the clients ask for together: sequences are set back, too
WORDS = "time people water long little very after words called just where most know get through back".split()

STRESSED = ["--max-running-requests", "16", "--max-batch-size", "8", "--max-total-tokens", str(POOL_TOKENS),
            "--prefill-chunk-size", "48"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "nonsense.gguf", context=POOL_TOKENS,
                      chat_template=CHAT_TEMPLATE)


def make_requests(count):
    """Prompts of mixed length, some with a beginning in common, sampled and greedy, short and long answers."""
    dice = random.Random(8)
    beginning = " ".join(dice.choices(WORDS, k=60))
    made = []
    for i in range(count):
        words = " ".join(dice.choices(WORDS, k=dice.choice((1, 5, 20, 90))))
        made.append({
            "prompt": f"{beginning} {words}" if i % 3 == 0 else words,
            "max_tokens": dice.choice((1, 3, 10, 30, 60)), "seed": i, "temperature": 0 if i % 4 == 0 else 1,
            "ignore_eos": i % 5 == 0, "stream": True, "logprobs": 2 if i % 6 == 0 else None,
            **({"logit_bias": {"300": 60, "301": 60}} if i % 7 == 0 else {}),  # says little: drafts come true
        })
    return made


def content(events):
    """What must not differ: the text, why it ended, and every log-probability."""
    choices = [choice for event in events for choice in event["choices"]]
    return ("".join(choice["text"] for choice in choices), [c["finish_reason"] for c in choices if c["finish_reason"]],
            [c["logprobs"]["token_logprobs"] for c in choices if c.get("logprobs")])


def stream(server, request, leave_after=None):
    """The whole answer's content, or None when the client left after so many bytes."""
    with server.connect() as connection:
        connection.sendall(make_request("POST", "/v1/completions", request))
        if leave_after is not None:
            received = b""
            while len(received) < leave_after:
                piece = connection.recv(512)
                if not piece:
                    break
                received += piece
            return None
        answer = parse_answer(receive_all(connection))
    assert answer.status == 200, answer
    events, is_done = sse_objects(answer.body)
    assert is_done
    return content(events)


@pytest.fixture
def start(mistral, model, tmp_path):
    """Starts servers; those that a failed test leaves are stopped."""
    servers = []

    def start_one(*settings):
        servers.append(RealServer(mistral, model, *settings, home=tmp_path))
        return servers[-1]

    yield start_one
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def requests():
    return make_requests(50)


@pytest.fixture(scope="module")
def alone(mistral, model, requests, tmp_path_factory):
    server = RealServer(mistral, model, "--max-running-requests", "1", "--max-batch-size", "1",
                        "--no-prefix-caching", home=tmp_path_factory.mktemp("home"))
    answers = [stream(server, request) for request in requests]
    server.stop()
    assert len({answer[0] for answer in answers}) > len(answers) // 2, "they differ, or nothing is compared"
    return answers


def resident_bytes(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def storm(server, requests, alone, count, seed):
    """`count` requests from 16 clients, a third of which leave early; how many stayed."""
    lock = threading.Lock()
    dice = random.Random(seed)
    plan = [(dice.randrange(len(requests)), dice.choice((0, 1, 400, 1500)) if dice.random() < 0.33 else None)
            for _ in range(count)]
    stayed = []

    def client(_):
        while True:
            with lock:
                if not plan:
                    return
                index, leave_after = plan.pop()
            got = stream(server, requests[index], leave_after)
            if got is not None:
                assert got == alone[index], f"request {index} was told apart from itself alone: {requests[index]}"
                stayed.append(index)

    run_in_threads(CLIENTS, client)
    return len(stayed)


def assert_pool_is_whole(server):
    """One request needs every block there is: any that was kept would end it with an error."""
    body = {"prompt": "time", "max_tokens": POOL_TOKENS, "temperature": 0, "ignore_eos": True}
    answer = server.request("POST", "/v1/completions", body)
    assert answer.status == 200, answer
    assert answer.json["usage"]["total_tokens"] == POOL_TOKENS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("settings", [
    [],
    ["--draft-tokens", "8", "--no-memory-pooling"],
    ["--no-continuous-batching", "--prefix-cache-size", "0"],
], ids=" ".join)
def test_clients_that_come_and_go_do_not_change_what_others_get(settings, start, requests, alone):
    server = start(*STRESSED, *settings)
    assert storm(server, requests, alone, 100, seed=1) > 50
    assert_pool_is_whole(server)


@pytest.mark.release_only
@pytest.mark.timeout(300)
def test_five_hundred_requests_leave_nothing_behind(start, requests, alone):
    server = start(*STRESSED, "--draft-tokens", "4")
    stayed = storm(server, requests, alone, 250, seed=2)
    after_half = resident_bytes(server)
    files = server.open_files()
    stayed += storm(server, requests, alone, 250, seed=3)
    assert stayed > 250
    assert resident_bytes(server) < after_half + 16 * 1024 * 1024
    deadline = time.monotonic() + 30
    while server.open_files() > files + 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.open_files() <= files + 2
    assert_pool_is_whole(server)


def loaded(server):
    return next(event for event in server.log if event["event"] == "model_loaded")


def test_the_pool_is_the_least_of_its_two_bounds(start):
    for settings, tokens in [(["--max-total-tokens", "999"], 992),
                             (["--max-total-tokens", "999", "--memory-pool-size", "1G"], 992)]:
        server = start(*settings)
        event = loaded(server)
        assert (event["kv_tokens"], event["kv_cache_dtype"], event["attention"]) == (tokens, "f16", "tiled")
        block_bytes = event["kv_bytes"] // (tokens // 16)
    server = start("--memory-pool-size", str(10 * block_bytes + 1), "--no-flash-attention", "--kv-cache-dtype", "f32")
    assert (loaded(server)["kv_tokens"], loaded(server)["attention"]) == (80, "plain")
    answer = server.request("POST", "/v1/completions", {"prompt": "time " * 200, "max_tokens": 5})
    assert answer.status == 400 and "maximum context length is 80 tokens" in answer.json["error"]["message"]
    server = start("--no-memory-pooling", "--memory-pool-size", "1M")
    assert (loaded(server)["kv_tokens"], loaded(server)["kv_bytes"]) == (131072, 0)
