"""What the compiler and the linker put between a fault in the code and its use, read from the program itself."""

import platform
import re
import subprocess

import pytest

# Sanitized builds are not shipped, and have checks of their own.
pytestmark = [pytest.mark.release_only,
              pytest.mark.skipif(platform.system() != "Linux", reason="readelf reads Linux's programs")]


@pytest.fixture(scope="module")
def read(mistral):
    def read(*options):
        return subprocess.run(["readelf", "--wide", *options, mistral], capture_output=True, text=True, check=True).stdout
    return read


@pytest.fixture(scope="module")
def imported(read):
    """Names that the program takes from libraries."""
    return set(re.findall(r" UND (\w+)", read("--dyn-syms")))


def disassembled(mistral, function):
    text = subprocess.run(["objdump", "--no-show-raw-insn", f"--disassemble={function}", mistral],
                          capture_output=True, text=True, check=True).stdout
    return re.search(rf"<{function}>:\n(.*?)(\n\n|\Z)", text, re.DOTALL).group(1)


def test_it_lies_elsewhere_in_memory_each_time(read):
    assert re.search(r"Type:\s+DYN", read("--file-header"))
    assert re.search(r"FLAGS_1.*\bPIE\b", read("--dynamic"))
    assert "TEXTREL" not in read("--dynamic")


def test_what_the_linker_filled_in_is_read_only(read):
    """Full RELRO: every address is resolved at start, and the table of them is closed before main."""
    dynamic = read("--dynamic")
    assert re.search(r"\(FLAGS\).*\bBIND_NOW\b", dynamic) and re.search(r"FLAGS_1.*\bNOW\b", dynamic)
    assert "GNU_RELRO" in read("--program-headers")


def test_no_page_is_both_written_and_executed(read):
    headers = read("--program-headers")
    flags = re.findall(r"^\s+(LOAD|GNU_STACK)\s+(?:0x\w+\s+){5}([RWE ]{3})", headers, re.MULTILINE)
    assert {kind for kind, _ in flags} == {"LOAD", "GNU_STACK"}
    assert not [flag for flag in flags if "W" in flag[1] and "E" in flag[1]], flags


def test_buffers_on_the_stack_have_a_guard(imported, mistral):
    assert "__stack_chk_fail" in imported
    assert "__stack_chk_fail" in disassembled(mistral, "sandbox_filter_calls"), "it has an array"


def test_copies_are_checked(imported):
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another C library has no checked copies")
    assert {"__memcpy_chk", "__snprintf_chk", "__fprintf_chk"} <= imported
    assert len([name for name in imported if name.endswith("_chk")]) >= 5


def test_returns_and_jumps_are_marked(read, mistral):
    if platform.machine() == "x86_64":
        assert re.search(r"Properties:.*\bSHSTK\b", read("--notes"))
        for function in ("main", "server_run", "sandbox_enter"):
            assert "endbr64" in disassembled(mistral, function).splitlines()[0], function
    elif platform.machine() == "aarch64":
        assert re.search(r"bti\s+c|paciasp", disassembled(mistral, "main").splitlines()[0])
    else:
        pytest.skip("this processor has no such marks")
