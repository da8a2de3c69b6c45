"""What axe finds on the page, and what a screen reader is given."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from server_harness import FakeServer
from web_browser import NARROW, NO_KEY, WIDE, ask, browser, ended, script, send, visit

pytestmark = pytest.mark.release_only

ANSWER = """# Title

#### Further down

### A little up

> # quoted heading

## Up

Text with `code`, a [link](https://example.com) and **words**.

- [x] done
- [ ] not done

| a | b |
|---|---|
| 1 | 2 |

> quoted

```python
print("a line that is rather long, so that it has to be scrolled in a narrow window, as code often has")
```
"""


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def server(build_dir):
    template = "{% for message in messages %}{{ message.content }}{% endfor %}{# <think> #}"
    server = FakeServer(build_dir, f"template={template}", "context=65536")
    yield server
    server.stop()


def violations(page):
    page.wait_for_timeout(250)  # for colours on their way
    found = Axe().run(page).response
    assert found["passes"], "axe ran"
    return [f"{one['id']}: {node['html'][:160]} {node['failureSummary']}" for one in found["violations"] for node in one["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_axe_finds_nothing(chromium, server, theme, viewport):
    with visit(chromium, server, viewport=viewport, theme=theme, bypass_csp=True) as page:
        assert violations(page) == []
        ask(page, "a question " + script("<think>thought</think>" + ANSWER)).locator("summary").click()
        ask(page, script("again ") + "[[fail=1]]")
        page.locator(".question").first.hover()
        assert violations(page) == []
        page.get_by_role("button", name="Settings").click()
        assert violations(page) == []
        page.get_by_role("button", name="Delete all").click()
        assert violations(page) == []
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Engine").click()
        page.wait_for_selector("#engine-body:visible")
        assert violations(page) == []
        if viewport == NARROW:
            page.get_by_role("button", name="Conversations").click()
            assert violations(page) == []


def test_the_key_dialog_has_no_violation(chromium, build_dir):
    with ended(FakeServer(build_dir, "api_key=sesame")) as server, visit(chromium, server, allowed=NO_KEY, bypass_csp=True) as page:
        page.wait_for_selector("#key-dialog[open]")
        assert violations(page) == []


def test_a_screen_reader_is_told_of_the_answer_once(chromium, server):
    with visit(chromium, server) as page:
        page.evaluate("""() => {
            window.said = [];
            const region = document.querySelector("#announcements");
            new MutationObserver(() => said.push(region.textContent)).observe(region, { childList: true });
        }""")
        ask(page, script("One two three."))
        assert page.evaluate("said") == ["The answer is being written.", "One two three."]
        assert page.locator("main, nav, header").evaluate_all("all => all.map((one) => one.localName)") == ["nav", "header", "nav", "main"]
        assert page.get_by_role("article", name="You").count() == 1 and page.get_by_role("article", name="Answer").count() == 1
        send(page, "[[tokens=400 delay=20]]")
        page.wait_for_selector(".answer[aria-busy=true] .markdown p")
        assert page.locator("[aria-live] .answer, [role=log] .answer").count() == 0, "growing text is not read out piece by piece"
        page.keyboard.press("Escape")
