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
    """A token at a time, a prompt takes many times as long: no noise hides that."""
    profile = tmp_path / "tuned.toml"
    told = json.loads(program.good("tune", model, "--prefill-chunk-size", "1", "--goal", "latency", "--budget", "0.5",
                                   "-p", "512", "-n", "1", "--output", str(profile), "--json"))
    assert "performance.prefill_chunk_size" in told["recommended"], told
    assert told["ratio"] > 1.2 and "faster" in told["verdict"] and told["runs"] > 20
    recommended = tomllib.loads(profile.read_text())
    flat = {f"{section}.{key}": str(value) for section, keys in recommended.items() for key, value in keys.items()}
    assert flat == told["recommended"]
    shown = json.loads(program.good("config", "show", "--config", str(profile), "--json"))["settings"]
    assert flat["performance.prefill_chunk_size"] in json.dumps(shown)


def test_everything_tried_is_told(program, model):
    text = program.good("tune", model, "--budget", "0.05", "-p", "16", "-n", "2")
    assert "as it is set" in text and "tokens/s" in text
    assert "keep what is set" in text or "faster, 95 %" in text


def test_goals_have_names(program, model):
    assert "latency, throughput or balanced" in program.bad(2, "tune", model, "--goal", "speed")


def test_an_interrupt_ends_it_without_a_profile(program, model, tmp_path):
    profile = tmp_path / "tuned.toml"
    process = program.start("tune", model, "--budget", "5", "-p", "2000", "-n", "200", "--output", str(profile))
    wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1, seconds=60)  # the first candidate's engine
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"interrupted" in err and not profile.exists()
