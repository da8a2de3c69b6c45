"""SmolLM2-135M-Instruct (Q4_1) against llama.cpp's recorded answers. README.md tells the reasons.

The reference kernels multiply f32 activations with the decoded weights. They are held to llama.cpp
with the same weights in f32: the same token wherever its best two log-probabilities are more than
0.05 apart, and the ten best within 0.15, 0.03 on average.

The fast kernels round activations to 8 bits, as llama.cpp does on this file. How far that takes
llama.cpp from its own exact answer is recorded, and it is the measure for ours.
"""

import copy
import functools
import json
import math
import subprocess
from pathlib import Path

import numpy
import pytest

from logits_tool import log_softmax, run_logits, tokenize

pytestmark = [pytest.mark.release_only, pytest.mark.timeout(900)]

GOLDEN = json.loads((Path(__file__).parent / "smollm2.json").read_text(encoding="utf-8"))
PROMPTS = {entry["name"]: entry for entry in GOLDEN["prompts"]}
TEXT = Path(__file__).parent / "text.txt"

CLOSE_CALL = 0.05  # of the best two log-probabilities: either may come first
FAST_CLOSE_CALL = 0.5  # llama.cpp's own 8-bit run loses a lead of 0.16 here
LARGEST = 0.15
AVERAGE = 0.03
FAST_ALLOWANCE = 1.15  # times llama.cpp's own average deviation with 8-bit activations


def test_there_is_enough_to_compare():
    assert len(PROMPTS) >= 24
    assert sum(len(entry["steps"]) for entry in PROMPTS.values()) >= 1400
    assert TEXT.stat().st_size >= 50_000


@functools.cache
def our_steps(build_dir, model, name, kernels):
    """Log-probabilities [steps][vocabulary], with the recorded tokens fed."""
    entry = PROMPTS[name]
    fed = entry["tokens"] + [step["token"] for step in entry["steps"][:-1]]
    return log_softmax(run_logits(build_dir, model, fed, kernels)[len(entry["tokens"]) - 1 :])


def differences(steps, ours):
    """|difference| of each recorded top log-probability, [steps][10]."""
    return numpy.array([
        [abs(row[token] - logprob) for token, logprob in step["top"]] for step, row in zip(steps, ours, strict=True)
    ])


def other_choices(steps, ours, close_call):
    """Steps at which another token comes first although the recorded one leads clearly."""
    found = []
    for number, (step, row) in enumerate(zip(steps, ours, strict=True)):
        lead = step["top"][0][1] - step["top"][1][1]
        if lead > close_call and int(row.argmax()) != step["token"]:
            found.append(f"step {number}: expected token {step['token']} (lead {lead:.3f}), got {row.argmax()}")
    return found


@pytest.mark.parametrize("name", PROMPTS)
def test_reference_kernels_choose_the_same_tokens(build_dir, smollm2, name):
    steps = PROMPTS[name]["steps"]
    ours = our_steps(build_dir, smollm2, name, "portable")
    assert other_choices(steps, ours, CLOSE_CALL) == []
    assert differences(steps, ours).max() <= LARGEST


def test_reference_kernels_are_close_on_average(build_dir, smollm2):
    off = numpy.concatenate([
        differences(entry["steps"], our_steps(build_dir, smollm2, name, "portable")).ravel()
        for name, entry in PROMPTS.items()
    ])
    print(f"average {off.mean():.5f}, largest {off.max():.5f}")
    assert off.mean() <= AVERAGE


@pytest.mark.parametrize("name", PROMPTS)
def test_fast_kernels_choose_the_same_tokens(build_dir, smollm2, name):
    ours = our_steps(build_dir, smollm2, name, "auto")
    assert other_choices(PROMPTS[name]["steps"], ours, FAST_CLOSE_CALL) == []


def test_fast_kernels_deviate_no_more_than_llama_cpp(build_dir, smollm2):
    off = numpy.concatenate([
        differences(entry["steps"], our_steps(build_dir, smollm2, name, "auto")).ravel()
        for name, entry in PROMPTS.items()
    ])
    allowed = GOLDEN["quantised_deviation"]["mean"] * FAST_ALLOWANCE
    assert off.mean() <= allowed, f"average {off.mean():.4f}, allowed {allowed:.4f}; largest {off.max():.3f}"


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_become_the_same_tokens(build_dir, smollm2, name):
    entry = PROMPTS[name]
    assert tokenize(build_dir, smollm2, entry["text"], entry["is_chat"]) == entry["tokens"]


def test_reference_kernels_have_the_same_perplexity(build_dir, smollm2):
    """Two chunks of llama.cpp's exact run. The whole text goes through the fast kernels, below."""
    text_tokens = tokenize(build_dir, smollm2, TEXT.read_text(encoding="utf-8"), False)
    assert len(text_tokens) == GOLDEN["perplexity"]["exact"]["tokens"]
    context = GOLDEN["perplexity"]["context"]
    first = context // 2
    for number in (0, 21):
        part = text_tokens[number * context : (number + 1) * context]
        rows = log_softmax(run_logits(build_dir, smollm2, part, "portable"))
        ours = -numpy.mean([rows[i][part[i + 1]] for i in range(first, context - 1)])
        theirs = GOLDEN["perplexity"]["exact"]["chunks"][number]
        assert math.isclose(math.exp(ours), math.exp(theirs), rel_tol=0.005)


def test_perplexity_is_that_of_llama_cpp(mistral, smollm2):
    """The whole text, the same file, each with its own 8-bit activations."""
    done = subprocess.run(
        [mistral, "perplexity", smollm2, TEXT, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = json.loads(done.stdout), GOLDEN["perplexity"]["quantised"]
    assert ours["context"] == GOLDEN["perplexity"]["context"]
    assert ours["chunks"] == len(theirs["chunks"])
    assert math.isclose(ours["perplexity"], theirs["perplexity"], rel_tol=0.005), ours["perplexity"]


@pytest.mark.parametrize("name", ["chat capital", "chat one letter", "raw letter", "raw list"])
def test_the_program_says_the_same(mistral, smollm2, name):
    """End to end: template, tokenizer, cache, sampler. None of these has a close call on its way."""
    entry = PROMPTS[name]
    assert min(step["top"][0][1] - step["top"][1][1] for step in entry["steps"]) > CLOSE_CALL
    prompt = entry["messages"][0]["content"] if entry["is_chat"] else entry["text"]
    command = [mistral, "run", smollm2, "--json", "--temperature", "0", "--max-tokens", "64", "--kernels", "portable"]
    done = subprocess.run(
        command + ([] if entry["is_chat"] else ["--raw"]), input=prompt, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["prompt"] == entry["tokens"]
    recorded = [step["token"] for step in entry["steps"]]
    # The token that ends an answer is not part of it.
    assert answer["tokens"] == (recorded if len(recorded) == 64 else recorded[:-1])
    assert answer["finish_reason"] == ("length" if len(recorded) == 64 else "stop")


def test_the_comparison_can_fail():
    """A shifted log-probability and a swapped token are seen."""
    entry = copy.deepcopy(GOLDEN["prompts"][0])
    rows = numpy.full((len(entry["steps"]), 49152), -30.0)
    for row, step in zip(rows, entry["steps"]):
        for token, logprob in step["top"]:
            row[token] = logprob
    assert other_choices(entry["steps"], rows, CLOSE_CALL) == []
    assert differences(entry["steps"], rows).max() == 0
    clear = next(i for i, step in enumerate(entry["steps"]) if step["top"][0][1] - step["top"][1][1] > 1)
    rows[clear][entry["steps"][clear]["top"][1][0]] += 40
    assert len(other_choices(entry["steps"], rows, CLOSE_CALL)) == 1
    assert differences(entry["steps"], rows).max() > LARGEST
