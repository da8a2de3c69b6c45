"""llama-server's routes beside OpenAI's: tokens, templates, plain completion, state."""

import pytest
from make_model import make_model
from server_harness import FakeServer, RealServer, chat, make_request, receive_until, sse_objects

FILL = ["[PREFIX]", "[SUFFIX]", "[MIDDLE]"]
TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"


@pytest.fixture(scope="module")
def fake(build_dir):
    server = FakeServer(build_dir, "context=500", "max_requests=3")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def server(mistral, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model = make_model(folder / "tiny.gguf", controls=FILL, chat_template=TEMPLATE)
    server = RealServer(mistral, model, "--max-running-requests", "5", home=folder)
    yield server
    server.stop()


def post(server, path, body):
    answer = server.request("POST", path, body)
    assert answer.status == 200, answer
    return answer.json


# --- tokens and templates ---


def test_a_prompt_of_one_token_is_echoed_with_the_null_it_has(server):
    choice = post(server, "/v1/completions", {"prompt": [300], "echo": True, "logprobs": 1, "max_tokens": 2, "ignore_eos": True})["choices"][0]
    assert len(choice["logprobs"]["tokens"]) == 3
    assert choice["logprobs"]["token_logprobs"][0] is None and None not in choice["logprobs"]["token_logprobs"][1:]


@pytest.mark.parametrize("text", ["the old house", "", " two  spaces ", "grün 日本 🌍", "<s> is text </s>", "a\nb\tc"])
def test_tokens_go_there_and_back(server, text):
    tokens = post(server, "/tokenize", {"content": text, "parse_special": False})["tokens"]
    assert post(server, "/detokenize", {"tokens": tokens}) == {"content": text}
    with_bos = post(server, "/tokenize", {"content": text, "parse_special": False, "add_special": True})["tokens"]
    assert with_bos == [1, *tokens]


def test_special_tokens_are_read_unless_told_otherwise(server):
    assert post(server, "/tokenize", {"content": "<s>"})["tokens"] == [1]
    assert len(post(server, "/tokenize", {"content": "<s>", "parse_special": False})["tokens"]) > 1


def test_pieces_are_text_or_bytes(server):
    rows = post(server, "/tokenize", {"content": "the 日", "with_pieces": True})["tokens"]
    assert rows[0] == {"id": rows[0]["id"], "piece": " the"}
    assert [row["piece"] for row in rows[-3:]] == [[byte] for byte in "日".encode()]


def test_the_template_gives_what_chat_reads(server):
    body = {"messages": [{"role": "user", "content": "the old house"}]}
    prompt = post(server, "/apply-template", body)["prompt"]
    assert prompt == "[user]the old house[assistant]"
    whole = post(server, "/v1/chat/completions", {**body, "max_tokens": 1})
    assert whole["usage"]["prompt_tokens"] == len(
        post(server, "/tokenize", {"content": prompt, "add_special": True})["tokens"])


@pytest.mark.release_only
def test_a_template_s_bos_stays_where_nothing_adds_it_again(mistral, smollm2, tmp_path):
    """SmolLM2's template begins with its BOS, and its tokenizer adds none."""
    server = RealServer(mistral, smollm2, home=tmp_path)
    try:
        body = {"messages": [{"role": "user", "content": "hello"}]}
        prompt = post(server, "/apply-template", body)["prompt"]
        chat = post(server, "/v1/chat/completions", {**body, "max_tokens": 1})
        text = post(server, "/completion", {"prompt": prompt, "n_predict": 1})
    finally:
        server.stop()
    assert prompt.startswith("<|im_start|>system")
    assert text["tokens_evaluated"] == chat["usage"]["prompt_tokens"]


@pytest.mark.parametrize("path, body", [
    ("/tokenize", {}), ("/tokenize", {"content": 7}), ("/detokenize", {}), ("/detokenize", {"tokens": "a"}),
    ("/detokenize", {"tokens": [99999]}), ("/detokenize", {"tokens": [-1]}), ("/detokenize", {"tokens": ["a"]}),
    ("/apply-template", {}), ("/apply-template", {"messages": []}), ("/infill", {}), ("/completion", {}),
    ("/tokenize", []),
])
def test_wrong_requests_are_refused(fake, path, body):
    answer = fake.request("POST", path, body)
    assert answer.status == 400, answer
    assert answer.json["error"]["message"]


# --- completions ---


def test_a_completion_has_llama_servers_fields(fake):
    answer = post(fake, "/completion", {"prompt": "hello [[tokens=3]]", "temperature": 0, "cache_prompt": True,
                                        "n_predict": -1, "id_slot": 0})
    assert len(answer["content"].split()) == 3
    assert answer["stop"] is True and answer["stop_type"] == "eos" and answer["truncated"] is False
    assert answer["tokens_predicted"] > 0 and answer["tokens_evaluated"] == 1 + len("hello [[tokens=3]]")
    timings = answer["timings"]
    assert timings["prompt_n"] == answer["tokens_evaluated"] and timings["predicted_n"] == answer["tokens_predicted"]
    assert all(timings[name] >= 0 for name in ("prompt_ms", "predicted_ms", "predicted_per_second", "cache_n"))
    limited = post(fake, "/completion", {"prompt": "hello", "n_predict": 2})
    assert limited["stop_type"] == "limit" and limited["tokens_predicted"] == 2
    first = answer["content"][3]
    stopped = post(fake, "/completion", {"prompt": "hello [[tokens=3]]", "temperature": 0, "stop": ["nope", first]})
    assert stopped["stop_type"] == "word" and stopped["stopping_word"] == first
    assert stopped["content"] == answer["content"].split(first)[0]


def test_a_streamed_completion_says_the_same(fake):
    body = {"prompt": "hello [[tokens=20]]", "seed": 4}
    whole = post(fake, "/completion", body)
    pieces, is_done = sse_objects(fake.request("POST", "/completion", {**body, "stream": True}).body)
    assert not is_done, "llama-server's own stream has no [DONE]"
    assert "".join(piece["content"] for piece in pieces) == whole["content"]
    assert [piece["stop"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1]["stop_type"] == "eos" and pieces[-1]["timings"]["predicted_n"] == whole["tokens_predicted"]


def test_a_negative_seed_is_a_fresh_one(fake):
    texts = {post(fake, "/completion", {"prompt": "a [[tokens=20]]", "seed": -1, "temperature": 1})["content"]
             for _ in range(5)}
    assert len(texts) > 1


def test_openai_answers_have_timings(fake):
    answer = post(fake, "/v1/chat/completions", chat("hello [[tokens=3]]", cache_prompt=False))
    assert answer["timings"]["predicted_n"] == answer["usage"]["completion_tokens"]


# --- in the middle ---


def tokens_of(server, body):
    """The prompt's tokens as the model was given them."""
    answer = post(server, "/v1/completions", {**body, "max_tokens": 0, "echo": True, "logprobs": 0})
    return answer["choices"][0]["logprobs"]["tokens"]


def test_a_suffix_is_put_where_the_model_wants_it(server):
    """Mistral's order: the suffix comes first. Nothing typed by users is a control token."""
    tokens = tokens_of(server, {"prompt": "the old", "suffix": "house"})
    assert tokens[:2] == ["<s>", "[SUFFIX]"] and tokens.count("[PREFIX]") == 1
    assert "".join(tokens) == "<s>[SUFFIX]house[PREFIX] the old", "no space where the gap ends"
    forged = tokens_of(server, {"prompt": "the [SUFFIX] old", "suffix": "</s>"})
    assert forged.count("[SUFFIX]") == 1 and "</s>" not in forged
    assert "".join(tokens_of(server, {"prompt": "the old", "suffix": ""})) == "<s> the old"


def test_infill_fills_in(server):
    answer = post(server, "/infill", {"input_prefix": "the ", "prompt": "old", "input_suffix": "house", "n_predict": 4,
                                      "input_extra": [{"filename": "a.txt", "text": "water"}]})
    assert answer["tokens_predicted"] == 4
    plain = post(server, "/infill", {"input_prefix": "the old", "input_suffix": "house", "n_predict": 1})
    assert plain["tokens_evaluated"] == len(tokens_of(server, {"prompt": "the old", "suffix": "house"}))


def test_a_model_that_cannot_fill_in_says_so(fake):
    for path, body in (("/infill", {"input_prefix": "a", "input_suffix": "b"}),
                       ("/v1/completions", {"prompt": "a", "suffix": "b"})):
        answer = fake.request("POST", path, body)
        assert answer.status == 400 and "cannot fill in the middle" in answer.json["error"]["message"]


# --- state ---


def test_props_tell_of_the_model(server):
    props = server.request("GET", "/props").json
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert props["total_slots"] == 5
    assert props["chat_template"] == TEMPLATE
    assert (props["bos_token"], props["eos_token"]) == ("<s>", "</s>")
    assert props["model_path"].endswith("tiny.gguf")


def test_slots_show_what_runs(fake):
    idle = fake.request("GET", "/slots").json
    assert [slot["is_processing"] for slot in idle] == [False] * 3
    with fake.connect() as connection:
        connection.sendall(make_request("POST", "/v1/completions", {
            "prompt": "a [[tokens=500 delay=20]]", "max_tokens": 1000, "stream": True}))
        receive_until(connection, b"data: ")
        slots = fake.request("GET", "/slots").json
    assert [slot["is_processing"] for slot in slots] == [True, False, False]
    assert slots[0]["route"] == "/v1/completions" and slots[0]["params"]["n_predict"] == 1000
    assert slots[0]["next_token"]["n_decoded"] > 0
    assert slots[0]["n_prompt_tokens"] == 1 + len("a [[tokens=500 delay=20]]")


def test_what_cannot_be_done_is_said(fake):
    for path in ("/slots/0", "/slots/0?action=save", "/lora-adapters"):
        answer = fake.request("POST", path, {})
        assert answer.status == 501 and answer.json["error"]["code"] == "not_supported"
    assert fake.request("GET", "/lora-adapters").json == []
