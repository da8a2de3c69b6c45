"""The page that mistral bench serve writes, in a real browser: narrow and wide, light and dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from program import Program
from test_bench_serve import Scripted, trace
from web_browser import browser

pytestmark = pytest.mark.release_only


@pytest.fixture(scope="module")
def report(mistral, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    ours, theirs = Scripted(), Scripted()
    path = trace(folder, [(0, "first=20 gap=5 tokens=4", {"scenario": name}) for name in ("one", "two", "three") * 2]
                 + [(0, "status=503", {"scenario": "one"})])
    try:
        Program(mistral, folder).good(
            "bench", "serve", ours.url, "--baseline", f"{theirs.url},ollama", "--trace", str(path), "-c", "1,3", "--rounds", "3",
            "--server-pid", str(ours.process.pid), "--baseline-pid", str(theirs.process.pid), "--slo", "ttft=1s",
            "--name", "ours", "--baseline-name", "theirs", "-o", str(folder / "report.html"))
    finally:
        ours.stop()
        theirs.stop()
    return folder / "report.html"


@pytest.fixture(scope="module")
def running():
    with browser() as chromium:
        yield chromium


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_reads_well(report, running, width, theme):
    context = running.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", report.as_uri()))] == []
    plots = page.locator("figure.plot")
    assert [title.split(",")[0] for title in plots.locator("strong").all_inner_texts()] == [
        "Time of a whole answer", "Time to the first token", "Throughput against concurrency", "The server's memory"]
    for i in range(plots.count()):
        lines = plots.nth(i).locator("polyline")
        assert lines.count() == 2, "one of each server"
        box = lines.first.bounding_box()
        assert box["width"] + box["height"] > 50, "the line is drawn"
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is wider than the window"
    smallest = page.evaluate("""Math.min(...[...document.querySelectorAll("figure svg[role=img] text")].map(
        (text) => text.getBoundingClientRect().height))""")
    assert smallest >= 9, "the axes can be read"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (theme == "light")
    assert "6 of 42 requests failed" in page.inner_text(".remarks")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()
