"""`mistral serve` with a real model (SmolLM2): answers, their independence, and what is given back."""

import asyncio
import json
import math
import random
import re
import statistics
import subprocess
import threading
import time

import openai
import pytest
from server_harness import RealServer, chat, make_request, parse_answer, receive_until

QUESTION = "Write two sentences about the sea."


@pytest.fixture(scope="module")
def server(mistral, smollm2, tmp_path_factory):
    server = RealServer(mistral, smollm2, "--max-running-requests", "8",
                        home=tmp_path_factory.mktemp("home"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key="unused", max_retries=0,
                       timeout=250) as client:
        yield client


def ask(client, content, **fields):
    fields.setdefault("max_tokens", 16)
    return client.chat.completions.create(
        model="SmolLM2-135M-Instruct.Q4_1", messages=[{"role": "user", "content": content}],
        **fields)


def test_the_server_answers_as_the_command_line_does(client, mistral, smollm2, tmp_path):
    run = subprocess.run(
        [mistral, "run", smollm2, "--temperature", "0", "--json", "-n", "24", QUESTION],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, capture_output=True, check=True)
    told = json.loads(run.stdout)
    answer = ask(client, QUESTION, temperature=0, max_tokens=24)
    assert answer.choices[0].message.content == told["text"]
    assert answer.usage.prompt_tokens == told["prompt_tokens"]
    assert answer.usage.completion_tokens == told["generated_tokens"]
    assert answer.choices[0].finish_reason == told["finish_reason"]


def test_a_stream_says_the_same_as_a_whole_answer(client):
    for fields in ({"temperature": 0}, {"temperature": 1.2, "seed": 7},
                   {"temperature": 1, "seed": 8, "top_p": 0.8, "extra_body": {"top_k": 20}}):
        whole = ask(client, QUESTION, **fields)
        chunks = list(ask(client, QUESTION, stream=True, **fields))
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == \
            whole.choices[0].message.content
        assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_choices_differ_and_a_seed_repeats_them(client):
    first, again = (ask(client, QUESTION, seed=3, n=3, temperature=1.0) for _ in range(2))
    texts = [c.message.content for c in first.choices]
    assert texts == [c.message.content for c in again.choices]
    assert len(set(texts)) == 3
    assert ask(client, QUESTION, seed=3, temperature=1.0).choices[0].message.content == texts[0]


def test_log_probabilities_are_probabilities(client):
    answer = ask(client, QUESTION, temperature=0, logprobs=True, top_logprobs=20)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    for entry in content:
        best = entry.top_logprobs[0]
        assert (best.token, best.logprob) == (entry.token, entry.logprob), "greedy takes the best"
        values = [t.logprob for t in entry.top_logprobs]
        assert values == sorted(values, reverse=True) and len(values) == 20
        assert 0 < sum(math.exp(v) for v in values) <= 1 + 1e-6
    text = b"".join(bytes(e.bytes) for e in content).decode("utf-8", "ignore")
    assert text.startswith(answer.choices[0].message.content)


def test_a_prompt_is_scored_token_by_token(client):
    def score(prompt):
        answer = client.completions.create(
            model="SmolLM2-135M-Instruct.Q4_1", prompt=prompt, max_tokens=0, echo=True, logprobs=1)
        logprobs = answer.choices[0].logprobs
        assert answer.choices[0].text == prompt
        assert "".join(logprobs.tokens) == prompt
        assert [prompt[o:o + len(t)] for t, o in
                zip(logprobs.tokens, logprobs.text_offset, strict=True)] == logprobs.tokens
        assert logprobs.token_logprobs[0] is None
        return sum(logprobs.token_logprobs[1:])

    assert score("The cat sat on the mat.") > score("The mat cat on. the sat") + 5


def test_a_stop_string_ends_the_answer_before_itself(client):
    whole = ask(client, QUESTION, temperature=0).choices[0].message.content
    word = whole.split()[3]
    stopped = ask(client, QUESTION, temperature=0, stop=[word])
    assert stopped.choices[0].message.content == whole[:whole.index(word)]
    assert stopped.choices[0].finish_reason == "stop"


def test_a_banned_token_is_not_taken(client, mistral, smollm2, tmp_path):
    first = ask(client, QUESTION, temperature=0, logprobs=True, max_tokens=1)
    token = first.choices[0].logprobs.content[0].token
    ids = subprocess.run([mistral, "tokenize", smollm2, "--ids", token], capture_output=True,
                         env={"HOME": str(tmp_path)}, check=True, text=True).stdout
    banned, = re.findall(r"\d+", ids)
    other = ask(client, QUESTION, temperature=0, logprobs=True, max_tokens=1,
                logit_bias={banned: -100})
    assert other.choices[0].logprobs.content[0].token != token


def test_a_prompt_longer_than_the_context_is_refused(client):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "word " * 9000)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"


def test_an_empty_prompt_is_refused(server):
    answer = server.request("POST", "/v1/completions", {"prompt": ""})
    assert answer.status == 400
    assert answer.json["error"]["param"] == "prompt"


def test_a_repeated_prompt_is_taken_from_the_cache(client):
    prompt = "Tell me about the number " + ", ".join(str(i) for i in range(40))
    first = ask(client, prompt, temperature=0, max_tokens=4)
    second = ask(client, prompt, temperature=0, max_tokens=4)
    assert first.choices[0].message.content == second.choices[0].message.content
    assert second.usage.prompt_tokens_details.cached_tokens > \
        0.8 * second.usage.prompt_tokens


# --- many clients ---


def mixed_requests():
    dice = random.Random(5)
    topics = ["the sea", "a red fox", "Paris", "numbers", "tea", "rain in May"]
    return [{"content": f"Say something about {dice.choice(topics)}. " + "Please. " * dice.randrange(30),
             "max_tokens": dice.randrange(2, 14), "seed": i, "temperature": 1.0}
            for i in range(12)]


@pytest.mark.release_only
def test_streams_with_random_disconnects_are_each_as_if_alone(server):
    """No token is lost or mixed: whoever stays to the end gets what they would get alone."""
    requests = mixed_requests()

    async def stream(client, request, leave_after=None):
        text = ""
        answer = await client.chat.completions.create(
            model="SmolLM2-135M-Instruct.Q4_1", stream=True, max_tokens=request["max_tokens"],
            seed=request["seed"], temperature=request["temperature"],
            messages=[{"role": "user", "content": request["content"]}])
        count = 0
        async for chunk in answer:
            text += chunk.choices[0].delta.content or ""
            count += 1
            if leave_after is not None and count > leave_after:
                await answer.close()
                return None
        return text

    async def everything():
        async with openai.AsyncOpenAI(base_url=server.base_url + "/v1", api_key="x", max_retries=0,
                                      timeout=250) as client:
            alone = [await stream(client, r) for r in requests]
            dice = random.Random(6)
            places = asyncio.Semaphore(16)

            async def one(i):
                async with places:
                    leave_after = dice.randrange(4) if dice.random() < 0.3 else None
                    return i, await stream(client, requests[i], leave_after)

            finished = 0
            for i, text in await asyncio.gather(*(one(i % len(requests)) for i in range(100))):
                if text is not None:
                    finished += 1
                    assert text == alone[i], f"request {i} was told apart from itself alone"
            assert finished > 50

    asyncio.run(everything())


@pytest.mark.release_only
def test_health_answers_while_the_engine_is_saturated(server):
    body = chat("Tell me a very long story. " * 20, max_tokens=60, n=8)
    worker = threading.Thread(target=server.request, args=("POST", "/v1/chat/completions", body))
    worker.start()
    times = []
    while worker.is_alive():
        started = time.monotonic()
        server.assert_healthy()
        times.append(time.monotonic() - started)
        time.sleep(0.01)
    worker.join()
    assert len(times) > 10
    assert statistics.median(times) < 0.05


@pytest.fixture
def small_server(mistral, smollm2, tmp_path):
    """Its pool holds one request of the full context and no more."""
    server = RealServer(mistral, smollm2, "--max-sequence-length", "1024", "--max-total-tokens",
                        "1024", "--prefill-chunk-size", "32", "--prefix-cache-size", "0",
                        home=tmp_path)
    yield server
    server.stop()


@pytest.mark.release_only
def test_clients_that_leave_give_everything_back(small_server):
    """Each takes most of the pool; one that kept it would lock the next out."""
    server = small_server
    prompt = "word " * 700
    for stream in (True, False) * 3:
        with server.connect() as connection:
            connection.sendall(make_request(
                "POST", "/v1/completions", {"prompt": prompt, "max_tokens": 300, "stream": stream}))
            time.sleep(0.15)  # in the middle of the prompt: it takes 22 steps
    answer = server.request("POST", "/v1/completions", {"prompt": prompt, "max_tokens": 2})
    assert answer.status == 200
    assert answer.json["usage"]["completion_tokens"] == 2
    left = [e for e in server.log if e.get("end") == "client_left"]
    assert len(left) == 6
    assert all(e["generated_tokens"] == 0 for e in left), "they were cancelled in their prompt"


def test_a_signal_lets_an_answer_finish(mistral, smollm2, tmp_path):
    server = RealServer(mistral, smollm2, home=tmp_path)
    with server.connect() as connection:
        connection.sendall(make_request("POST", "/v1/chat/completions", chat(
            QUESTION, stream=True, max_tokens=12, ignore_eos=True), keep_alive=True))
        start = receive_until(connection, b"data: ")
        server.signal()
        answer = parse_answer(start + receive_until(connection, b"[DONE]\n\n\r\n0\r\n\r\n"))
    assert answer.status == 200
    server.stop()
