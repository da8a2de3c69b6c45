"""Quantising at load: what is made, kept, thrown away and made again, seen from outside."""

import json
import os
import signal
import time

import gguf
import pytest

from checkpoint_folder import make_folder
from make_model import make_model
from program import Program, wait_until
from server_harness import RealServer
from test_quantize import write_large_model

SHAPE = {"layers": 4, "heads": 8, "kv_heads": 2, "head_dim": 32, "width": 256, "feed_forward": 512, "vocabulary": 500}
ASK = ("--raw", "--max-tokens", "12", "--temperature", "0", "the water")


class Loading(Program):
    """A program that quantises, with a cache of its own."""

    def __init__(self, mistral, home):
        super().__init__(mistral, home)
        self.environment["MISTRAL_DYNAMIC_QUANTIZATION"] = "true"
        self.cache = home / ".cache" / "mistral" / "converted"

    def entries(self):
        return sorted(path for path in self.cache.glob("*")) if self.cache.is_dir() else []

    def ask(self, model, *settings):
        return self.good("run", str(model), *settings, *ASK)


@pytest.fixture
def program(mistral, tmp_path):
    return Loading(mistral, tmp_path)


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("load") / "plain.gguf", format="F16", **SHAPE)


def test_a_float_model_is_quantised_once_and_kept(program, plain, tmp_path):
    program.good("quantize", str(plain), str(tmp_path / "by-hand.gguf"), "q5_k_m")
    wanted = program.ask(tmp_path / "by-hand.gguf")
    assert program.ask(plain) == wanted
    (entry,) = program.entries()
    by_hand = (tmp_path / "by-hand.gguf").read_bytes()
    assert entry.read_bytes()[: len(by_hand)] == by_hand  # and a checksum behind it
    before = entry.stat().st_ino
    assert program.ask(plain) == wanted
    assert [path.stat().st_ino for path in program.entries()] == [before]
    assert wanted != program.ask(plain, "--no-dynamic-quantization"), "the formats can be told apart"


def test_the_format_is_the_settings(program, plain):
    program.ask(plain, "--default-quantization", "q4_0")
    program.ask(plain, "--default-quantization", "q8_0")
    formats = {tensor.tensor_type.name for entry in program.entries() for tensor in gguf.GGUFReader(entry).tensors
               if tensor.name == "blk.0.ffn_up.weight"}
    assert formats == {"Q4_0", "Q8_0"}


def test_nothing_is_done_where_nothing_is_gained(program, plain, smollm2):
    program.ask(plain, "--default-quantization", "f16")
    program.ask(plain, "--no-dynamic-quantization")
    program.ask(smollm2)
    assert program.entries() == []


def test_a_changed_source_is_another_entry(program, plain, tmp_path):
    model = tmp_path / "model.gguf"
    model.write_bytes(plain.read_bytes())
    program.ask(model)
    make_model(model, format="F16", seed=5, **SHAPE)
    program.ask(model)
    assert len(program.entries()) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_entry_is_made_again(program, plain, damage):
    wanted = program.ask(plain)
    (entry,) = program.entries()
    good = entry.read_bytes()
    bad = {"flip": good[:9000] + bytes([good[9000] ^ 1]) + good[9001:], "cut": good[:-100], "empty": b""}[damage]
    entry.write_bytes(bad)
    done = program("run", str(plain), *ASK)
    assert (done.returncode, done.out) == (0, wanted)
    assert "converted_model_damaged" in done.err
    assert entry.read_bytes() == good


def test_what_was_used_least_recently_goes(program, tmp_path):
    models = [make_model(tmp_path / f"m{i}.gguf", format="F16", seed=i, **SHAPE) for i in range(3)]
    program.ask(models[0])
    (entry,) = program.entries()
    limit = str(int(entry.stat().st_size * 2.5))
    names = []
    for use in (1, 0, 2):  # 0 is used again, so 1 has to make room
        program.ask(models[use], "--quantization-cache-size", limit)
        names = [path.name.split(".")[0] for path in program.entries()]
    assert names == ["m0", "m2"]


def test_what_is_larger_than_the_cache_is_used_and_not_kept(program, plain):
    wanted = program.ask(plain)
    program.entries()[0].unlink()
    done = program("run", str(plain), "--quantization-cache-size", "1000", *ASK)
    assert (done.returncode, done.out) == (0, wanted)
    assert "not kept" in done.err
    assert program.entries() == []


def test_two_processes_make_one_entry(program, plain):
    wanted = program.ask(plain)
    program.entries()[0].unlink()
    processes = [program.start("run", str(plain), *ASK) for _ in range(4)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.decode() == wanted
    assert len(program.entries()) == 1


def test_a_killed_process_leaves_nothing_that_matters(program, plain, tmp_path):
    write_large_model(tmp_path / "large.gguf")
    process = program.start("run", str(tmp_path / "large.gguf"), "--quantization-cache-size", "64G", *ASK)
    wait_until(lambda: any(path.stat().st_size > 0 for path in program.entries()), 60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (left,) = program.entries()
    assert left.suffix == ".part"
    program.ask(plain)
    assert [path.suffix for path in program.entries()] == [".gguf"]


def test_ctrl_c_stops_it_and_leaves_nothing(program, tmp_path):
    write_large_model(tmp_path / "large.gguf")
    process = program.start("run", str(tmp_path / "large.gguf"), "--quantization-cache-size", "64G", *ASK)
    wait_until(lambda: program.entries() != [], 60)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - start < 30
    assert program.entries() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_cache_that_cannot_be_written_is_an_error(program, plain):
    program.cache.parent.parent.mkdir()
    program.cache.parent.parent.chmod(0o500)
    assert "cannot create" in program.bad(1, "run", str(plain), *ASK)


# ---- folders ----


def test_a_folder_runs_by_path_and_by_name(program, tmp_path):
    folder = make_folder(tmp_path / ".local/share/mistral/models/mine/tiny", "llama_tied")
    by_path = program.ask(folder, "--no-dynamic-quantization")
    assert by_path == program.ask("mine/tiny", "--no-dynamic-quantization")
    listed = json.loads(program.good("list", "--json"))["models"]
    assert [(row["name"], row["path"]) for row in listed] == [("mine/tiny", str(folder))]
    assert listed[0]["bytes"] == (folder / "model.safetensors").stat().st_size
    (entry,) = program.entries()
    assert ".f32." in entry.name


def test_the_kind_of_model_can_be_asked_for(program, plain, tmp_path):
    folder = make_folder(tmp_path / "tiny")
    assert program.ask(folder, "--model-type", "plain") == program.ask(folder)
    assert "model.model_type is gguf" in program.bad(2, "run", str(folder), "--model-type", "gguf", *ASK)
    assert "model.model_type is plain" in program.bad(2, "run", str(plain), "--model-type", "plain", *ASK)


def test_show_and_check_know_what_will_be_loaded(program, plain, tmp_path):
    folder = make_folder(tmp_path / "tiny", "mistral_window")
    assert "loaded as" in program.good("show", str(plain))
    assert "loaded as" not in program.good("show", str(plain), "--no-dynamic-quantization")
    shown = json.loads(program.good("show", str(folder), "--json"))
    assert shown["metadata"]["llama.attention.sliding_window"] == 12
    check = ("check", "--quick", "--json", "--port", "0", "--ollama-port", "0")

    def finding(*settings):
        rows = json.loads(program(*check, str(plain), *settings).out)["findings"]
        return next(row["text"] for row in rows if row["check"] == "model")

    assert "of q5_k_m" in finding() and "once" in finding()
    assert "each time" in finding("--quantization-cache-size", "1000")
    assert "converted" not in finding("--no-dynamic-quantization")
    assert program.entries() == [], "only looked at"


def test_the_server_quantises_and_says_so(mistral, program, plain, tmp_path):
    models = tmp_path / ".local/share/mistral/models"
    make_folder(models / "tiny")
    server = RealServer(mistral, plain, "--ollama-port", "0", "--dynamic-quantization", home=tmp_path)
    try:
        line = server.wait_log(lambda entry: entry["event"] == "model_converted")
        assert line["format"] == "q5_k_m"
        assert server.wait_log(lambda entry: entry["event"] == "model_loaded")["path"] == str(plain)
        answer = server.request("POST", "/v1/completions", {"model": "tiny", "prompt": "the", "max_tokens": 4})
        assert answer.status == 200, answer
        answer = server.request("POST", "/api/show", {"model": "tiny"})
        assert answer.json["model_info"]["llama.block_count"] == 2
    finally:
        server.stop()
