"""mistral tune: what it recommends was measured, loads again, and is nothing where nothing helps."""

import json
import os
import signal
import tomllib

import pytest

from make_model import make_model
from program import Program, wait_until

pytestmark = pytest.mark.release_only # speed is what it is about


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


@pytest.fixture
def model(tmp_path):
    return str(make_model(tmp_path / "m.gguf", context=4096))


def test_a_setting_that_hurts_is_found_and_the_profile_loads(program, model, tmp_path):
    """A token at a time, a prompt takes many times as long. Other work may hide that from one run, not from five."""
    profile = tmp_path / "tuned.toml"
    for _ in range(5):
        told = json.loads(program.good("tune", model, "--prefill-chunk-size", "1", "--goal", "latency", "--budget", "0.3",
                                       "-p", "2048", "-n", "1", "--output", str(profile), "--json"))
        if told["recommended"]:
            break
    assert "performance.prefill_chunk_size" in told["recommended"], told
    assert told["ratio"] > 1.2 and "faster" in told["verdict"] and told["runs"] > 20
    assert (told["prompt"], told["generate"]) == (2048, 1)
    assert not any("max_batch_size" in row["settings"] for row in told["tried"])  # of no use to one request
    recommended = tomllib.loads(profile.read_text())
    flat = {f"{section}.{key}": str(value) for section, keys in recommended.items() for key, value in keys.items()}
    assert flat == told["recommended"]
    shown = json.loads(program.good("config", "show", "--config", str(profile), "--json"))["settings"]
    assert flat["performance.prefill_chunk_size"] in json.dumps(shown)


def test_everything_tried_is_told(program, model):
    text = program.good("tune", model, "--budget", "0.05", "-p", "16", "-n", "2")
    assert "as it is set" in text and "tokens/s" in text
    assert "keep what is set" in text or "faster, 95 %" in text


def test_a_run_that_does_not_end_in_time_is_cut(program, model, tmp_path):
    """65,000 tokens, one at a time, with the slowest kernels: minutes, if nothing stopped it."""
    profile = tmp_path / "tuned.toml"
    said = program.bad(2, "tune", model, "--kernels", "portable", "--prefill-chunk-size", "1", "--goal", "throughput",
                       "--budget", "0.05", "-p", "4000", "-n", "90", "--output", str(profile))
    assert said.startswith("not one run ended within the budget of 0.05 minutes") and not profile.exists()


def test_goals_have_names(program, model):
    assert "latency, throughput or balanced" in program.bad(2, "tune", model, "--goal", "speed")


def test_an_interrupt_ends_it_without_a_profile(program, model, tmp_path):
    profile = tmp_path / "tuned.toml"
    process = program.start("tune", model, "--budget", "5", "-p", "2000", "-n", "200", "--output", str(profile))
    wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1, seconds=60)  # the first candidate's engine
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"interrupted" in err and not profile.exists()
