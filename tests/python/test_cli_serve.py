"""mistral serve: from the settings to a server that answers, and its end."""

import json
import signal
import socket
import threading
import urllib.error
import urllib.request

import pytest

from program import Program, make_chat_model, wait_until


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


@pytest.fixture(scope="module")
def nonsense(tmp_path_factory):
    return make_chat_model(tmp_path_factory.mktemp("models"))


class Server:
    def __init__(self, program, *arguments, **settings):
        self.process = program.start("serve", "--port", "0", *arguments, **settings)
        self.log = []
        self.reader = threading.Thread(target=self.read_log)
        self.reader.start()
        wait_until(lambda: self.events("listening") or self.process.poll() is not None, 60)
        self.port = self.events("listening")[0]["port"] if self.events("listening") else None

    def read_log(self):
        for line in self.process.stderr:
            self.log.append(json.loads(line))

    def events(self, name):
        return [line for line in self.log if line["event"] == name]

    def get(self, path, body=None, **headers):
        """Status and answer; both of errors too."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers,
                                         data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


@pytest.fixture
def serve(program):
    servers = []

    def start(*arguments, **settings):
        servers.append(Server(program, *arguments, **settings))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        server.reader.join()


def test_a_model_is_served_under_its_names(serve, nonsense):
    server = serve(nonsense)
    assert server.get("/health")[0] == 200
    ids = [model["id"] for model in server.get("/v1/models")[1]["data"]]
    assert "nonsense" in ids
    ask = lambda name: server.get("/v1/chat/completions", {
        "model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0})
    for name in ("nonsense", "tiny random llama"):
        status, answer = ask(name)
        assert status == 200 and answer["usage"]["completion_tokens"] <= 4
    status, answer = ask("mistral-7b-instruct")  # the default of default_model, which is not what runs here
    assert status == 404 and answer["error"]["code"] == "model_not_found"
    assert server.end() == 0


def test_the_same_answer_as_run_gives(serve, program, nonsense):
    told = json.loads(program.good("run", nonsense, "--json", "-n", "8", "--temperature", "0", "Hi"))
    server = serve(nonsense, "--temperature", "0")
    status, answer = server.get("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8})
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == told["text"]
    assert answer["usage"]["prompt_tokens"] == told["prompt_tokens"]


def test_the_default_model_is_found_by_its_name(serve, nonsense):
    server = serve(environment={"DEFAULT_MODEL": "nonsense", "MISTRAL_MODELS_PATH": str(nonsense.parent)})
    assert [model["id"] for model in server.get("/v1/models")[1]["data"]][0] == "nonsense"
    assert server.end(signal.SIGINT) == 0


def test_settings_are_logged_with_their_origin(serve, nonsense, tmp_path):
    (tmp_path / "c.env").write_text("MISTRAL_API_KEY=sesame\n")
    server = serve(nonsense, "--env-file", str(tmp_path / "c.env"), environment={"MISTRAL_MAX_SEQ_LEN": "64"})
    settings = {line["key"]: (line["value"], line["from"]) for line in server.events("setting")}
    assert settings == {
        "server.port": ("0", "--port"),
        "server.api_key": ("(set)", f"{tmp_path}/c.env:1:1"),
        "inference.max_sequence_length": ("64", "environment variable MISTRAL_MAX_SEQ_LEN"),
        "quantization.dynamic_quantization": ("false", "environment variable MISTRAL_DYNAMIC_QUANTIZATION"),
    }
    assert "sesame" not in json.dumps(server.log)
    assert server.get("/v1/models")[0] == 401
    assert server.get("/v1/models", Authorization="Bearer sesame")[0] == 200
    messages = [{"role": "user", "content": "word " * 100}]
    status, answer = server.get("/v1/chat/completions", {"messages": messages}, Authorization="Bearer sesame")
    assert status == 400 and answer["error"]["code"] == "context_length_exceeded"


def test_limits_reach_the_server(serve, nonsense):
    server = serve(nonsense, "--max-body-size", "1K")
    assert server.get("/v1/completions", {"prompt": "x" * 2000})[0] == 413


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--host", "0.0.0.0"], None, "key"),
        (["--host", "not-an-address"], None, "not-an-address"),
        (["--max-batch-size", "0"], 2, "--max-batch-size: it takes an integer from 1 to 4096, not '0'"),
        (["--port", "70000"], 2, "--port: it takes an integer from 0 to 65535, not '70000'"),
    ],
)
def test_what_cannot_be_served(program, nonsense, arguments, code, message):
    done = program("serve", nonsense, "--log-level", "error", "--port", "0", *arguments)
    assert done.returncode == code or (code is None and done.returncode in (1, 2))
    assert done.err.startswith("mistral: error: ") and message in done.err


def test_a_port_that_is_taken(program, nonsense):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = program("serve", nonsense, "--log-level", "error", "--port", port)
    assert done.returncode == 1
    assert port in done.err


def test_a_missing_default_model_says_how_to_get_it(program):
    message = program.bad(3, "serve", "--log-level", "error")
    assert "'mistral-7b-instruct' is not in" in message and "mistral pull mistral-7b-instruct" in message


def test_a_taken_ollama_port_matters_only_when_it_was_asked_for(serve, program, nonsense):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = program("serve", nonsense, "--log-level", "error", "--port", "0", "--ollama-port", port)
        assert done.returncode == 1 and port in done.err
    server = serve(nonsense)  # 11434, which anybody may have
    assert server.get("/api/version")[0] == 200
    assert server.events("listening")[0]["ollama_port"] in (0, 11434)
    assert len(server.events("no_ollama_port")) == (server.events("listening")[0]["ollama_port"] == 0)
