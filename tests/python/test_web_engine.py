"""The page's Engine view, and a first talk with a real model."""

import re
import signal
import threading

import pytest
from metrics_page import MetricsPage
from prometheus_client.parser import text_string_to_metric_families
from server_harness import FakeServer, RealServer, chat
from web_browser import NARROW, SERVER_GONE, answer, browser, ended, script, scrolls_sideways, send, visit

pytestmark = pytest.mark.release_only

TITLES = ["Generated tokens a second", "Prompt tokens a second", "Requests under way", "Requests a second", "Batch and queue",
          "Time to first token, last 30 s", "Time between tokens, last 30 s", "KV cache",
          "Prompts found in the prefix cache, last 30 s", "Memory", "Processor", "Device at work"]


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


def plot(page, title):
    return page.locator(f".plot:has(h3:text-is('{title}'))")


def value(page, title, series=0):
    """What stands beside a plot as its value, as a number."""
    text = plot(page, title).locator("strong").nth(series).inner_text()
    return float(re.sub(r"[^\d.]", "", text) or "nan")


def wait_for_value(page, title, least, series=0):
    page.wait_for_function("""([title, series, least]) => {
        const plot = [...document.querySelectorAll(".plot")].find((one) => one.querySelector("h3").textContent === title);
        return parseFloat(plot.querySelectorAll("strong")[series].textContent) >= least;
    }""", arg=[title, series, least])


def figure(page, label):
    return page.locator(f"#figures div:has(dt:text-is('{label}')) dd").inner_text()


def test_a_real_model_answers_and_its_engine_is_seen_at_work(chromium, mistral, smollm2, tmp_path):
    with ended(RealServer(mistral, smollm2, home=tmp_path)) as server, visit(chromium, server) as page:
        send(page, "Tell a long story about the sea, a ship and a storm.")
        page.wait_for_selector(".answer[aria-busy=true] .markdown p")
        page.get_by_role("link", name="Engine").click()
        assert page.locator(".plot h3").all_inner_texts() == TITLES
        wait_for_value(page, "Generated tokens a second", 1)
        assert value(page, "Requests under way") == 1 and value(page, "Batch and queue") == 1
        assert value(page, "Memory") > 50 and value(page, "Memory", 1) > 50
        assert page.locator("#engine-models").inner_text() == "SmolLM2-135M-Instruct.Q4_1"
        path = plot(page, "Generated tokens a second").locator("path.line").first
        before = path.get_attribute("d")
        page.wait_for_function("""(before) => document.querySelector(".plot path.line").getAttribute("d") !== before""", arg=before)
        assert re.fullmatch(r"(M[\d.]+ [\d.]+(L[\d.]+ [\d.]+)*)+", before)
        page.get_by_role("link", name="Chat").click()
        page.keyboard.press("Escape")
        facts = " ".join(answer(page).locator(".facts li").all_inner_texts())
        assert "tokens/s" in facts and "first token" in facts
        page.get_by_role("link", name="Engine").click()
        wait_for_value(page, "Time to first token, last 30 s", 0)
        wait_for_value(page, "Time between tokens, last 30 s", 0, 1)
        page.wait_for_selector("#figures div:has(dt:text-is('Requests')) dd:text-is('1')")
        assert int(figure(page, "Tokens generated").replace(",", "")) > 1


@pytest.fixture(scope="module")
def server(build_dir):
    server = FakeServer(build_dir)
    yield server
    server.stop()


def test_before_anything_was_asked_it_says_so(chromium, build_dir):
    with ended(FakeServer(build_dir)) as server, visit(chromium, server, "/#engine") as page:
        page.wait_for_selector("#engine-when:has-text('Nothing was asked yet.')")
        page.wait_for_function("() => document.querySelector('#model').options.length > 0")
        for _ in range(3):  # the page's own questions are counted, and it has seen them counted
            page.wait_for_event("response", lambda response: response.url.endswith("/metrics"))
        assert page.locator("#engine-when").inner_text() == "Nothing was asked yet."
        assert figure(page, "Requests") == "0" and value(page, "Requests under way") == 0
        assert plot(page, "Time to first token, last 30 s").locator("strong").first.inner_text() == "–"
        page.reload()
        page.wait_for_selector("#engine-view:visible")


def test_plots_move_under_load_and_tell_what_was(chromium, server):
    with visit(chromium, server, "/#engine") as page:
        page.wait_for_selector("#engine-body:visible")
        askers = [threading.Thread(target=server.request, args=("POST", "/v1/chat/completions", chat("[[tokens=100 delay=20]]")))
                  for _ in range(3)]
        [asker.start() for asker in askers]
        wait_for_value(page, "Requests under way", 3)
        wait_for_value(page, "Generated tokens a second", 20)
        [asker.join() for asker in askers]
        page.wait_for_function("() => document.querySelectorAll('.plot strong')[2].textContent === '0'")
        assert int(figure(page, "Tokens generated").replace(",", "")) == MetricsPage(server).get("mistral_generate_tokens_total", model="fake-model")
        server.request("POST", "/v1/chat/completions", "{")
        wait_for_value(page, "Requests a second", 0.1, 1)
        assert figure(page, "Failed requests") == "1"
        page.wait_for_timeout(1500)
        box = plot(page, "Requests under way").locator("svg").bounding_box()
        highest = 0
        for share in range(40, 100, 2):  # from left to right: the values are those of the time that is pointed at
            page.mouse.move(box["x"] + box["width"] * share / 100, box["y"] + 20)
            highest = max(highest, value(page, "Requests under way"))
        assert highest == 3
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
        assert re.fullmatch(r"\d+ seconds ago", page.locator("#engine-when").inner_text())
        assert page.locator(".plot .cursor").evaluate_all("all => all.filter((one) => one.style.display !== 'none').length") == len(TITLES), "all plots show the same moment"
        page.mouse.move(5, 5)
        assert page.locator("#engine-when").inner_text() == "Now" and value(page, "Requests under way") == 0


def test_it_outlives_the_server(chromium, build_dir, free_port):
    with ended(FakeServer(build_dir, f"port={free_port}")) as server, visit(chromium, server, "/#engine", allowed=SERVER_GONE) as page:
        server.request("POST", "/v1/chat/completions", chat("[[tokens=9]]"))
        page.wait_for_function("() => [...document.querySelectorAll('#figures dd')].some((one) => one.textContent !== '0')")
        server.signal(signal.SIGKILL)
        server.stop(expected=-signal.SIGKILL)
        page.wait_for_selector("#outage:visible")
        assert page.locator(".plot").count() == len(TITLES), "what was read stays to be seen"
        with ended(FakeServer(build_dir, f"port={free_port}")) as server:
            page.wait_for_selector("#outage", state="hidden")
            page.wait_for_selector("#engine-when:has-text('Nothing was asked yet.')")
            assert value(page, "Requests a second") in (0, pytest.approx(float("nan"), nan_ok=True)), "its counters began anew"


def test_without_a_server_it_says_what_is_missing(chromium, server):
    with visit(chromium, server, allowed=SERVER_GONE) as page:
        page.route("**/metrics", lambda route: route.abort("connectionrefused"))
        page.goto(server.base_url + "/?anew#engine")
        page.wait_for_selector("#engine-empty:visible")
        page.wait_for_selector("#outage:visible")


def test_a_narrow_window_has_all_plots(chromium, server):
    with visit(chromium, server, "/#engine", viewport=NARROW) as page:
        page.wait_for_selector("#engine-body:visible")
        assert not scrolls_sideways(page)
        assert {round(box["width"]) for box in (one.bounding_box() for one in page.locator(".plot").all())} == {
            round(page.locator("#plots").bounding_box()["width"])}


def test_metrics_are_read_as_prometheus_reads_them(chromium, server):
    nasty = ('# TYPE a counter\na_total{x="b\\"c,d}\\\\\\n",y=""} 3\nb 1e-05\nc{le="+Inf"} 7\nd NaN\ne -4.5 1700000000000\nf +Inf\n')
    with visit(chromium, server) as page:
        for text in (MetricsPage(server).text, nasty):
            ours = page.evaluate("""async (text) => {
                const { parseMetrics } = await import("/web/metrics.js");
                return [...parseMetrics(text)].flatMap(([name, series]) => series.map(({ labels, value }) => [name, labels, String(value)]));
            }""", text)
            theirs = [(sample.name, sample.labels, sample.value) for family in text_string_to_metric_families(text) for sample in family.samples]
            assert sorted((name, sorted(labels.items()), str(float(number))) for name, labels, number in ours) == \
                sorted((name, sorted(labels.items()), str(float(number))) for name, labels, number in theirs)


def test_quantiles_are_of_what_came_in_between(chromium, server):
    before = 'h_bucket{m="a",le="1"} 5\nh_bucket{m="a",le="2"} 9\nh_bucket{m="a",le="+Inf"} 9\n'
    now = 'h_bucket{m="a",le="1"} 15\nh_bucket{m="a",le="2"} 29\nh_bucket{m="a",le="+Inf"} 29\n'
    with visit(chromium, server) as page:
        found = page.evaluate("""async ([before, now]) => {
            const { parseMetrics, quantile } = await import("/web/metrics.js");
            const [a, b] = [before, now].map((text) => ({ time: 0, metrics: parseMetrics(text) }));
            return [[b, a, 0.25], [b, a, 0.5], [b, a, 0.75], [b, a, 1], [b, b, 0.5]].map(([now, before, q]) => quantile(now, before, "h", q));
        }""", [before, now])
    assert found == [0.5, 1, 1.5, 2, None]  # ten below 1, ten from 1 to 2
