"""mistral pull of a large file: several connections, each a piece of it, and nothing fetched twice after a kill."""

import hashlib
import resource
import signal

import pytest

from fake_hub import FakeHub, model_bytes
from program import wait_until
from test_pull import Pull, names

MIB = 1 << 20
CONTENT = model_bytes(MIB, 2) * 11 + model_bytes(700_001, 3)  # six pieces of 2 MiB, the last one short
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PART = f"a-Q5_K_M.gguf.{SHA256[:12]}.part"
PIECES = [(start, min(start + 2 * MIB, len(CONTENT))) for start in range(0, len(CONTENT), 2 * MIB)]


@pytest.fixture
def hub():
    fake = FakeHub()
    yield fake
    fake.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def pull(mistral, hub, folder):
    return Pull(mistral, hub, folder)


@pytest.fixture
def large(hub):
    return hub.add("o/r", {"a-Q5_K_M.gguf": CONTENT})


def ranges(hub):
    return sorted(tuple(int(n) for n in text.removeprefix("bytes=").split("-")) for text in hub.ranges())


def asked_for(hub):
    return sum(last + 1 - first for first, last in ranges(hub))


def go_on(large):
    large.pause_after = None
    large.released.set()


def is_right(folder):
    return names(folder) == ["a-Q5_K_M.gguf"] and (folder / "a-Q5_K_M.gguf").read_bytes() == CONTENT


def test_every_piece_is_fetched_once(pull, hub, folder, large):
    done = pull.good("hf:o/r")
    assert is_right(folder) and f"sha256 {SHA256}" in done.out
    assert ranges(hub) == [(start, end - 1) for start, end in PIECES]
    assert "fetching a-Q5_K_M.gguf: 100% of 11.7 MiB" in done.err and "checking a-Q5_K_M.gguf: 100%" in done.err


@pytest.mark.parametrize("connections", [2, 4])
def test_as_many_connections_as_are_set(pull, hub, folder, large, connections):
    large.pause_after = 100
    process = pull.start("hf:o/r", "--connections", str(connections))
    wait_until(lambda: len(hub.file_requests()) == connections)
    go_on(large)
    assert process.communicate(timeout=60) and process.returncode == 0 and is_right(folder)


def test_one_connection_asks_for_the_whole(pull, hub, folder, large):
    pull.good("hf:o/r", environment={"MISTRAL_HUB_CONNECTIONS": "1"})
    assert is_right(folder) and hub.ranges() == [None]


def half_fetched(pull, hub, large, *arguments):
    """A pull that holds more than a megabyte of each of four pieces, and waits."""
    large.pause_after = 1_400_000
    process = pull.start("hf:o/r", *arguments)
    wait_until(lambda: large.sent >= 4 * 1_400_000 - 16384 * 4, 30)
    part = pull.folder / PART

    def noted():  # what the journal behind the bytes says
        data = part.read_bytes()[len(CONTENT) + 32:] if part.exists() else b""
        return [int.from_bytes(data[i:i + 8], "little") for i in range(0, len(data), 8)]

    wait_until(lambda: sum(amount >= MIB for amount in noted()) == 4, 30)
    return process


def test_kill_keeps_what_every_connection_has_fetched(pull, hub, folder, large):
    process = half_fetched(pull, hub, large)
    process.kill()
    process.communicate()
    assert names(folder) == [PART]
    go_on(large)
    hub.requests.clear()
    pull.good("hf:o/r")
    assert is_right(folder)
    assert asked_for(hub) <= len(CONTENT) - 4 * MIB
    begun = [start for start, _ in ranges(hub)]
    assert sum(any(first + MIB <= start < last for first, last in PIECES) for start in begun) == 4


def test_ctrl_c_keeps_it_too_and_one_connection_goes_on(pull, hub, folder, large):
    process = half_fetched(pull, hub, large)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and f"of {len(CONTENT)} bytes are kept, and the next pull goes on" in err
    go_on(large)
    hub.requests.clear()
    pull.good("hf:o/r", "--connections", "1")
    assert is_right(folder) and asked_for(hub) <= len(CONTENT) - 4 * MIB


def test_a_part_of_one_connection_is_continued_by_several(pull, hub, folder, large):
    large.pause_after = 5 * MIB
    process = pull.start("hf:o/r", "--connections", "1")
    wait_until(lambda: (folder / PART).exists() and (folder / PART).stat().st_size >= 5 * MIB - (1 << 18), 30)
    process.kill()
    process.communicate()
    there = (folder / PART).stat().st_size
    go_on(large)
    hub.requests.clear()
    pull.good("hf:o/r")
    assert is_right(folder) and ranges(hub)[0] == (there, 6 * MIB - 1) and len(ranges(hub)) == 4


def test_a_server_without_ranges_is_asked_for_the_whole(pull, hub, folder, large):
    large.ignores_ranges = True
    pull.good("hf:o/r")
    assert is_right(folder) and hub.ranges()[-1] is None and hub.ranges().count(None) == 1


def test_cut_transfers_go_on_within_their_piece(pull, hub, folder, large):
    large.cut_after = [1_000_000, 300_000, 2_000_000, 1_500_000, 16384]
    pull.good("hf:o/r")
    assert is_right(folder) and large.sent == len(CONTENT) and len(ranges(hub)) == len(PIECES) + 5


def test_a_busy_server_is_given_its_time(pull, hub, folder, large):
    large.file_answers = [(503, {"Retry-After": "0"}, b"busy")] * 5
    assert "trying again soon: the server answered 503: busy" in pull.good("hf:o/r").err
    assert is_right(folder)


def test_a_server_that_refuses_ends_it_all(pull, hub, folder, large):
    large.file_answers = [(403, {"X-Error-Code": "GatedRepo"}, b"restricted")] * 4
    assert "Accept the terms" in pull.bad(2, "hf:o/r")


@pytest.mark.parametrize("fault, words", [
    ({"wrong_range": True}, "sent another range than was asked for"),
    ({"extra_bytes": b"x" * 100}, "sent more than was asked for"),
])
def test_a_server_that_lies(pull, hub, folder, large, fault, words):
    for name, value in fault.items():
        setattr(large, name, value)
    assert words in pull.bad(4, "hf:o/r")
    assert "a-Q5_K_M.gguf" not in names(folder)


def test_a_damaged_part_is_found_out(pull, hub, folder, large):
    half_fetched(pull, hub, large).kill()
    with open(folder / PART, "r+b") as part:
        part.seek(1000)
        part.write(b"damage")
    go_on(large)
    wait_until(lambda: "wrong checksum" in pull("hf:o/r").err)  # the killed one's lock may last a moment
    assert names(folder) == []
    pull.good("hf:o/r")
    assert is_right(folder)


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * MIB, 5 * MIB))


def test_a_full_disk(pull, hub, folder, large):
    message = pull.bad(5, "hf:o/r", preexec_fn=limit_file_size)
    assert "cannot write" in message
    pull.good("hf:o/r")
    assert is_right(folder)
