"""A model's file is cut short, overwritten or made unreadable while it is in use: its requests end with an error that
names the file and the reason, nothing that came of the changed bytes is told, and everything else goes on."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest
from make_model import make_model
from program import CHAT_TEMPLATE, Program, wait_until
from server_harness import RealServer, make_request, parse_answer, receive_all, receive_until, run_in_threads, sse_objects

LONG = 30000  # tokens of an answer that would take minutes


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Large enough that its embedding and its matrices lie on pages of their own."""
    return make_model(tmp_path_factory.mktemp("sound") / "sound.gguf", context=32768, width=256, feed_forward=512,
                      vocabulary=2048, chat_template=CHAT_TEMPLATE)


@pytest.fixture
def home(tmp_path, sound):
    folder = tmp_path / ".local/share/mistral/models"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        shutil.copyfile(sound, folder / f"{name}.gguf")
    return tmp_path


@pytest.fixture
def server(mistral, home, request):
    server = RealServer(mistral, str(model_file(home, "one")), *getattr(request, "param", ()), home=home)
    yield server
    server.stop()


def model_file(home, name):
    return home / ".local/share/mistral/models" / f"{name}.gguf"


def cut(path):
    os.truncate(path, 100)


def overwrite(path):
    """Other bytes in the same place, as an interrupted cp leaves them; the size stays."""
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 2)
        file.write(os.urandom(size - size // 2))


REASONS = {cut: "was cut short while it was in use", overwrite: "was overwritten while it was in use"}


def assert_says(message, name, damage, home):
    assert f"'{name}.gguf' {REASONS[damage]}" in message, message
    assert str(home) not in message, "a path of the server"


def chat_body(model, **fields):
    return {"model": model, "messages": [{"role": "user", "content": "Once"}], "temperature": 0, "max_tokens": 8, **fields}


def chat(server, model, **fields):
    return server.request("POST", "/v1/chat/completions", chat_body(model, **fields))


def told(server, event, **fields):
    return [line for line in server.log if line.get("event") == event
            and all(line.get(key) == value for key, value in fields.items())]


@pytest.mark.parametrize("server", [(), ("--no-repack-weights",)], ids=["packed", "mapped"], indirect=True)
@pytest.mark.parametrize("damage", [cut, overwrite])
def test_streams_of_a_lost_model_end_with_the_reason_and_other_models_go_on(server, home, damage):
    expected = chat(server, "one").json["choices"][0]["message"]["content"]
    streams = [server.connect() for _ in range(2)]
    for name, stream in zip(("two", "one"), streams, strict=True):
        stream.sendall(make_request("POST", "/v1/chat/completions",
                                    chat_body(name, stream=True, max_tokens=LONG, ignore_eos=True)))
    begun = [receive_until(stream, b'"content":"') for stream in streams]
    damage(model_file(home, "two"))
    rest = receive_all(streams[0])
    chunks, is_done = sse_objects(parse_answer(begun[0] + rest).body)
    assert not is_done
    assert_says(chunks[-1]["error"]["message"], "two", damage, home)
    line = server.wait_log(lambda e: e.get("event") == "model_file_lost")
    assert line["path"] == str(model_file(home, "two"))
    server.wait_log(lambda e: e.get("event") == "model_unloading" and e["reason"] == "file_lost")
    receive_until(streams[1], b'"content":"')  # the other model's stream is where it was
    streams[1].close()
    streams[0].close()
    assert chat(server, "one").json["choices"][0]["message"]["content"] == expected


def test_a_lost_model_is_loaded_anew_by_the_next_request(server, home, sound):
    expected = chat(server, "two").json["choices"][0]["message"]["content"]
    file = model_file(home, "two")
    cut(file)
    answer = chat(server, "two")
    assert answer.status == 500
    assert_says(answer.json["error"]["message"], "two", cut, home)
    for _ in range(2):  # it is what the file is now that counts
        answer = chat(server, "two")
        assert answer.status == 500
        message = answer.json["error"]["message"]
        assert "The model 'two' could not be loaded: 'two.gguf'" in message and "too few" in message, message
        assert str(home) not in message
    shutil.copyfile(sound, file)
    assert chat(server, "two").json["choices"][0]["message"]["content"] == expected
    assert len(told(server, "model_file_lost")) == 1


def test_the_model_named_at_start_comes_back_too(server, home, sound):
    expected = chat(server, "").json["choices"][0]["message"]["content"]
    overwrite(model_file(home, "one"))
    answer = chat(server, "")
    assert answer.status == 500
    assert_says(answer.json["error"]["message"], "one", overwrite, home)
    shutil.copyfile(sound, model_file(home, "one"))
    wait_until(lambda: told(server, "model_unloading", reason="file_lost"))
    assert chat(server, "").json["choices"][0]["message"]["content"] == expected
    server.assert_healthy()


@pytest.mark.parametrize("route, body, message_of", [
    ("/api/generate", {"prompt": "x"}, lambda text: json.loads(text.splitlines()[-1])["error"]),
    ("/v1/messages", {"messages": [{"role": "user", "content": "x"}], "max_tokens": LONG},
     lambda text: json.loads(text.split("data: ")[-1])["error"]["message"]),
    ("/v1/responses", {"input": "x"}, lambda text: text)])
def test_each_api_tells_it_in_a_stream(server, home, route, body, message_of):
    with server.connect() as stream:
        stream.sendall(make_request("POST", route, {
            "model": "two", "stream": True, "max_output_tokens": LONG, "ignore_eos": True,
            "options": {"num_predict": LONG, "ignore_eos": True}, **body}))
        begun = receive_until(stream, b"\r\n\r\n")
        while begun.count(b"\n") < 30:
            begun += stream.recv(1000)
        cut(model_file(home, "two"))
        answer = parse_answer(begun + receive_all(stream))
    assert_says(message_of(answer.body.decode()), "two", cut, home)
    server.assert_healthy()


def test_a_file_that_is_replaced_whole_disturbs_nobody(server, home, sound):
    """As a download ends: the new file has the name, the old one is read to the end."""
    expected = chat(server, "two").json["choices"][0]["message"]["content"]
    beside = home / "beside"
    beside.write_bytes(b"something else")
    os.replace(beside, model_file(home, "two"))
    assert chat(server, "two").json["choices"][0]["message"]["content"] == expected
    model_file(home, "two").unlink()
    assert chat(server, "two").status == 200
    assert not told(server, "model_file_lost")


def test_requests_come_while_files_are_damaged_again_and_again(server, home, sound):
    """Loads, steps and unloads of one model meet its file in every state; the other one never notices."""
    stopping = threading.Event()
    statuses, others = set(), []

    def ask_on():
        while not stopping.is_set():
            answer = chat(server, "two", max_tokens=30)
            statuses.add(answer.status)
            assert answer.status in (200, 500), answer
            assert str(home) not in answer.body.decode(), answer

    def ask_the_other():
        while not stopping.is_set():
            others.append(chat(server, "one").status)

    def damage_on():
        try:
            for round in range(12):
                (cut, overwrite)[round % 2](model_file(home, "two"))
                time.sleep(0.1)
                shutil.copyfile(sound, model_file(home, "two"))
                time.sleep(0.15)
        finally:
            stopping.set()

    work = (ask_on, ask_on, ask_the_other, damage_on)
    run_in_threads(len(work), lambda index: work[index]())
    assert set(others) == {200} and 500 in statuses
    wait_until(lambda: chat(server, "two").status == 200)


@pytest.mark.parametrize("server", [("--dynamic-quantization", "--default-quantization", "q8_0")], indirect=True)
def test_a_converted_model_that_is_lost_in_the_cache_is_made_again(server, home):
    expected = chat(server, "").json["choices"][0]["message"]["content"]
    entry, = (home / ".cache/mistral/converted").glob("*.gguf")
    cut(entry)
    answer = chat(server, "")
    if answer.status != 200:  # it was not noticed before, while weights were still being packed
        assert answer.status == 500
        assert_says(answer.json["error"]["message"], entry.stem, cut, home)
        answer = chat(server, "")
    assert answer.json["choices"][0]["message"]["content"] == expected


@pytest.mark.parametrize("server", [("--dynamic-quantization", "--default-quantization", "q8_0")], indirect=True)
def test_a_converted_model_may_be_used_by_several_processes(server, program, home):
    settings = {"MISTRAL_DYNAMIC_QUANTIZATION": "true", "MISTRAL_DEFAULT_QUANTIZATION": "q8_0"}
    for _ in range(2):  # each notes that it was used
        program.good("run", str(model_file(home, "one")), "-n", "1", "Once", environment=settings)
        assert chat(server, "").status == 200
    assert len(list((home / ".cache/mistral/converted").iterdir())) == 1


# --- without a server ---


@pytest.fixture
def program(mistral, home):
    return Program(mistral, home)


def test_a_run_in_the_terminal_ends_with_the_reason(program, home):
    file = model_file(home, "one")
    process = program.start("run", str(file), "-n", str(LONG), "--ignore-end", "Once")
    assert process.stdout.read(20)
    cut(file)
    _, error = process.communicate(timeout=60)
    assert process.returncode > 0, "a signal ended it"
    assert f"'{file}' was cut short while it was in use" in error.decode()


def test_a_program_with_the_library_gets_an_event(build_dir, home):
    """examples/minimal.c asks for 200 tokens; it is stopped after the first of them while the file goes."""
    file = model_file(home, "one")
    process = subprocess.Popen([build_dir / "examples" / "minimal", file, "Once " * 200], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, bufsize=0)
    assert process.stdout.read(1)
    process.send_signal(signal.SIGSTOP)
    cut(file)
    process.send_signal(signal.SIGCONT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1, (process.returncode, error)
    assert f"minimal: '{file}' was cut short while it was in use" in error.decode()


@pytest.mark.release_only  # bench engine measures the machine first
@pytest.mark.parametrize("command, damage", [("quantize", cut), ("quantize", overwrite), ("bench", cut)])
def test_nothing_is_made_or_measured_of_a_file_that_changes(program, home, tmp_path, command, damage):
    source = tmp_path / "source.gguf"
    make_model(source, layers=6, width=512, heads=8, head_dim=64, feed_forward=2048, vocabulary=4096)
    target = tmp_path / "target.gguf"
    arguments = {"quantize": ("quantize", source, target, "q4_k_m"),
                 "bench": ("bench", "engine", source, "--prompt", "32", "--generate", "32", "--repeat", "1000")}[command]
    process = program.start(*map(str, arguments))
    if command == "quantize":
        wait_until(lambda: list(tmp_path.glob("target*")) or process.poll() is not None)
    else:
        time.sleep(1)
    process.send_signal(signal.SIGSTOP)
    damage(source)
    process.send_signal(signal.SIGCONT)
    _, error = process.communicate(timeout=60)
    assert process.returncode > 0, (process.returncode, error)
    assert f"'{source}' {REASONS[damage]}" in error.decode(), error
    assert not target.exists() and not list(tmp_path.glob("target*"))
