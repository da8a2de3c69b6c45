"""mistral run with a prompt, tokenize and perplexity, on SmolLM2."""

import json
import math
import re
import signal
import subprocess

import numpy
import pytest

from program import Program

QUESTION = "What is the capital of France?"


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


@pytest.fixture
def run(program, smollm2):
    """Runs `mistral run` greedily; options and prompt follow."""
    return lambda *arguments, **settings: program("run", smollm2, "--temperature", "0", *arguments, **settings)


def answer(run, *arguments, **settings):
    done = run("--json", *arguments, **settings)
    assert done.returncode == 0, done.err
    return json.loads(done.out)


# Answers.


def test_the_answer_and_its_json_agree(run):
    plain = run("-n", "12", "-v", QUESTION)
    assert plain.returncode == 0, plain.err
    told = answer(run, "-n", "12", *QUESTION.split())
    assert plain.out == told["text"] + "\n"
    assert told["finish_reason"] == "length"
    assert told["generated_tokens"] == len(told["tokens"]) == 12
    assert told["prompt_tokens"] == len(told["prompt"]) > 20
    assert told["timings"]["prefill_seconds"] > 0 and told["timings"]["decode_tokens_per_second"] > 0
    assert re.fullmatch(r"prompt: \d+ tokens \(0 cached\), .* tokens/s; answer: 12 tokens, .* tokens/s\n", plain.err)
    assert "\x1b" not in plain.out + plain.err


def test_a_prompt_on_standard_input_is_the_same_prompt(run):
    words = answer(run, "-n", "4", QUESTION)
    for arguments, text in [([], QUESTION + "\n"), (["-"], QUESTION), (["What is the capital", "-"], "of France?\n")]:
        piped = answer(run, "-n", "4", *arguments, input=text.encode())
        assert (piped["prompt"], piped["text"]) == (words["prompt"], words["text"])


def test_the_template_is_the_models_own(run, program, smollm2):
    told = answer(run, "-n", "1", "--system", "Be brief.", "Hi")
    rendered = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    ids = program.good("tokenize", smollm2, "--ids", "--special", rendered)
    assert told["prompt"] == [int(word) for word in ids.split()]


def test_raw_goes_on_with_the_text(run, program, smollm2):
    told = answer(run, "-n", "6", "--raw", "The quick brown fox")
    assert told["prompt"] == [int(word) for word in program.good("tokenize", smollm2, "--ids", "The quick brown fox").split()]


def test_an_answer_that_ends_by_itself(run):
    told = answer(run, "-n", "64", "Hi")
    assert told["finish_reason"] == "stop" and told["generated_tokens"] < 64
    longer = answer(run, "-n", "64", "--ignore-end", "Hi")
    assert longer["finish_reason"] == "length" and longer["text"].startswith(told["text"])


def test_a_stop_text_ends_the_answer(run):
    whole = answer(run, "-n", "16", "Hi")["text"]
    word = whole.split()[3]
    told = answer(run, "-n", "16", "--stop", "never there", "--stop", word, "Hi")
    assert told["finish_reason"] == "stop"
    assert told["text"] == whole[: whole.index(word)]


@pytest.mark.release_only
def test_a_seed_makes_an_answer_again(program, smollm2):
    draw = lambda *more: json.loads(program.good("run", smollm2, "--json", "-n", "12", "--temperature", "1.5", *more, "Hi"))
    first = draw()
    assert draw("--seed", str(first["seed"]))["tokens"] == first["tokens"]
    assert {tuple(draw("--seed", str(seed))["tokens"]) for seed in (1, 2, 3)} != {tuple(first["tokens"])}


@pytest.mark.release_only
def test_portable_kernels_give_an_answer_too(run):
    fast, portable = answer(run, "-n", "3", "Hi"), answer(run, "-n", "3", "--portable-kernels", "Hi")
    assert portable["tokens"] == fast["tokens"]


def test_ctrl_c_stops_the_answer(program, smollm2):
    process = program.start("run", smollm2, "--temperature", "0", "--ignore-end", "Tell me a very long story.")
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == b"mistral: error: interrupted\n"
    assert first and out.endswith(b"\n")


def test_a_reader_that_leaves_ends_the_program(program, smollm2):
    process = program.start("run", smollm2, "--ignore-end", "Tell me a very long story.")
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait(30) == -signal.SIGPIPE
    process.stderr.close()


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
def test_a_prompt_that_is_none(program, smollm2, arguments, text, message):
    assert program.bad(2, "run", smollm2, *arguments, input=text) == message


def test_a_prompt_longer_than_the_context(program, smollm2):
    message = program.bad(2, "run", smollm2, "--max-sequence-length", "32", "word " * 40)
    assert re.search(r"the prompt has \d+ tokens; the context holds 32", message)


def test_the_context_ends_an_answer(run):
    told = answer(run, "--max-sequence-length", "48", "--ignore-end", "Hi")
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
    done = subprocess.run([build_dir / "tests/tools/logits", model, "best", "0"], check=True, capture_output=True,
                          input=" ".join(map(str, ids)).encode())
    return numpy.frombuffer(done.stdout, dtype="<f4").reshape(len(ids), -1).astype(float)


def test_perplexity_is_that_of_the_scored_halves(program, build_dir, smollm2, tmp_path):
    """The same sum, from the log-probabilities that the logits tool writes for each chunk."""
    text = "".join(f"{n} squared is {n * n}, and the day after it rained. " for n in range(40))
    (tmp_path / "text").write_text(text)
    ids = [int(word) for word in program.good("tokenize", smollm2, "--ids", text).split()]
    told = json.loads(program.good("perplexity", smollm2, tmp_path / "text", "--ctx", "64", "--chunks", "2", "--json"))
    losses = []
    for chunk in (ids[:64], ids[64:128]):
        logits = read_logits(build_dir, smollm2, chunk)
        logs = logits - numpy.logaddexp.reduce(logits, axis=1, keepdims=True)
        losses += [-logs[i][chunk[i + 1]] for i in range(32, 63)]
    assert told["scored_tokens"] == len(losses) == 62 and told["chunks"] == 2
    assert math.isclose(told["perplexity"], math.exp(numpy.mean(losses)), rel_tol=1e-4)
    spread = math.exp(numpy.mean(losses)) * numpy.std(losses) / math.sqrt(len(losses) - 1)
    assert math.isclose(told["error"], spread, rel_tol=1e-3)


def test_perplexity_of_too_little_text(program, smollm2, tmp_path):
    (tmp_path / "text").write_text("too short")
    assert "one chunk has 512" in program.bad(2, "perplexity", smollm2, tmp_path / "text")
    assert "is a directory" in program.bad(2, "perplexity", smollm2, tmp_path)
    assert "cannot open" in program.bad(3, "perplexity", smollm2, tmp_path / "none")
