"""mistral run with a prompt, tokenize and perplexity, on SmolLM2."""

import json
import math
import re
import signal
import subprocess

import numpy
import pytest
from make_model import make_model

from program import Program, make_chat_model

QUESTION = "What is the capital of France?"


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


@pytest.fixture(scope="module")
def nonsense(tmp_path_factory):
    return make_chat_model(tmp_path_factory.mktemp("models"))


def answer(program, model, *arguments, **settings):
    """What a greedy run tells as JSON."""
    return json.loads(program.good("run", model, "--json", "--temperature", "0", *arguments, **settings))


# Answers.


def test_the_answer_and_its_json_agree(program, smollm2):
    plain = program("run", smollm2, "--temperature", "0", "-n", "5", "-v", QUESTION)
    assert plain.returncode == 0, plain.err
    told = answer(program, smollm2, "-n", "5", *QUESTION.split())
    assert plain.out == told["text"] + "\n"
    assert told["finish_reason"] == "length"
    assert told["generated_tokens"] == len(told["tokens"]) == 5
    assert told["prompt_tokens"] == len(told["prompt"]) > 20
    assert told["timings"]["prefill_seconds"] > 0 and told["timings"]["decode_tokens_per_second"] > 0
    assert re.fullmatch(r"prompt: \d+ tokens \(0 cached\), .* tokens/s; answer: 5 tokens, .* tokens/s\n", plain.err)
    assert "\x1b" not in plain.out + plain.err


def test_the_template_is_the_models_own(program, smollm2):
    told = answer(program, smollm2, "-n", "1", "--system", "Be brief.", "Hi")
    rendered = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    ids = program.good("tokenize", smollm2, "--ids", "--special", rendered)
    assert told["prompt"] == [int(word) for word in ids.split()]


def test_a_template_that_begins_with_bos_gets_no_second_one(program, nonsense):
    told = answer(program, nonsense, "-n", "1", "Hi")
    ids = program.good("tokenize", nonsense, "--ids", "[user] Hi\n[assistant]")
    assert told["prompt"] == [int(word) for word in ids.split()]
    assert told["prompt"].count(1) == 1


def test_an_answer_that_ends_by_itself_or_by_a_stop_text(program, smollm2):
    told = answer(program, smollm2, "-n", "64", "Hi")
    assert told["finish_reason"] == "stop" and told["generated_tokens"] < 64
    word = told["text"].split()[3]
    stopped = answer(program, smollm2, "-n", "64", "--stop", "never there", "--stop", word, "Hi")
    assert stopped["finish_reason"] == "stop"
    assert stopped["text"] == told["text"][: told["text"].index(word)]
    longer = answer(program, smollm2, "-n", "16", "--ignore-end", "Hi")
    assert longer["finish_reason"] == "length" and longer["text"].startswith(told["text"])


def test_a_prompt_on_standard_input_is_the_same_prompt(program, nonsense):
    words = answer(program, nonsense, "-n", "4", QUESTION)
    for arguments, text in [([], QUESTION + "\n"), (["-"], QUESTION), (["What is the capital", "-"], "of France?\n")]:
        piped = answer(program, nonsense, "-n", "4", *arguments, input=text.encode())
        assert (piped["prompt"], piped["text"]) == (words["prompt"], words["text"])


def test_raw_goes_on_with_the_text(program, nonsense):
    told = answer(program, nonsense, "-n", "6", "--raw", "The quick brown fox")
    assert told["prompt"] == [int(word) for word in program.good("tokenize", nonsense, "--ids", "The quick brown fox").split()]
    assert told["prompt"][0] == 1  # BOS


def test_a_seed_makes_an_answer_again(program, nonsense):
    draw = lambda *more: json.loads(program.good("run", nonsense, "--json", "-n", "12", "--temperature", "1.5", *more, "Hi"))
    first = draw()
    assert draw("--seed", str(first["seed"]))["tokens"] == first["tokens"]
    assert {tuple(draw("--seed", str(seed))["tokens"]) for seed in (1, 2, 3)} != {tuple(first["tokens"])}


def test_options_reach_the_sampler(program, nonsense):
    """Each of them, set to leave one token over, makes a hot draw the greedy one."""
    greedy = answer(program, nonsense, "-n", "8", "Hi")["tokens"]
    for option in (["--top-k", "1"], ["--top-p", "0"], ["--min-p", "1"]):
        hot = json.loads(program.good("run", nonsense, "--json", "-n", "8", "--temperature", "5", *option, "Hi"))
        assert hot["tokens"] == greedy, option
    penalised = answer(program, nonsense, "-n", "64", "--ignore-end", "--frequency-penalty", "100", "Hi")["tokens"]
    assert len(set(penalised)) == 64


def test_portable_kernels_give_the_same_answer(program, nonsense):
    fast, portable = (answer(program, nonsense, "-n", "8", *more, "Hi") for more in ([], ["--kernels", "portable"]))
    assert portable["tokens"] == fast["tokens"]


def test_ctrl_c_stops_the_answer(program, nonsense):
    process = program.start("run", nonsense, "--temperature", "0", "--ignore-end", "Tell me a very long story.")
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == b"mistral: error: interrupted\n"
    assert first and out.endswith(b"\n")


def test_a_reader_that_leaves_ends_the_program(program, nonsense):
    process = program.start("run", nonsense, "--ignore-end", "Tell me a very long story.")
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait(30) == -signal.SIGPIPE
    process.stderr.close()


def test_a_model_without_a_chat_template(program, tmp_path):
    model = make_model(tmp_path / "plain.gguf")
    assert "has no chat template" in program.bad(1, "run", model, "Hi")
    assert answer(program, model, "-n", "2", "--raw", "Hi")["generated_tokens"] <= 2


# Prompts that cannot be.


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        ([""], None, "the prompt is empty"),
        (["-"], b"", "the prompt is empty"),
        ([], b"\n", "the prompt is empty"),
        (["-"], b"ab\xffc", "the prompt is not UTF-8: byte 2 (0xff)"),
        (["-"], b"\xed\xa0\x80", "the prompt is not UTF-8: byte 0 (0xed)"),
        ([b"ab\xc3"], None, "the prompt is not UTF-8: byte 2 (0xc3)"),
        (["--system", b"\xff", "hi"], None, "the system text is not UTF-8: byte 0 (0xff)"),
    ],
)
def test_a_prompt_that_is_none(program, nonsense, arguments, text, message):
    assert program.bad(2, "run", nonsense, *arguments, input=text) == message


def test_a_prompt_longer_than_the_context(program, nonsense):
    message = program.bad(2, "run", nonsense, "--max-sequence-length", "32", "word " * 40)
    assert re.search(r"the prompt has \d+ tokens; the context holds 32", message)


def test_the_context_ends_an_answer(program, nonsense):
    told = answer(program, nonsense, "--max-sequence-length", "48", "--ignore-end", "Hi")
    assert told["finish_reason"] == "length"
    assert told["prompt_tokens"] + told["generated_tokens"] == 48


# tokenize


def test_tokenize(program, smollm2):
    assert program.good("tokenize", smollm2, "Hello wörld") == '   19556  "Hello"\n     267  " w"\n   29989  "ör"\n     400  "ld"\n'
    assert program.good("tokenize", smollm2, "--ids", "--special", "<|im_start|>user") == "1 4093\n"
    assert program.good("tokenize", smollm2, "--ids", "<|im_start|>user") != "1 4093\n"
    assert program.good("tokenize", smollm2, "--ids", input=b"") == "\n"


def test_tokenize_as_json_gives_every_byte_back(program, smollm2):
    text = "naïve 😀\n\tcafé".encode() + b"\x80\xc3"
    told = json.loads(program.good("tokenize", smollm2, "--json", input=text + b"\n"))
    assert told["count"] == len(told["tokens"])
    assert b"".join(bytes(token["bytes"]) for token in told["tokens"]) == text


# perplexity


def read_logits(build_dir, model, ids):
    done = subprocess.run([build_dir / "tests/tools/logits", model, "auto", "0"], check=True, capture_output=True,
                          input=" ".join(map(str, ids)).encode())
    return numpy.frombuffer(done.stdout, dtype="<f4").reshape(len(ids), -1).astype(float)


def test_perplexity_is_that_of_the_scored_halves(program, build_dir, nonsense, tmp_path):
    """The same sum, from the log-probabilities that the logits tool writes for each chunk."""
    text = "".join(f"{n} squared is {n * n}, and the day after it rained. " for n in range(40))
    (tmp_path / "text").write_text(text)
    ids = [int(word) for word in program.good("tokenize", nonsense, "--ids", text).split()]
    told = json.loads(program.good("perplexity", nonsense, tmp_path / "text", "--ctx", "64", "--chunks", "2", "--json"))
    losses = []
    for chunk in (ids[:64], [1] + ids[65:128]):
        logits = read_logits(build_dir, nonsense, chunk)
        logs = logits - numpy.logaddexp.reduce(logits, axis=1, keepdims=True)
        losses += [-logs[i][chunk[i + 1]] for i in range(32, 63)]
    assert told["scored_tokens"] == len(losses) == 62 and told["chunks"] == 2
    assert math.isclose(told["perplexity"], math.exp(numpy.mean(losses)), rel_tol=1e-4)
    spread = math.exp(numpy.mean(losses)) * numpy.std(losses) / math.sqrt(len(losses) - 1)
    assert math.isclose(told["error"], spread, rel_tol=1e-3)


def test_perplexity_of_too_little_text(program, nonsense, tmp_path):
    (tmp_path / "text").write_text("too short")
    assert "one chunk has 512" in program.bad(2, "perplexity", nonsense, tmp_path / "text")
    assert "is a directory" in program.bad(2, "perplexity", nonsense, tmp_path)
    assert "cannot open" in program.bad(3, "perplexity", nonsense, tmp_path / "none")
