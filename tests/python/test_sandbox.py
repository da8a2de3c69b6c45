"""What `mistral serve` may still do: its own files, its own ports, no other program. See docs/security.md."""

import ctypes
import hashlib
import platform
import struct
import sys
from pathlib import Path

import pytest

from fake_hub import FakeHub
from make_model import make_model
from program import Program, make_chat_model, wait_until
from server_harness import RealServer

# A sanitizer needs what the sandbox denies; such a build says so and leaves it off.
pytestmark = [pytest.mark.release_only, pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")]

CREATE_RULESET = 444  # Landlock's first system call; the same on all processors
SHAPE = {"layers": 2, "heads": 8, "kv_heads": 2, "head_dim": 32, "width": 256, "feed_forward": 512, "vocabulary": 500}


def has_landlock():
    return ctypes.CDLL(None).syscall(CREATE_RULESET, None, 0, 1) >= 2


needs_landlock = pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock of version 2 or newer")


@pytest.fixture
def home(tmp_path):
    models = tmp_path / ".local/share/mistral/models"
    models.mkdir(parents=True)
    make_chat_model(models)
    return tmp_path


@pytest.fixture
def models(home):
    return home / ".local/share/mistral/models"


@pytest.fixture
def serve(mistral, home):
    started = []

    def start(*settings, model="nonsense"):
        started.append(RealServer(mistral, model, *settings, home=home))
        return started[-1]
    yield start
    for server in started:
        server.stop()


def said(server):
    return server.wait_log(lambda entry: entry["event"] == "sandbox")


def answers(server, model):
    return server.request("POST", "/v1/completions", {"model": model, "prompt": "x", "max_tokens": 2}).status


@needs_landlock
def test_everything_a_server_does_is_done_inside(serve, home, models):
    """Pulled, uploaded, created, quantised, loaded, asked, copied, deleted: with all that the kernel has."""
    hub = FakeHub()
    try:
        content = (models / "nonsense.gguf").read_bytes()
        hub.add("o/r", {"pulled.gguf": content})
        make_model(models / "float.gguf", format="F16", **SHAPE)
        server = serve("--sandbox", "required", "--dynamic-quantization", "--endpoint", hub.url)
        state = said(server)
        assert state["files"] and state["system_calls"] and state["reason"] == "", state
        pulled = server.request("POST", "/api/pull", {"model": "hf.co/o/r:pulled.gguf", "stream": False})
        assert pulled.json == {"status": "success"}, pulled
        assert (models / "pulled.gguf").read_bytes() == content and answers(server, "pulled") == 200
        assert answers(server, "float") == 200
        assert list((home / ".cache/mistral/converted").glob("float*")), "quantised at load, and kept"
        digest = hashlib.sha256(content).hexdigest()
        assert server.request("POST", f"/api/blobs/sha256:{digest}", content).status == 201
        for body in ({"model": "made", "files": {"a.gguf": f"sha256:{digest}"}}, {"model": "tuned", "from": "nonsense"}):
            assert server.request("POST", "/api/create", {**body, "stream": False}).status == 200
        assert server.request("POST", "/api/copy", {"source": "made", "destination": "again"}).status == 200
        assert [answers(server, name) for name in ("made", "tuned", "again")] == [200] * 3
        for name in ("again", "pulled"):
            assert server.request("DELETE", "/api/delete", {"model": name}).status == 200
        assert not (models / "pulled.gguf").exists()
        page = server.request("GET", "/metrics").body.decode()
        assert "process_resident_memory_bytes" in page and "process_open_fds" in page
    finally:
        hub.close()


@needs_landlock
def test_every_thread_is_inside(serve):
    server = serve("--sandbox", "required")
    assert answers(server, "nonsense") == 200
    tasks = list(Path(f"/proc/{server.process.pid}/task").iterdir())
    assert len(tasks) > 3
    for task in tasks:
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", (task, status)


@needs_landlock
@pytest.mark.parametrize("setting", ["auto", "required", "off"])
def test_a_file_outside_is_out_of_reach(serve, home, models, setting):
    """A link that somebody puts into the models folder of a running server leads nowhere; one from before does."""
    outside = home / "elsewhere"
    outside.mkdir()
    for name in ("before", "after"):
        make_model(outside / f"{name}.gguf", layers=1, format="Q8_0")
    (models / "before.gguf").symlink_to(outside / "before.gguf")
    server = serve("--sandbox", setting)
    assert said(server)["files"] == (setting != "off")
    (models / "after.gguf").symlink_to(outside / "after.gguf")
    assert answers(server, "before") == 200
    assert (answers(server, "after") == 200) == (setting == "off")
    server.assert_healthy()


@pytest.mark.parametrize("name", ["../../../../secret", "/etc/hostname", "SECRET"])
def test_no_request_names_a_file_outside(serve, home, name):
    make_model(home / "secret.gguf", layers=1, format="Q8_0")
    name = name.replace("SECRET", str(home / "secret.gguf"))
    server = serve()
    assert server.request("POST", "/api/create", {"model": "made", "from": name, "stream": False}).status in (400, 404)
    for path, body in (("/api/show", {"model": name}), ("/api/generate", {"model": name, "prompt": "x"}),
                       ("/v1/completions", {"model": name, "prompt": "x"})):
        assert server.request("POST", path, body).status in (400, 404), path


@needs_landlock
def test_a_model_named_by_its_path_may_be_replaced(serve, home):
    """Its folder is read too: what takes the file's place is loaded next."""
    folder = home / "mine"
    folder.mkdir()
    model = make_chat_model(folder)
    server = serve("--sandbox", "required", model=str(model))
    assert answers(server, "nonsense") == 200
    fresh = make_model(folder / "fresh.gguf", layers=1, format="Q8_0")
    assert server.request("POST", "/api/generate", {"model": "nonsense", "keep_alive": 0}).status == 200
    wait_until(lambda: server.request("GET", "/api/ps").json["models"] == [])
    fresh.rename(model)
    assert answers(server, "nonsense") == 200


def without_landlock():
    """In the child, before the program: Landlock's calls are not there, as on an old kernel or under an old container."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, CREATE_RULESET), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter_, 0, 0) == 0


def serve_without_landlock(mistral, home, setting):
    program = Program(mistral, home)
    process = program.start("serve", "--port", "0", "--ollama-port", "0", "--sandbox", setting, "--log-level", "info",
                            "missing-model", preexec_fn=without_landlock)
    _, err = process.communicate(timeout=60)
    return process.returncode, err.decode()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the filter is for these")
def test_where_the_kernel_lacks_it_auto_goes_on_and_required_does_not(mistral, home):
    status, text = serve_without_landlock(mistral, home, "auto")
    assert status == 3 and "no model 'missing-model'" in text, "it came as far as looking for the model"
    assert '"files":false' in text and '"system_calls":true' in text and "no Landlock" in text
    status, text = serve_without_landlock(mistral, home, "required")
    assert status == 1 and "sandbox is required, and not to be had here: this kernel has no Landlock" in text
    assert "missing-model'" not in text


def test_off_is_off(serve):
    server = serve("--sandbox", "off")
    assert said(server)["reason"] == "the setting sandbox is off"
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    outside = Path("/proc/self/status").read_text()
    assert [line for line in status.splitlines() if line.startswith("Seccomp:")] == \
        [line for line in outside.splitlines() if line.startswith("Seccomp:")]
