"""What /metrics says of requests, over the scripted engine: every amount is known beforehand."""

import re
import subprocess
import time

import pytest
from metrics_page import OPENMETRICS, MetricsPage
from server_harness import (FakeServer, chat, make_request, parse_answer, receive_all,
                            receive_until, sse_objects)

CHAT = "/v1/chat/completions"
MODEL = "fake-model"


@pytest.fixture
def server(build_dir):
    server = FakeServer(build_dir, "api_key=secret", "max_body_bytes=2000", "max_requests=2",
                        "context=512")
    request = server.request
    server.request = lambda method, path, body=None, headers=None: request(
        method, path, body, {"X-Api-Key": "secret", **(headers or {})})
    yield server
    server.stop()


def ask(server, script, **fields):
    return server.request("POST", CHAT, chat(f"[[{script}]]", **fields))


def generated_by(server, requests=1):
    """Tokens the scripted engine has made in all, once that many requests have ended."""
    server.wait_idle(requests)
    return sum(e["generated"] for e in server.events if e["event"] == "end")


def requests(page, endpoint, status, error="none"):
    return page.get("mistral_http_requests_total", endpoint=endpoint, status=str(status),
                    error_type=error)


def settled(server, of):
    """The page once `of` holds: a request's end is counted when its last byte has left."""
    for _ in range(500):
        page = MetricsPage(server)
        if of(page):
            return page
    raise AssertionError(page.text)


def test_an_answer_is_counted(server):
    before = MetricsPage(server)
    usage = ask(server, "tokens=5").json["usage"]
    assert usage["completion_tokens"] >= 5
    page = MetricsPage(server)
    assert requests(page, CHAT, 200) == 1
    assert page.get("mistral_generate_tokens_total", model=MODEL) == usage["completion_tokens"]
    assert page.get("mistral_prompt_tokens_total", model=MODEL) == usage["prompt_tokens"]
    for name in ("mistral_generate_duration_seconds_count",
                 "mistral_time_to_first_token_seconds_count"):
        assert page.get(name, model=MODEL) == 1, name
    assert page.get("mistral_http_request_duration_seconds_count", endpoint=CHAT) == 1
    assert requests(page, "/metrics", 200) == requests(before, "/metrics", 200) + 1
    assert page.get("mistral_active_requests") == 0, "who reads the gauge is not counted in it"
    assert page.get("mistral_streaming_chunks_total", endpoint=CHAT) == 0


def test_a_stream_is_timed_and_active_to_its_last_byte(server):
    with server.connect() as connection:
        connection.sendall(make_request("POST", CHAT, chat("[[tokens=4 delay=150]]", stream=True),
                                        {"X-Api-Key": "secret"}))
        begun = receive_until(connection, b"data: ")
        page = MetricsPage(server)
        assert page.get("mistral_active_requests") == 1
        assert requests(page, CHAT, 200) == 0
        rest = receive_all(connection)
    events, is_done = sse_objects(parse_answer(begun + rest).body)
    page = settled(server, lambda page: requests(page, CHAT, 200) == 1)
    assert is_done
    assert page.get("mistral_streaming_chunks_total", endpoint=CHAT) == len(events) + 1
    assert page.get("mistral_active_requests") == 0
    assert page.get("mistral_generate_tokens_total", model=MODEL) == generated_by(server)
    seconds = page.get("mistral_http_request_duration_seconds_sum", endpoint=CHAT)
    assert seconds >= 0.45, "three pauses of 150 ms, after the headers were long sent"
    first = page.get("mistral_time_to_first_token_seconds_sum", model=MODEL)
    assert 0 < first < seconds - 0.4


def test_a_client_that_leaves_is_counted_with_what_it_was_given(server):
    with server.connect() as connection:
        connection.sendall(make_request("POST", CHAT, chat("[[tokens=500 delay=5]]", stream=True),
                                        {"X-Api-Key": "secret"}))
        receive_until(connection, b"data: ")
    page = settled(server, lambda page: requests(page, CHAT, 200, "client_left") == 1)
    server.wait_idle(submitted=1)
    page = settled(server, lambda page: page.get("mistral_active_requests") == 0)
    assert 1 <= generated_by(server)
    assert page.get("mistral_generate_tokens_total", model=MODEL) == generated_by(server)
    assert page.get("mistral_generate_duration_seconds_count", model=MODEL) == 0
    with server.connect() as connection:  # and one that leaves before anything was said
        connection.sendall(make_request("POST", CHAT, chat("[[prefill=60000]]"),
                                        {"X-Api-Key": "secret"}))
        server.wait_event(lambda e: e["event"] == "submit" and e["id"] == 2)
        assert MetricsPage(server).get("mistral_active_requests") == 1
    page = settled(server, lambda page: requests(page, CHAT, 499, "client_left") == 1)
    assert page.get("mistral_active_requests") == 0


def test_what_is_turned_away_is_counted_by_its_reason(server):
    refused = [
        (lambda: server.request("GET", "/nowhere?x=1"), "other", 404, "unknown_url", None),
        (lambda: server.request("GET", "/health/../etc/passwd"), "other", 404, "unknown_url", None),
        (lambda: server.request("GET", CHAT), CHAT, 405, "method_not_supported", None),
        (lambda: server.request("POST", CHAT, "{", None), CHAT, 400, None, None),
        (lambda: server.request("POST", CHAT, chat("x" * 2000)), "other", 413, "body_too_large",
         "too_large"),
        (lambda: server.request("POST", CHAT, chat("x"), {"X-Api-Key": "wrong"}), CHAT, 401,
         "invalid_api_key", "unauthorized"),
        (lambda: server.request("GET", "/v1/models", headers={"Host": "evil.example"}),
         "/v1/models", 403, "host_not_allowed", "forbidden"),
        (lambda: server.request("GET", "/v1/models", headers={"Origin": "https://evil.example"}),
         "/v1/models", 403, "origin_not_allowed", "forbidden"),
        (lambda: ask(server, "refuse=busy"), CHAT, 503, "queue_full", "queue_full"),
        (lambda: ask(server, "refuse=context"), CHAT, 400, "context_length_exceeded",
         "context_length"),
    ]
    for send, endpoint, status, error, reason in refused:
        before = MetricsPage(server)
        assert send().status == status
        page = MetricsPage(server)
        grown = {key[0]: (dict(key[1]), value) for key, value in page.since(before).items()
                 if key[0] in ("mistral_http_requests_total", "mistral_rejections_total")
                 and ("endpoint", "/metrics") not in key[1]}
        labels, amount = grown["mistral_http_requests_total"]
        assert (labels["endpoint"], labels["status"], amount) == (endpoint, str(status), 1)
        assert labels["error_type"] == error if error else labels["error_type"] != "none"
        if reason is None:
            assert "mistral_rejections_total" not in grown, error
        else:
            assert grown["mistral_rejections_total"] == ({"reason": reason}, 1)
    assert page.get("mistral_active_requests") == 0


def test_a_request_that_is_no_request_is_counted(server):
    answer = parse_answer(server.exchange(b"NONSENSE\r\n\r\n"))
    page = settled(server, lambda page: page.get("mistral_active_requests") == 0)
    assert requests(page, "other", answer.status, "malformed_request") == 1


def test_connections_and_those_that_gave_way_are_counted(build_dir):
    server = FakeServer(build_dir, "max_connections=3")
    try:
        before = MetricsPage(server)
        assert before.get("mistral_http_connections") == 1
        held = [server.connect() for _ in range(4)]
        server.assert_healthy()
        page = MetricsPage(server)
        assert page.get("mistral_http_connections") == 3
        assert page.get("mistral_http_connections_displaced_total", state="idle") >= 2
        for connection in held:
            connection.close()
    finally:
        server.stop()


def test_the_queue_of_bodies_is_seen(build_dir):
    slow = {"model": MODEL, "stream": False, "prompt": "x",
            "template": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"}
    server = FakeServer(build_dir, "preparers=1")
    try:
        before = MetricsPage(server)
        assert before.get("mistral_preparer_queue_size") == 0
        connections = [server.connect() for _ in range(3)]
        for connection in connections:
            connection.sendall(make_request("POST", "/api/generate", slow))
        settled(server, lambda page: page.get("mistral_preparer_queue_size") >= 1)
        for connection in connections:
            assert parse_answer(receive_all(connection)).status == 400
            connection.close()
        page = settled(server, lambda page: page.get("mistral_preparer_queue_size") == 0)
        assert page.get("mistral_preparer_wait_seconds" "_count") == 6, "read, then made into tokens"
    finally:
        server.stop()


def test_a_failure_in_the_middle_of_a_stream_is_an_error_with_status_200(server):
    assert ask(server, "tokens=9 fail=3", stream=True).status == 200
    page = MetricsPage(server)
    failed = {key: value for key, value in page.samples.items()
              if key[0] == "mistral_http_requests_total" and ("endpoint", CHAT) in key[1]
              and value > 0}
    (labels, amount), = failed.items()
    assert amount == 1 and dict(labels[1])["error_type"] != "none"
    assert page.get("mistral_generate_tokens_total", model=MODEL) == generated_by(server)


def test_several_answers_to_one_prompt_count_the_prompt_once(server):
    usage = ask(server, "tokens=3", n=2).json["usage"]
    page = MetricsPage(server)
    assert page.get("mistral_prompt_tokens_total", model=MODEL) == usage["prompt_tokens"]
    assert page.get("mistral_generate_tokens_total", model=MODEL) == generated_by(server, 2) == usage["completion_tokens"]
    assert page.get("mistral_time_to_first_token_seconds_count", model=MODEL) == 1


def test_the_key_is_asked_for_and_a_head_has_no_body(build_dir, server):
    bare = FakeServer.request(server, "GET", "/metrics")
    assert bare.status == 401
    head = server.request("HEAD", "/metrics")
    assert head.status == 200 and head.body == b"" and int(head.headers["content-length"]) > 1000


@pytest.mark.parametrize("accept, is_openmetrics", [
    (None, False),
    ("*/*", False),
    ("text/plain", False),
    ("application/openmetrics-text", True),
    ("application/openmetrics-text; version=1.0.0; charset=utf-8", True),
    ("application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;"
     "q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", True),
    ("application/openmetrics-text;q=0.2, text/plain;q=0.7", False),
    ("application/openmetrics-text;q=0", False),
    (",;q=,;;=\",text/", False),
])
def test_the_format_is_the_one_asked_for(server, accept, is_openmetrics):
    ask(server, "tokens=2")
    page = MetricsPage(server, {"Accept": accept} if accept else None)
    assert page.content_type.startswith(OPENMETRICS) == is_openmetrics
    assert page.text.endswith("# EOF\n") == is_openmetrics
    assert page.get("mistral_generate_tokens_total", model=MODEL) == generated_by(server)


def test_both_formats_have_the_same_series(server):
    ask(server, "tokens=2", stream=True)
    MetricsPage(server)
    text = MetricsPage(server)
    openmetrics = MetricsPage(server, {"Accept": OPENMETRICS})
    assert set(text.samples) == set(openmetrics.samples)


def test_promtool_finds_nothing_to_complain_about(server):
    ask(server, "tokens=2", stream=True)
    checked = subprocess.run(["promtool", "check", "metrics"], input=MetricsPage(server).text,
                             capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_process_is_told_of(server):
    page = MetricsPage(server)
    resident = int(open(f"/proc/{server.process.pid}/statm").read().split()[1]) * 4096
    assert abs(page.get("process_resident_memory_bytes") - resident) < 16 << 20
    assert abs(page.get("process_open_fds") - server.open_files()) <= 2
    busy = MetricsPage(server)
    for _ in range(50):
        busy = MetricsPage(server)
    assert busy.get("process_cpu_seconds_total") > page.get("process_cpu_seconds_total")
    assert page.get("process_max_fds") > 0 and page.get("process_virtual_memory_bytes") > resident
    assert page.get("mistral_memory_limit_bytes") > resident
    started = page.get("process_start_time_seconds")
    assert 0 <= time.time() - started < 600


def test_every_metric_is_seen_with_its_amount(source_root):
    """Here or in test_metrics_engine.py; those of Metal are seen to be absent, where there is no Metal."""
    names = re.findall(r'METRIC\(\w+, \w+,\s*"(\w+)"', (source_root / "src/metrics/metrics.def").read_text())
    folder = source_root / "tests/python"
    asserted = "".join(re.findall(r"^.*(?:\.get\(|\.sum\(|after_the_step|for name in|_count\",).*(?:\n .*)?$", "".join(
        (folder / name).read_text() for name in ("test_metrics.py", "test_metrics_engine.py")), re.MULTILINE))
    assert [name for name in names if name not in asserted] == []


def test_every_metric_is_in_the_manual(source_root):
    """With its kind and labels; and the manual names no other."""
    rows = re.findall(r'METRIC\((\w+), (\w+),\s*"(\w+)",\s*"([\w ]*)",', re.sub(
        r'",\n\s*"', '", "', (source_root / "src/metrics/metrics.def").read_text()))
    assert len(rows) > 30
    kinds = {"COUNTER": "counter", "SECONDS": "counter", "GAUGE": "gauge", "HISTOGRAM": "histogram"}
    wanted = {(name, kinds[kind], " ".join(f"`{label}`" for label in labels.split()))
              for _, kind, name, labels in rows}
    page = (source_root / "docs/monitoring.md").read_text()
    told = {(name, kind, labels.strip()) for name, kind, labels in re.findall(
        r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", page, re.MULTILINE)}
    assert told == wanted


def test_a_request_is_one_line_of_the_log_and_never_its_prompt(server):
    answer = ask(server, "tokens=3", seed=4)
    line = server.wait_log(lambda e: e["event"] == "request" and e["route"] == CHAT)
    assert answer.headers["x-request-id"] in line["id"]
    usage = answer.json["usage"]
    assert (line["model"], line["status"], line["end"]) == (answer.json["model"], 200, "stop")
    assert (line["prompt_tokens"], line["generated_tokens"]) == (
        usage["prompt_tokens"], usage["completion_tokens"])
    assert {"queue_seconds", "prefill_seconds", "decode_seconds", "seconds"} <= set(line)
    server.assert_healthy()
    MetricsPage(server)
    assert [e for e in server.log if e["event"] == "request"] == [line], "probes are not logged"
    assert "tokens=3" not in str(server.log)


def test_prompts_are_logged_when_asked_for(build_dir):
    server = FakeServer(build_dir, "log_prompts=1")
    try:
        server.request("POST", CHAT, chat("[[tokens=1]] a secret"))
        line = server.wait_log(lambda e: e["event"] == "prompt")
        assert "a secret" in line["body"]
        request = server.wait_log(lambda e: e["event"] == "request")
        assert request["id"] == line["id"]
    finally:
        server.stop()
