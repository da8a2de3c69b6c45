"""Debian's Chromium, driven by Playwright, on the server's own page; and what every visit is held to."""

import os
import re
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from playwright.sync_api import sync_playwright

NARROW = {"width": 380, "height": 760}
WIDE = {"width": 1280, "height": 800}

# What a browser says of its own accord when nobody listens on a port, or the server asks for a key.
SERVER_GONE = re.compile(r"Failed to load resource: net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|"
                         r"INCOMPLETE_CHUNKED_ENCODING|SOCKET_NOT_CONNECTED)")
NO_KEY = re.compile(r"Failed to load resource: the server responded with a status of 401")
OVERLOADED = re.compile(r"Failed to load resource: the server responded with a status of 503")

RECORD_VIOLATIONS = """
window.policyViolations = [];
addEventListener("securitypolicyviolation", (event) =>
    policyViolations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


def usable_browser():
    """Its path, or None. A package that is a shell leaves no program, or one that fails at once."""
    program = shutil.which("chromium")
    if program and subprocess.run([program, "--version"], capture_output=True, timeout=120).returncode == 0:
        return program
    return None


@contextmanager
def browser():
    """Where there is none the tests that want one are skipped; TEST_NEEDS_BROWSER makes that a failure."""
    program = usable_browser()
    if program is None:
        missing = "no usable chromium here (Debian's package is one; Ubuntu's only asks for a snap): see scripts/test.sh"
        assert not os.environ.get("TEST_NEEDS_BROWSER"), missing
        pytest.skip(missing)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield running
        running.close()


@contextmanager
def ended(server):
    """The server of one test, ended with it, where it fails too."""
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


@contextmanager
def visit(running, server, path="/", viewport=WIDE, theme="light", allowed=None, **options):
    """A page in a profile of its own. At the end it has said no error, asked nobody else, and broken no policy."""
    context = running.new_context(viewport=viewport, color_scheme=theme, accept_downloads=True, **options)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.add_init_script(RECORD_VIOLATIONS)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.base_url + path)
    page.wait_for_selector("#log", state="attached")
    yield page
    assert page.evaluate("policyViolations") == []
    context.close()
    assert [text for text in said if allowed is None or not allowed.search(text)] == []
    assert [url for url in asked if not url.startswith((server.base_url + "/", "blob:", "data:"))] == []
    assert asked, "the page asked for nothing at all"


def script(text, **numbers):
    """What to send so that the scripted engine says `text`; one byte is one token of it."""
    return f"[[{' '.join(f'{name}={value}' for name, value in numbers.items())} hex={text.encode().hex()}]]"


def send(page, text):
    page.fill("#prompt", text)
    page.keyboard.press("Enter")


def answer(page):
    """The last answer, once it has ended."""
    page.wait_for_selector(".message:last-child.answer[aria-busy=false]")
    return page.locator(".message.answer").last


def ask(page, text):
    send(page, text)
    return answer(page)


def scrolls_sideways(page):
    """What is wider than the window: nothing may be."""
    return page.evaluate("""() => document.documentElement.scrollWidth > innerWidth
        || ["#messages", "#engine-view", "#sidebar"].some((id) => {
            const one = document.querySelector(id);
            return one.scrollWidth > one.clientWidth + 1;
        })""")
