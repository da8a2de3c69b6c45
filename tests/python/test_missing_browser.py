"""Where no browser can be had (Ubuntu's package of one only asks for a snap), its tests are skipped and all else runs."""

import os
import re
import subprocess

import pytest

import web_browser

pytestmark = pytest.mark.release_only


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """Programs that come before the real ones."""
    folder = tmp_path / "stubs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(name, text):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    write("chromium", "echo 'chromium asks for its snap' >&2; exit 1")
    write("sudo", 'exec "$@"')
    return write


def offer(source_root):
    return subprocess.run(
        ["bash", "-c", "set -euo pipefail; . scripts/lib.sh; offer_packages needs_to_test_the_web_page 'lost'; say went on"],
        cwd=source_root, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("status", [0, 100], ids=["the package is a shell", "there is no such package"])
def test_the_scripts_say_so_and_go_on(stubs, source_root, tmp_path, status):
    stubs("apt-get", f'echo "$@" >>"{tmp_path}/asked"; [ "$1" = update ] || exit {status}')
    done = offer(source_root)
    assert done.returncode == 0, done
    assert "no usable chromium here: lost" in done.stdout and done.stdout.endswith("went on\n")
    assert "chromium" in (tmp_path / "asked").read_text()
    assert ("could not be installed" in done.stdout) == (status != 0)


def test_a_browser_that_is_there_is_not_installed(stubs, source_root):
    stubs("chromium", "exit 0")
    stubs("apt-get", "exit 100")
    assert offer(source_root).stdout == "went on\n"


def test_the_whole_run_can_do_without(source_root):
    text = (source_root / "scripts" / "test.sh").read_text(encoding="utf-8")
    assert re.search(r"^    offer_packages needs_to_test_the_web_page ", text, re.MULTILINE)
    assert not re.search(r"ensure_packages .*web_page", text)


def test_the_pages_tests_are_skipped_unless_a_browser_must_be_there(stubs, monkeypatch):
    monkeypatch.delenv("TEST_NEEDS_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no usable chromium"), web_browser.browser():
        pass
    monkeypatch.setenv("TEST_NEEDS_BROWSER", "1")
    with pytest.raises(AssertionError, match="no usable chromium"), web_browser.browser():
        pass
