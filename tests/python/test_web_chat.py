"""The chat page as a user has it: in Chromium, on the real server over its scripted engine."""

import json
import re
import signal
import socket

import pytest
from server_harness import FakeServer
from web_browser import (NARROW, NO_KEY, OVERLOADED, SERVER_GONE, answer, ask, browser, ended, script, scrolls_sideways,
                         send, visit)

pytestmark = pytest.mark.release_only

TEMPLATE = ("{{ bos_token }}{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
            "<assistant>{# answers may think: <think> </think> #}")


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir, f"template={TEMPLATE}", "context=65536")
    yield server
    server.stop()


@pytest.fixture
def page(chromium, server):
    with visit(chromium, server) as page:
        yield page


def texts(page, selector):
    return page.locator(selector).all_inner_texts()


def last_asked(server, count):
    """What the engine was asked for, of the `count` next requests with tell=1 the last."""
    server.wait_idle(count)
    return [event for event in server.events if event["event"] == "asked"][-1]


def test_an_answer_streams_in_and_says_what_it_cost(page, server):
    send(page, script("One **bold** word, then `code`.", delay=50))
    page.wait_for_selector(".answer[aria-busy=true] .markdown:has-text('One')")
    assert page.get_by_role("button", name="Stop").is_enabled()
    said = answer(page)
    assert said.locator("strong").inner_text() == "bold" and said.locator("code").inner_text() == "code"
    end = [event for event in server.events if event["event"] == "end"][-1]
    facts = " | ".join(texts(page, ".answer .facts li"))
    assert re.search(r"\b\d[\d,.]* tokens/s", facts)
    assert f"{end['generated']} tokens" in facts and f"prompt {end['prompt_tokens']:,} tokens" in facts
    assert re.search(r"first token \d+\.\d\d s", facts)
    assert page.locator("#announcements").inner_text() == "One **bold** word, then `code`."
    assert page.locator("#prompt").input_value() == "" and page.evaluate("document.activeElement.id") == "prompt"
    assert page.locator("#send").is_disabled(), "there is nothing to send"


def test_code_is_copied_as_it_was_written(page):
    code = "int main(void)\n{\n\treturn 0; /* <b> & \"c\" */\n}"
    said = ask(page, script(f"Here:\n\n```c\n{code}\n```\n"))
    assert said.locator("figcaption").inner_text().strip() == "c"
    said.get_by_role("button", name="Copy code").click()
    said.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == code
    said.get_by_role("button", name="Copy answer").click()
    page.wait_for_function("async (text) => await navigator.clipboard.readText() === text", arg=f"Here:\n\n```c\n{code}\n```\n")


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stop_ends_the_request_and_keeps_what_came(page, server, how):
    send(page, f"[[tokens=500 delay=20]] {how}")
    page.wait_for_selector(".answer[aria-busy=true] .markdown p")
    if how == "button":
        page.get_by_role("button", name="Stop").click()
    else:
        page.keyboard.press("Escape")
    said = answer(page)
    assert said.locator(".markdown").last.inner_text() != ""
    assert "stopped" in texts(page, ".answer .facts li")
    assert page.locator(".failure:visible").count() == 0
    server.wait_idle()
    assert [event for event in server.events if event["event"] == "end"][-1]["reason"] == "cancelled"


def test_regenerate_asks_the_same_again(page, server):
    first = ask(page, "[[tokens=12 tell=1]]").locator(".markdown").last.inner_text()
    before = last_asked(server, 1)
    page.get_by_role("button", name="Regenerate").click()
    page.wait_for_function("(first) => { const last = document.querySelector('.answer:last-child');"
                           " return last.ariaBusy === 'false' && last.querySelectorAll('.markdown')[1].innerText !== first }", arg=first)
    assert page.locator(".answer").count() == 1
    after = last_asked(server, 2)
    assert after["id"] != before["id"] and after["prompt"] == before["prompt"]


def test_a_question_can_be_put_differently(page, server):
    ask(page, script("first"))
    ask(page, script("second"))
    page.locator(".question").first.hover()
    page.get_by_role("button", name="Edit", exact=True).first.click()
    page.get_by_label("Your message").press("Escape")
    assert page.locator(".message").count() == 4, "nothing was sent"
    page.get_by_role("button", name="Edit", exact=True).first.click()
    page.get_by_label("Your message").fill(script("instead", tell=1))
    page.get_by_label("Your message").press("Enter")
    page.wait_for_selector(".answer[aria-busy=false]:has-text('instead')")
    assert texts(page, ".answer .markdown:nth-of-type(2), .answer > .markdown") == ["instead"]
    assert "first" not in last_asked(server, 1)["prompt"] and page.locator(".message").count() == 2


def test_what_is_said_before_goes_along(page, server):
    ask(page, script("the sea"))
    ask(page, "and then [[tell=1 tokens=1]]")
    prompt = last_asked(server, 2)["prompt"]
    assert "<assistant>the sea\n<user>and then" in prompt


def test_model_system_prompt_and_sampling_are_sent(page, server):
    page.wait_for_selector("#model option", state="attached")
    assert texts(page, "#model option") == ["fake-model"]
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Be a pirate.")
    wanted = {"Temperature": "0.25", "Top p": "0.5", "Top k": "7", "Min p": "0.125", "Most tokens": "3", "Seed": "42",
              "Repetition penalty": "1.5", "Presence penalty": "-0.5", "Frequency penalty": "0.75"}
    for label, value in wanted.items():
        page.get_by_label(label, exact=True).fill(value)
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    ask(page, "[[tell=1 tokens=9]]")
    asked = last_asked(server, 1)
    assert "<system>Be a pirate.\n<user>" in asked["prompt"]
    assert (asked["temperature"], asked["top_p"], asked["top_k"], asked["min_p"], asked["max_tokens"],
            asked["repeat_penalty"], asked["presence_penalty"], asked["frequency_penalty"]) == (0.25, 0.5, 7, 0.125, 3, 1.5, -0.5, 0.75)
    assert [event for event in server.events if event["event"] == "end"][-1]["seed"] == 42
    assert "cut at the most tokens" in texts(page, ".facts li")
    page.reload()
    page.get_by_role("button", name="New chat").click()
    page.get_by_role("button", name="Settings").click()
    assert page.get_by_label("Temperature").input_value() == "0.25", "a new conversation begins with them"
    page.get_by_role("button", name="Back to the server's defaults").click()
    assert page.get_by_label("Temperature").input_value() == "" and page.get_by_label("System prompt").input_value() == ""


def test_a_setting_out_of_range_is_not_taken(page, server):
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Temperature").fill("7")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    ask(page, "[[tell=1 tokens=1]]")
    assert last_asked(server, 1)["temperature"] == pytest.approx(0.7, abs=0.01)


def test_thinking_stands_apart(page, server):
    said = ask(page, script("<think>Let me *see*.</think>It is so."))
    summary = said.locator("summary")
    assert re.fullmatch(r"Thought for \d+\.\d\d s", summary.inner_text())
    assert not said.locator("details em").is_visible()
    assert said.locator("> .markdown").inner_text() == "It is so."
    summary.click()
    assert said.locator("details em").inner_text() == "see"
    ask(page, "[[tell=1 tokens=1]]")
    assert "Let me" not in last_asked(server, 2)["prompt"]


def test_history_outlives_a_reload(page, server):
    ask(page, "first thing " + script("alpha"))
    page.get_by_role("button", name="New chat").click()
    page.wait_for_selector("#welcome:visible")
    ask(page, "second thing " + script("beta"))
    page.reload()
    page.wait_for_selector(".answer:has-text('beta')")
    assert [title.split(" [[")[0] for title in texts(page, "#conversation-list .title")] == ["second thing", "first thing"]
    page.locator("#conversation-list .title").last.click()
    page.wait_for_selector(".answer:has-text('alpha')")
    assert "tokens/s" in " ".join(texts(page, ".facts li"))


def test_a_reload_in_the_middle_keeps_what_came(page, server):
    send(page, "[[tokens=500 delay=20]]")
    page.wait_for_selector(".answer[aria-busy=true] .markdown p")
    page.reload()
    said = answer(page)
    assert said.locator("> .markdown").inner_text() != "" and "stopped" in texts(page, ".facts li")
    server.wait_idle()


def test_conversations_are_renamed_deleted_and_brought_back(page):
    ask(page, script("alpha"))
    page.get_by_role("button", name=re.compile("^Rename")).click()
    page.get_by_label("Title").fill("The sea")
    page.get_by_label("Title").press("Enter")
    assert texts(page, "#conversation-list .title") == ["The sea"]
    assert page.evaluate("document.activeElement.innerText") == "The sea"
    page.reload()
    page.get_by_role("button", name="Delete “The sea”").click()
    page.wait_for_selector("#welcome:visible")
    assert page.locator("#conversation-list li").count() == 0
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector(".answer:has-text('alpha')")
    page.get_by_role("button", name="Delete “The sea”").click()
    page.reload()
    page.wait_for_selector("#welcome:visible")
    assert page.locator("#conversation-list li").count() == 0


def test_conversations_travel_in_a_file(page, tmp_path):
    ask(page, script("alpha"))
    page.get_by_role("button", name="Settings").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    path = tmp_path / "conversations.json"
    download.value.save_as(path)
    exported = json.loads(path.read_text())
    assert [m["content"] for m in exported["conversations"][0]["messages"]][1] == "alpha"
    page.get_by_role("button", name="Delete all").click()
    page.locator("#clear-dialog").get_by_role("button", name="Cancel").click()
    assert page.locator("#conversation-list li").count() == 1
    page.get_by_role("button", name="Delete all").click()
    page.locator("#clear-dialog").get_by_role("button", name="Delete all").click()
    page.wait_for_selector("#welcome:visible")
    for content, notice in ((path.read_text(), "1 conversation imported."), (path.read_text(), "Nothing in the file is new."),
                            ("{}", "it was not exported from this page"), ("no JSON", "The file was not imported"),
                            (json.dumps({**exported, "conversations": [{"id": "x", "title": 1}]}), "a conversation in it is none")):
        page.set_input_files("#import-file", {"name": "a.json", "mimeType": "application/json", "buffer": content.encode()})
        page.wait_for_selector(f"#notice:has-text({json.dumps(notice)})")
    page.reload()
    page.locator("#conversation-list .title").click()
    page.wait_for_selector(".answer:has-text('alpha')")


def test_a_browser_that_keeps_nothing_is_told_of(page):
    page.evaluate("() => { IDBObjectStore.prototype.put = () => { throw new DOMException('the disk is full', 'QuotaExceededError') } }")
    ask(page, script("alpha"))
    page.wait_for_selector("#notice:has-text('the disk is full')")


def test_another_tab_sees_it_too(page):
    other = page.context.new_page()
    other.goto(page.url)
    ask(page, "hello " + script("alpha"))
    other.locator("#conversation-list .title:has-text('hello')").click()
    other.wait_for_selector(".answer:has-text('alpha')")


HOSTILE = """<script>window.pwned = 1</script> <img src=x onerror="window.pwned = 1"> <b>bold</b>

[one](javascript:window.pwned=1) [two](JaVaScRiPt:window.pwned=1) [three](data:text/html,<script>window.pwned=1</script>)
[four](java\tscript:window.pwned=1) <javascript:window.pwned=1> [five](vbscript:x) [six](//elsewhere.example/x)
![image](https://elsewhere.example/x.png) [fine](https://example.com/"onmouseover="window.pwned=1) &lt;script&gt;

```html"><script>window.pwned = 1</script>
</code></pre><script>window.pwned = 1</script>
```

| <script>window.pwned = 1</script> | b |
|---|---|
| <iframe src="javascript:window.pwned=1"> | [x](javascript:window.pwned=1) |
"""


def test_hostile_answers_are_text(page):
    said = ask(page, "<img src=x onerror=window.pwned=1> " + script(HOSTILE))
    assert said.locator("script, img, iframe, b").count() == 0 and page.locator("#sidebar script, #sidebar li img").count() == 0
    links = said.locator("a").evaluate_all("all => all.map((a) => [a.protocol, a.rel, a.getAttributeNames().sort().join()])")
    assert len(links) == 2
    assert {tuple(link) for link in links} == {("https:", "noopener noreferrer nofollow", "href,rel,target")}
    assert "<script>window.pwned = 1</script> <img src=x" in said.inner_text()
    page.get_by_role("button", name=re.compile("^Rename")).click()
    page.keyboard.press("Escape")
    assert page.evaluate("window.pwned") is None


def test_the_servers_death_is_told_and_outlived(chromium, build_dir):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ended(FakeServer(build_dir, f"port={port}")) as server, visit(chromium, server, allowed=SERVER_GONE) as page:
        send(page, "[[tokens=900 delay=20]]")
        page.wait_for_selector(".answer[aria-busy=true] .markdown p")
        server.signal(signal.SIGKILL)
        server.stop(expected=-signal.SIGKILL)
        said = answer(page)
        assert said.locator("> .markdown").inner_text() != "", "what came stays"
        assert "lost" in said.locator(".failure").inner_text()
        page.wait_for_selector("#outage:visible")
        assert "does not answer" in ask(page, script("alive")).locator(".failure").inner_text()
        with ended(FakeServer(build_dir, f"port={port}")) as server:
            page.wait_for_selector("#outage", state="hidden")
            page.get_by_role("button", name="Try again").last.click()
            page.wait_for_selector(".answer:last-child[aria-busy=false]:has-text('alive')")
            assert page.locator(".failure:visible").count() == 1, "that of the first answer"


@pytest.mark.parametrize("problem, said", [
    ("[[refuse=busy]]", "The queue is full."), ("[[fail=3 tokens=9]]", "the script says so")])
def test_the_servers_refusals_are_told_in_its_words(chromium, server, problem, said):
    with visit(chromium, server, allowed=OVERLOADED) as page:
        assert said in ask(page, problem).locator(".failure").inner_text()


def test_a_question_that_got_no_answer_is_not_asked_along(chromium, server):
    with visit(chromium, server, allowed=OVERLOADED) as page:
        ask(page, "[[refuse=busy]]")
        assert ask(page, script("fine", tell=1)).locator("> .markdown").inner_text() == "fine"
        assert "refuse" not in last_asked(server, 1)["prompt"]


def test_a_key_is_asked_for_tried_and_kept_in_the_tab(chromium, build_dir):
    with ended(FakeServer(build_dir, "api_key=sesame")) as server, visit(chromium, server, allowed=NO_KEY) as page:
        key = page.get_by_label("Key", exact=True)
        key.fill("wrong")
        key.press("Enter")
        page.wait_for_selector("#key-problem:has-text('does not take this key')")
        page.keyboard.press("Escape")
        assert page.locator("#locked").is_visible()
        send(page, script("open"))
        key.fill("sesame")
        key.press("Enter")
        page.wait_for_selector(".answer[aria-busy=false]:has-text('open')")
        assert page.locator("#locked").is_hidden()
        page.reload()
        ask(page, script("still open"))
        assert page.locator("dialog[open]").count() == 0
        assert page.evaluate("Object.values(localStorage).join() + document.cookie").count("sesame") == 0


def test_it_can_be_used_by_keyboard(page):
    page.wait_for_function("() => document.activeElement.id === 'prompt'")
    page.keyboard.type("two")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("lines [[tokens=1]]")
    assert page.locator(".message").count() == 0
    page.keyboard.press("Enter")
    answer(page)
    assert page.locator(".bubble").inner_text() == "two\nlines [[tokens=1]]"
    page.reload()
    page.wait_for_selector(".answer")
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText.trim()"))
    order = ["New chat", "Chat", "Engine", "Settings", "Colours: as the system has it", "Messages", "Edit",
             "Copy message", "Copy answer", "Regenerate", "Message"]
    assert [name for name in reached if name in order] == order


def test_a_narrow_window_has_all_of_it_and_never_scrolls_sideways(chromium, server):
    with visit(chromium, server, viewport=NARROW) as page:
        ask(page, "x" * 300 + script("y" * 400 + " https://example.com/" + "z" * 300 + "\n\n```\n" + "w" * 300 + "\n```\n\n|" +
                                     "column of a table|" * 9 + "\n|" + "---|" * 9 + "\n\n# " + "h" * 200 + "\n\n`" + "c" * 200 + "`"))
        assert not scrolls_sideways(page)
        assert not page.locator("#sidebar").is_visible()
        page.get_by_role("button", name="Conversations").click()
        page.wait_for_function("() => document.querySelector('#sidebar').getBoundingClientRect().left === 0")
        assert page.locator("#conversation-list .title").is_visible() and not scrolls_sideways(page)
        page.keyboard.press("Escape")
        page.wait_for_selector("#sidebar", state="hidden")
        assert page.evaluate("document.activeElement.id") == "open-sidebar"
        page.get_by_role("button", name="Settings").click()
        assert not scrolls_sideways(page)
        assert page.evaluate("(d => d.scrollWidth <= d.clientWidth)(document.querySelector('#settings'))")


def test_the_theme_is_the_systems_or_ones_own(chromium, server):
    dark = "document.defaultView.getComputedStyle(document.body).backgroundColor"
    with visit(chromium, server, theme="dark") as page:
        of_system = page.evaluate(dark)
        page.get_by_role("button", name="Colours: as the system has it").click()
        page.get_by_role("button", name="Colours: light").wait_for()
        assert page.evaluate(dark) != of_system
        page.reload()
        page.get_by_role("button", name="Colours: light").click()
        page.get_by_role("button", name="Colours: dark").wait_for()
        assert page.evaluate(dark) == of_system


def test_a_reader_who_scrolled_up_is_left_there(page):
    send(page, "[[tokens=4000 delay=1]]")
    page.wait_for_function("() => (m => m.scrollHeight > m.clientHeight + 100)(document.querySelector('#messages'))")
    assert page.evaluate("(m => m.scrollHeight - m.scrollTop - m.clientHeight < 60)(document.querySelector('#messages'))")
    page.evaluate("document.querySelector('#messages').scrollTop = 0")
    page.get_by_role("button", name="To the end").wait_for()
    length = "document.querySelector('.answer').innerText.length"
    before = page.evaluate(length)
    page.wait_for_function(f"() => {length} > {before} + 100")
    assert page.evaluate("document.querySelector('#messages').scrollTop") == 0
    page.get_by_role("button", name="To the end").click()
    page.wait_for_selector("#to-end", state="hidden")
    page.keyboard.press("Escape")
    answer(page)
