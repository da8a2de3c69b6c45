"""The command line itself: subcommands, help, settings, exit codes, the models folder."""

import json
import os
import pty
import re
import subprocess

import pytest

from program import Program

COMMANDS = ["run", "serve", "pull", "list", "show", "tokenize", "perplexity"]


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


@pytest.fixture
def folder(tmp_path):
    """The models folder that a person without any settings has."""
    path = tmp_path / ".local/share/mistral/models"
    path.mkdir(parents=True)
    return path


# Help and mistakes.


def test_without_a_command_the_help_is_shown(program):
    done = program()
    assert done.returncode == 2
    assert program.good("--help") == done.out == program.good("-h")
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", done.out, re.MULTILINE)
    assert "Exit codes: 0 done" in done.out


def test_version(program):
    assert re.fullmatch(r"mistral \d+\.\d+\.\d+ \(\w[\w.-]*\)\n", program.good("--version"))


@pytest.mark.parametrize("name, has, lacks", [
    ("compare", [], ["Settings", "--config", "--num-threads"]),
    ("serve", ["--port", "--api-key", "--models-path"], ["--num-threads", "--max-batch-size"]),
    ("kernels", ["--num-threads", "--kernels"], ["--models-path", "--port", "--memory-fraction"]),
    ("engine", ["--num-threads", "--models-path"], ["--port", "--max-batch-size"]),
])
def test_a_benchmark_lists_the_settings_it_reads_and_no_other(program, name, has, lacks):
    text = program.good("bench", name, "--help")
    flags = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", text, re.MULTILINE)
    assert len(flags) == len(set(flags)) and set(has) <= set(flags)
    assert not any(word in flags or (word == "Settings" and word in text) for word in lacks)
    assert "does not read" in program.bad(2, "bench", name, "--max-body-size", "1M")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(program, name):
    text = program.good(name, "--help")
    assert text.startswith(f"usage: mistral {name} [OPTION...]")
    assert "--config FILE" in text and "MISTRAL_LOG_LEVEL" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serv"], "unknown command 'serv'; did you mean 'serve'?"),
        (["zzz"], "unknown command 'zzz'; 'mistral --help' lists them"),
        (["list", "--jsn"], "unknown option '--jsn'; did you mean '--json'?"),
        (["list", "--port", "1"], "--port is a setting that this subcommand does not read"),
        (["health", "--api-key", "x"], "--api-key is a setting that this subcommand does not read"),
        (["list", "extra"], "unexpected argument; usage: mistral list "),
        (["show"], "missing argument; usage: mistral show MODEL"),
        (["run"], "missing argument; usage: mistral run MODEL [PROMPT...]"),
        (["run", "x", "--temperature", "hot"], "--temperature: it takes a number from 0 to 100, not 'hot'"),
        (["run", "x", "--top-p", "2"], "--top-p takes a number from 0 to 1, not '2'"),
        (["run", "x", "hi", "--stop", ""], "--stop needs a text"),
        (["run", "x", "hi", "--raw", "--system", "y"], "--system needs the chat template, which --raw turns off"),
        (["perplexity", "x"], "missing argument; usage: mistral perplexity MODEL FILE"),
    ],
)
def test_a_wrong_command_line_is_explained(program, arguments, message):
    assert program.bad(2, *arguments) == message


# Settings.


def test_settings_files_and_their_mistakes(program, tmp_path):
    (tmp_path / "c.toml").write_text('[model]\npath = "from-toml"\n')
    (tmp_path / "c.env").write_text("MISTRAL_MODELS_PATH=from-env # here\n")
    read = lambda *arguments, **settings: json.loads(program.good("list", "--json", *arguments, **settings))["folder"]
    toml, env = ("--config", tmp_path / "c.toml"), ("--env-file", tmp_path / "c.env")
    assert read() == str(tmp_path / ".local/share/mistral/models")
    assert read(*toml) == "from-toml"
    assert read(*toml, *env) == "from-env"
    assert read(*toml, *env, environment={"MISTRAL_MODEL_PATH": "~/of-environment"}) == str(tmp_path / "of-environment")
    assert read(*toml, *env, "--models-path=flag", environment={"MISTRAL_MODEL_PATH": "x"}) == "flag"

    (tmp_path / "c.toml").write_text('[model]\npaht = "x"\n')
    assert program.bad(2, "list", *toml).endswith("c.toml:2:1: model.paht: there is no such setting; did you mean 'model.path'?")
    assert program.bad(2, "list", "--config", "none.toml") == "cannot open 'none.toml': No such file or directory"


def test_an_unknown_name_in_the_environment_is_a_warning(program):
    done = program("list", environment={"MISTRAL_PROT": "1", "MISTRAL_MEMORY_LIMIT": "64G", "MISTRAL_SERVICE_HOST": "x"})
    assert done.returncode == 0
    assert done.err.count("\n") == 1
    assert "unknown_environment_variable" in done.err and "did you mean 'MISTRAL_PORT'?" in done.err


def test_every_setting_is_read_by_code(source_root):
    """A row of knobs.def that nothing outside src/config reads would be decoration."""
    rows = re.findall(r"^KNOB\((\w+),", (source_root / "src/config/knobs.def").read_text(), re.MULTILINE)
    assert len(rows) > 20
    code = "".join(path.read_text() for path in (source_root / "src").rglob("*.c") if path.parent.name != "config")
    assert [row for row in rows if not re.search(rf"config(\.|->){row}\b", code)] == []


# The models folder.


def test_list(program, folder):
    assert "no models in" in program.good("list")
    (folder / "b.gguf").write_bytes(b"x" * 2048)
    (folder / "sub").mkdir()
    (folder / "sub" / "a.GGUF").write_bytes(b"")
    (folder / "c.gguf.0123456789ab.part").write_bytes(b"unfinished")
    (folder / ".hidden.gguf").write_bytes(b"")
    (folder / "loop").symlink_to(folder)
    lines = program.good("list").splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "MODIFIED", "STORE"]
    assert [line.split()[:3] for line in lines[1:] if not line.startswith("loop")] == [["b", "2.0", "KiB"], ["sub/a", "0", "B"]]
    models = json.loads(program.good("list", "--json"))["models"]
    assert models[0]["name"] == "b" and models[0]["bytes"] == 2048 and models[0]["path"] == str(folder / "b.gguf")


def test_aliases(program):
    assert "smollm2 " in program.good("list", "--aliases")
    names = [alias["name"] for alias in json.loads(program.good("list", "--aliases", "--json"))]
    assert {"smollm2", "mistral-7b-instruct", "mistral-nemo", "ministral", "llama3.2"} <= set(names)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("smollm2", 3, "'smollm2' is not in {folder} yet; get it with: mistral pull smollm2"),
        ("smolm2", 3, "no model 'smolm2': no file, no name in {folder}, no alias; did you mean 'smollm2'? ('mistral list' shows what is there)"),
        ("/nonexistent.gguf", 3, "no model '/nonexistent.gguf': no file, no name in {folder}, no alias ('mistral list' shows what is there)"),
        ("/tmp", 2, "'/tmp' is a directory without config.json and model.safetensors; a model is one GGUF file, or a folder with those"),
        ("hf:o/r", 3, "'hf:o/r' names a download: 'mistral pull' fetches it and prints the name to use here"),
        ("", 3, "no model '': no file, no name in {folder}, no alias ('mistral list' shows what is there)"),
    ],
)
@pytest.mark.parametrize("command", [["show"], ["run"], ["tokenize"], ["perplexity"]], ids=lambda command: command[0])
def test_a_model_that_is_not_there(program, folder, source_root, command, name, code, message):
    operand = {"run": ["hi"], "tokenize": ["hi"], "perplexity": [source_root / "LICENSE"]}.get(command[0], [])
    assert program.bad(code, *command, name, *operand) == message.format(folder=folder)


def test_a_model_by_name_alias_and_path(program, folder, smollm2):
    path_of = lambda name, *more: json.loads(program.good("show", name, "--json", *more))["path"]
    link = folder / "SmolLM2-135M-Instruct.Q4_1.gguf"
    link.symlink_to(smollm2)
    for name in ["SmolLM2-135M-Instruct.Q4_1", "SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2", "SmolLM2:q4_1"]:
        assert path_of(name) == str(link)
    assert path_of(str(smollm2)) == str(smollm2)
    link.rename(folder / "SmolLM2-135M-Instruct.Q8_0.gguf")
    assert path_of("smollm2") == str(folder / "SmolLM2-135M-Instruct.Q8_0.gguf")  # the only one there
    assert "yet" in program.bad(3, "show", "smollm2:q4_0")
    (folder / "SmolLM2-135M-Instruct.Q2_K.gguf").symlink_to(smollm2)
    assert "is there in several formats" in program.bad(2, "show", "smollm2")


# show


def test_show(program, smollm2):
    text = program.good("show", smollm2)
    assert re.search(r"^architecture +llama$", text, re.MULTILINE)
    assert re.search(r"^context +8192$", text, re.MULTILINE)
    assert re.search(r"^parameters +134\.5 million$", text, re.MULTILINE)
    shown = json.loads(program.good("show", smollm2, "--json", "--tensors"))
    assert shown["parameters"] == 134515008 and shown["tensor_count"] == 272 == len(shown["tensors"])
    assert shown["metadata"]["llama.block_count"] == 30
    assert shown["metadata"]["tokenizer.ggml.tokens"] == {"count": 49152}
    assert shown["tensors"][0]["shape"] == [576, 49152]


def test_show_as_the_gguf_package_reads_it(program, smollm2):
    from gguf import GGUFReader

    reader = GGUFReader(smollm2)
    shown = json.loads(program.good("show", smollm2, "--json", "--full", "--tensors"))
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert set(shown["metadata"]) == set(fields)
    for name, field in fields.items():
        assert shown["metadata"][name] == field.contents(), name
    assert [(t["name"], t["format"], t["shape"]) for t in shown["tensors"]] == [
        (t.name, t.tensor_type.name, [int(n) for n in t.shape]) for t in reader.tensors
    ]


def test_the_chat_template_alone(program, smollm2):
    template = json.loads(program.good("show", smollm2, "--json"))["metadata"]["tokenizer.chat_template"]
    assert program.good("show", smollm2, "--template") == template + "\n"


def test_a_file_that_is_no_model(program, tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"not a model at all")
    assert "x.gguf" in program.bad(1, "show", tmp_path / "x.gguf")
    assert "x.gguf" in program.bad(1, "run", tmp_path / "x.gguf", "hi")


# The terminal.


def run_on_terminal(program, arguments, environment):
    leader, follower = pty.openpty()
    process = subprocess.Popen([program.path, *arguments], env={**program.environment, **environment},
                               stdin=subprocess.DEVNULL, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    process.wait(20)
    os.close(leader)
    return shown


def test_colours_are_for_terminals_that_want_them(program, folder):
    (folder / "a.gguf").write_bytes(b"")
    for environment, coloured in [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)]:
        assert (b"\x1b[" in run_on_terminal(program, ["list"], environment)) == coloured
        assert (b"\x1b[31m" in run_on_terminal(program, ["show", "none"], environment)) == coloured


def test_a_model_cannot_steer_the_terminal(program, folder, tmp_path):
    """Names and texts of a file reach a terminal without their control characters."""
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "evil.gguf", "llama")
    writer.add_name("evil\x1b]0;owned\x07 \u009b31m name")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    shown = run_on_terminal(program, ["show", str(tmp_path / "evil.gguf")], {"NO_COLOR": "1"})
    assert b"evil]0;owned 31m name" in shown
    assert b"\x1b" not in shown and b"\x07" not in shown and "\u009b".encode() not in shown


def test_output_that_cannot_be_written_is_an_error(program):
    with open("/dev/full", "wb") as full:
        process = subprocess.run([program.path, "list", "--aliases"], env=program.environment, stdout=full,
                                 stderr=subprocess.PIPE)
    assert process.returncode == 1
    assert b"cannot write to standard output" in process.stderr


def test_no_home_folder(program):
    del program.environment["HOME"]
    assert "HOME is not set" in program.bad(3, "list")
