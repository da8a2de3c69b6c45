"""mistral bench serve against servers whose every delay is known: what it reports is what they did."""

import csv
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import numpy
import pytest

from program import Program, make_chat_model, wait_until
from server_harness import FakeServer

SERVER = Path(__file__).with_name("scripted_server.py")
WAIT = 60


class Scripted:
    """scripted_server.py; `records` are what it wrote down."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([sys.executable, SERVER, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
        self.port = json.loads(self.process.stdout.readline())["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.records = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.records.append(json.loads(line))

    def stop(self):
        self.process.terminate()
        self.process.wait(WAIT)
        self.reader.join(WAIT)
        self.process.stdout.close()
        return self.records


@pytest.fixture
def server():
    scripted = Scripted()
    yield scripted
    scripted.stop()


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


def trace(tmp_path, rows):
    """A trace of (seconds, script) or (seconds, script, further members)."""
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(
        json.dumps({"at": at, "prompt": f"[[{script}]]", "max_tokens": 20, **(more[0] if more else {})}) + "\n"
        for at, script, *more in rows))
    return path


def measure(program, *arguments, code=0):
    """The report, as JSON, and standard error."""
    done = program("bench", "serve", *map(str, arguments), "--json")
    assert done.returncode == code, (done.returncode, done.err)
    return json.loads(done.out), done.err


def the_result(report, target=0, level=0, scenario="all"):
    name = report["targets"][target]["name"]
    return next(row for row in report["results"]
                if (row["target"], row["level"], row["scenario"]) == (name, level, scenario))


@pytest.fixture(scope="session")
def schema(source_root):
    return json.loads((source_root / "docs" / "bench-serve.schema.json").read_text())


# ---- the times are true ----

def differences(result, truth):
    """What is further from the server's own times than 2 % or 1 ms, or four times that for the longest few."""
    times = {
        "ttft_seconds": [r["writes"][0] - r["at"] for r in truth],
        "itl_seconds": [(r["writes"][-1] - r["writes"][0]) / 3 for r in truth],
        "latency_seconds": [r["end"] - r["at"] for r in truth],
    }
    found = []
    for name, values in times.items():
        for key, q in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("max", 1), ("mean", None)):
            expected = float(numpy.mean(values) if q is None else numpy.quantile(values, q))
            bound = max(0.02 * expected, 0.001) * (4 if key in ("p99", "max") else 1)
            if abs(result[name][key] - expected) > bound:
                found.append((name, key, result[name][key], expected))
    return found


@pytest.mark.release_only
@pytest.mark.parametrize("streams", [1, 16, 256])
def test_quantiles_are_those_of_the_server(program, server, tmp_path, streams):
    """All streams overlap. A busy machine can hold a byte up between the two clocks, so one of ten tries must be
    right in everything; a generator that measures wrongly is never right."""
    dice = numpy.random.default_rng(streams)
    for attempt in range(10):
        before = len(server.records)
        rows = [(i * 0.004, f"first={dice.integers(1000, 1800)} gap={dice.integers(300, 400)} tokens=4") for i in range(streams)]
        report, _ = measure(program, server.url, "--trace", trace(tmp_path, rows))
        wait_until(lambda: len(server.records) == before + streams, WAIT)
        result = the_result(report)
        assert result["outcomes"] == {"ok": streams}
        wrong = differences(result, server.records[before:])
        if not wrong:
            return
    raise AssertionError(wrong)


def test_a_generator_that_is_held_up_counts_from_the_intended_time(program, server, tmp_path):
    """No coordinated omission: while the generator sleeps nothing is sent, and those requests are late all the same."""
    rows = [(i * 0.02, "first=1 tokens=2") for i in range(200)]
    process = program.start("bench", "serve", server.url, "--trace", str(trace(tmp_path, rows)), "--json")
    wait_until(lambda: len(server.records) >= 5, WAIT)
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=WAIT)
    report = json.loads(out)
    result = the_result(report)
    assert result["outcomes"] == {"ok": 200}
    assert result["latency_seconds"]["p90"] > 0.5, "75 of 200 requests fell into the 1.5 s"
    assert result["generator_lateness_seconds"] > 1
    assert any("late to send" in remark for remark in report["remarks"])


def test_a_server_that_is_slow_for_a_while_does_not_slow_the_open_loop(program, server, tmp_path):
    rows = [(i * 0.01, "first=4000 tokens=2" if i == 0 else "first=1 tokens=2") for i in range(50)]
    measure(program, server.url, "--trace", trace(tmp_path, rows))
    asked = sorted(record["at"] for record in server.stop())
    assert asked[-1] - asked[0] < 3.5, "all were sent while the first still waited"


def test_the_rate_is_kept(program, server):
    report, _ = measure(program, server.url, "--rate", 50, "--arrivals", "regular", "-n", 10, "-w", 0, "--max-tokens", 8)
    assert the_result(report)["requests"] == 50
    assert 0.9 < the_result(report)["seconds"] < 10, "49 gaps of 20 ms"


@pytest.mark.release_only
def test_a_thousand_streams(program, build_dir, tmp_path):
    server = FakeServer(build_dir, "max_requests=2000", "max_connections=2000")
    try:
        rows = [(i * 0.001, "tokens=10 delay=200 prefill=1000") for i in range(1000)]
        report, _ = measure(program, server.base_url, "--trace", trace(tmp_path, rows))
    finally:
        server.stop()
    assert the_result(report)["outcomes"] == {"ok": 1000}


# ---- what is wrong is told ----

FAILURES = {
    "nodone": "truncated", "cut": "lost", "error": "stream_error", "garbage": "malformed", "status=503": "http_5xx",
    "status=404": "http_4xx", "tokens=0": "empty", "lie=5000": "wrong_usage", "silent": "timed_out", "lie=0": "wrong_usage",
}


def test_each_kind_of_failure_has_its_name(program, server, tmp_path):
    rows = [(0.01 * i, script, {"scenario": script}) for i, script in enumerate(FAILURES)]
    rows.append((0.5, "first=1", {"scenario": "good"}))
    report, _ = measure(program, server.url, "--trace", trace(tmp_path, rows), "--timeout", 4)
    for script, kind in FAILURES.items():
        result = the_result(report, scenario=script)
        assert result["outcomes"] == {kind: 1}, script
        assert result["latency_seconds"]["count"] == 0, "a failure has no part in the times"
    assert the_result(report, scenario="good")["outcomes"] == {"ok": 1}
    assert any("10 of 11 requests failed" in remark for remark in report["remarks"])


def test_a_stall_is_told_and_not_averaged_away(program, server, tmp_path):
    rows = [(0.01 * i, "gap=2 tokens=20" + (" stall=2600" if i == 3 else "")) for i in range(20)]
    report, _ = measure(program, server.url, "--trace", trace(tmp_path, rows))
    result = the_result(report)
    assert result["stalled"] == 1
    assert 2.5 < result["pause_seconds"]["max"] and result["pause_seconds"]["p50"] < 1
    assert any("1 answers stalled" in remark for remark in report["remarks"])


def test_tokens_are_never_guessed(program, server, tmp_path):
    rows = [(0, "nousage tokens=6")]
    path = trace(tmp_path, rows)
    report, _ = measure(program, server.url, "--trace", path)
    assert the_result(report)["output_tokens"] is None
    assert the_result(report)["tokens_per_second"] is None
    assert the_result(report)["itl_seconds"]["count"] == 0
    assert any("does not say how many tokens" in remark for remark in report["remarks"])

    model = make_chat_model(tmp_path)
    counted = len(program.good("tokenize", model, "word " * 6, "--ids", "--no-add-special").split())
    report, _ = measure(program, server.url, "--trace", path, "--tokenizer", model)
    assert the_result(report)["output_tokens"] == counted
    assert report["system"]["model_file"] == model.name and len(report["system"]["model_sha256"]) == 64


def test_a_count_that_our_tokenizer_contradicts_is_a_failure(program, server, tmp_path):
    model = make_chat_model(tmp_path)
    counted = len(program.good("tokenize", model, "word " * 6, "--ids", "--no-add-special").split())
    rows = [(0, f"tokens=6 lie={counted}", {"scenario": "true", "max_tokens": 500}),
            (0, f"tokens=6 lie={counted * 3}", {"scenario": "false", "max_tokens": 500})]
    report, _ = measure(program, server.url, "--trace", trace(tmp_path, rows), "--tokenizer", model)
    assert the_result(report, scenario="true")["outcomes"] == {"ok": 1}
    assert the_result(report, scenario="false")["outcomes"] == {"wrong_usage": 1}


def test_goodput_counts_the_answers_that_keep_the_goal(program, server, tmp_path):
    rows = [(0.01 * i, f"first={3000 if i < 3 else 1} gap=1") for i in range(12)]
    report, _ = measure(program, server.url, "--trace", trace(tmp_path, rows), "--slo", "ttft=2s,latency=50s")
    assert the_result(report)["good_share"] == pytest.approx(9 / 12)


# ---- comparison ----

def test_two_servers_take_turns_and_the_faster_is_named(program, tmp_path):
    ours, theirs = Scripted(), Scripted()
    path = trace(tmp_path, [(0.02 * i, "first=40 gap=10 tokens=4") for i in range(4)])
    try:
        report, _ = measure(program, ours.url, "--trace", path, "--baseline", f"{theirs.url},ollama", "--rounds", 4)
    finally:
        first, second = ours.stop(), theirs.stop()
    assert {r["path"] for r in first} == {"/v1/chat/completions"} and {r["path"] for r in second} == {"/api/chat"}
    order = [who for _, who in sorted([(r["at"], "A") for r in first] + [(r["at"], "B") for r in second])]
    assert "".join(order) == "AAAABBBB" * 4
    assert [(run["target"], run["round"]) for run in report["runs"]] == \
        [(report["targets"][i]["name"], round) for round in range(4) for i in range(2)]
    verdicts = {row["metric"]: row for row in report["comparisons"]}
    assert verdicts["ttft"]["rounds"] == 4 and 0.2 < verdicts["ttft"]["ratio"] < 5


def test_a_server_that_is_faster_is_told_so(program, tmp_path):
    """Both are asked the same, so the baseline's delay comes from what is between."""
    ours = Scripted()
    theirs = Scripted()
    relay = Relay(theirs.port, 0.25)
    path = trace(tmp_path, [(0.02 * i, "first=50 gap=10 tokens=4") for i in range(3)])
    try:
        report, _ = measure(program, ours.url, "--trace", path, "--baseline", relay.url, "--rounds", 5,
                            "--name", "quick", "--baseline-name", "slow")
    finally:
        relay.stop()
        ours.stop()
        theirs.stop()
    row = next(row for row in report["comparisons"] if row["metric"] == "ttft")
    assert row["verdict"] == "better" and row["low"] > 1.1, row
    assert "× faster, 95 %" in row["text"]


class Relay:
    """Passes bytes on, those of the server's side after a while."""

    def __init__(self, port, delay):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.port, self.delay = port, delay
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self._pass, args=(client, server, 0), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, self.delay), daemon=True).start()

    @staticmethod
    def _pass(source, target, delay):
        try:
            while data := source.recv(65536):
                time.sleep(delay)
                target.sendall(data)
            target.shutdown(1)
        except OSError:
            pass

    def stop(self):
        self.listener.close()


# ---- outputs ----

def test_every_output_carries_the_system_and_the_figures(program, server, tmp_path, schema, source_root):
    files = [tmp_path / f"report.{ending}" for ending in ("csv", "json", "md", "html")]
    outputs = [part for file in files for part in ("-o", str(file))]
    done = program("bench", "serve", f"{server.url},ollama", "-n", "2", "-w", "1", "-c", "1,3", "--max-tokens", "8",
                   "--server-pid", str(server.process.pid), "--name", "ollama", *outputs)
    assert done.returncode == 0, done.err
    assert "run 2 of 2: ollama, 3 at once" in done.err
    report = json.loads(files[1].read_text())
    jsonschema.validate(report, schema)
    rows = list(csv.DictReader(io.StringIO(files[0].read_text())))
    assert list(rows[0])[:4] == ["test_name", "avg_latency_sec", "avg_tokens", "tokens_per_sec"]
    assert [row["test_name"] for row in rows[:6]] == ["all", "simple_math", "one_sentence", "code_generation",
                                                      "detailed_explanation", "comprehensive_guide"]
    assert len(rows) == 12 and {row["succeeded"] for row in rows} == {"10", "2"}
    assert float(rows[0]["avg_latency_sec"]) == pytest.approx(the_result(report)["latency_seconds"]["mean"], rel=1e-6)
    assert float(rows[0]["server_memory_peak_bytes"]) == max(sample[1] for sample in report["targets"][0]["samples"])
    commit = report["system"]["commit"]
    for text in (done.out, *(file.read_text() for file in files)):
        assert commit in text and report["system"]["cpu"] in text
    assert report["targets"][0]["samples"], "the server's memory was watched"
    assert "Throughput against concurrency" in files[3].read_text()
    metrics = tmp_path / "benchmark.prom"
    subprocess.run([sys.executable, source_root / "stacks/common/monitoring/textfile.py", files[0], metrics], check=True)
    assert 'mistral_benchmark_tokens_per_second{engine="ollama",model="scripted:latest",scenario="simple_math, 1 at once"}' \
        in metrics.read_text()


def test_two_reports_are_compared(program, server, tmp_path):
    """The server that was measured, round by round; its baseline's drift is not its fault."""
    old = json.loads(program.good("bench", "serve", server.url, "--baseline", f"{server.url},ollama", "-c", "1,2", "-n", "1",
                                  "-w", "0", "--rounds", "3", "--name", "ours", "--json"))
    for index, run in enumerate(old["runs"]):
        run["ttft_seconds"]["p50"] = 0.1 + 0.001 * index  # whatever else this machine did
    new = json.loads(json.dumps(old))
    new["targets"][0]["name"] = "ours again"
    for run in new["runs"]:
        if run["target"] == "ours":
            run["target"] = "ours again"
            if run["level"] == 1:
                run["ttft_seconds"]["p50"] *= 3
                run["outcomes"] = {"ok": 2, "http_5xx": 3}
        else:
            run["tokens_per_second"] /= 10
    for name, report in (("old", old), ("new", new)):
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    files = (str(tmp_path / "old.json"), str(tmp_path / "new.json"))
    done = program("bench", "compare", *files, "--fail-over", "10%", "--json")
    told = json.loads(done.out)
    worse = {row["name"] for row in told["comparisons"] if row["failed"]}
    assert done.returncode == 1 and worse == {"2 at once: time to first token, median", "2 at once: part that was answered"}
    assert len(told["comparisons"]) == 14
    program.good("bench", "compare", files[0], files[0], "--fail-over", "0%")
    del new["targets"]
    (tmp_path / "new.json").write_text(json.dumps(new))
    assert "without its targets" in program("bench", "compare", *files).err


def test_the_schema_refuses_what_is_no_report(schema):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"kind": "mistral-bench-serve", "schema": 1}, schema)


def test_a_names_markup_stays_text(program, server, tmp_path):
    page, table = tmp_path / "r.html", tmp_path / "r.csv"
    program.good("bench", "serve", server.url, "-n", "1", "-w", "0", "--name", '<script>"a",b', "-o", str(page), "-o", str(table))
    assert "<script" not in page.read_text()
    assert next(csv.DictReader(io.StringIO(table.read_text())))["engine"] == '<script>"a",b'


def test_a_key_is_sent_and_never_told(program, server, tmp_path):
    out = program.good("bench", "serve", server.url, "-n", "1", "-w", "0", "--api-key", "hush-hush", "--json")
    assert "hush-hush" not in out and "--api-key …" in json.loads(out)["command"]


# ---- workloads ----

def contents(server, count):
    wait_until(lambda: len(server.records) >= count, WAIT)
    return [record["body"]["messages"][0]["content"] for record in server.records]


def test_the_seed_makes_the_workload(program, server):
    asked = []
    for seed in (1, 1, 2):
        before = len(server.records)
        measure(program, server.url, "--prompt-tokens", "lognormal:20,0.5", "--max-tokens", "uniform:5-9", "-n", 12, "-w", 0,
                "--seed", seed)
        contents(server, before + 12)
        asked.append([(r["body"]["messages"][0]["content"], r["body"]["max_tokens"]) for r in server.records[before:]])
    assert asked[0] == asked[1] != asked[2]
    assert len({len(text.split()) for text, _ in asked[0]}) > 4
    assert {most for _, most in asked[0]} <= set(range(5, 10))


def test_prefixes_are_shared_and_numbers_vary(program, server):
    measure(program, server.url, "--shared-prefix", "30x2", "--prompt-tokens", 5, "-n", 6, "-w", 0, "--vary")
    prefixes, rests = zip(*(text.split(". ", 1) for text in contents(server, 6)))
    assert len(set(prefixes)) == 2 and {len(prefix.split()) for prefix in prefixes} == {30}
    numbers = [int(rest.split()[0].strip("()")) for rest in rests]
    assert numbers == list(range(numbers[0], numbers[0] + 6))


@pytest.mark.parametrize("kind", [["--prompt-tokens", 12], ["--vary"]])
def test_no_run_asks_what_another_has_asked(program, server, kind):
    """What a server keeps of a warm-up or of an earlier round must not make it look fast."""
    report, _ = measure(program, server.url, *kind, "-n", 2, "-w", 1, "--rounds", 3)
    count = 7 if "--prompt-tokens" in kind else 35
    asked = contents(server, count)
    assert len(asked) == len(set(asked)) == count and the_result(report)["requests"] == count - count // 7


def test_warm_up_does_not_count(program, server):
    report, _ = measure(program, server.url, "-n", 1, "-w", 2)
    assert len(contents(server, 15)) == 15 and the_result(report)["requests"] == 5


def test_a_run_may_last_a_time(program, server):
    report, _ = measure(program, server.url, "--duration", 0.5, "-c", 2, "-w", 0, "--prompt-tokens", 5, "-n", 1)
    assert the_result(report)["requests"] > 5 and 0.4 < the_result(report)["seconds"] < 20


# ---- bad input ----

@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["-n", "0"], 2, "1"),
    (["--rounds", "0"], 2, "1"),
    (["-c", "0"], 2, "--concurrency takes whole numbers from 1"),
    (["-c", "1", "--rate", "1"], 2, "give one of them"),
    (["--rate", "x"], 2, "--rate takes requests a second"),
    (["--slo", "speed=1s"], 2, "--slo takes ttft, itl and latency"),
    (["--max-tokens", "many"], 2, "--max-tokens takes tokens"),
    (["--arrivals", "often"], 2, "poisson or regular"),
    (["-o", "report.txt"], 2, "ends in .csv, .json, .md or .html"),
    (["-o", "/nowhere/at/all/r.csv"], 1, "does not exist"),
    (["-m", "another"], 3, "has no model 'another'; it has: scripted"),
    (["--server-pid", "4194303"], 3, "no process 4194303"),
    (["--trace", "missing.jsonl"], 3, "missing.jsonl"),
    (["--tokenizer", "missing.gguf"], 3, "missing"),
])
def test_a_bad_wish_is_refused_before_anything_is_asked(program, server, arguments, code, message):
    assert message in program.bad(code, "bench", "serve", server.url, *arguments)
    assert server.stop() == []


@pytest.mark.parametrize(("line", "message"), [
    ('{"at": 1, "prompt": 1}', "neither"), ('{"prompt": "x"}', "no time"), ("[]", "no JSON object"), ('{"at": -1, "prompt": "x"}', "before"),
    ('{"at": 1, "prompt": "x", "max_tokens": 0}', "max_tokens"),
])
def test_a_bad_trace_names_its_line(program, server, tmp_path, line, message):
    path = tmp_path / "t.jsonl"
    path.write_text('{"at": 0, "prompt": "x"}\n\n' + line + "\n")
    text = program.bad(2, "bench", "serve", server.url, "--trace", str(path))
    assert f"{path}:3: " in text and message in text


def test_no_server(program, free_port):
    assert "no server answers" in program.bad(4, "bench", "serve", f"http://127.0.0.1:{free_port}")
    assert "no address" in program.bad(2, "bench", "serve", "http://")
    assert "only http://" in program.bad(1, "bench", "serve", "https://localhost")


def test_what_a_child_took_that_has_ended_still_counts(program, server, tmp_path):
    """Servers start engines of their own: the sum fell when one ended, and the cores went below nothing."""
    ready = tmp_path / "ready"
    child = "import sys, time\nwhile time.process_time() < 0.5: pass\nopen(sys.argv[1], 'w').close()\ntime.sleep(1.5)"
    parent = "import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', *sys.argv[1:]])\ntime.sleep(60)"
    family = subprocess.Popen([sys.executable, "-c", parent, child, str(ready)])
    try:
        wait_until(ready.exists, 60)
        told = json.loads(program.good("bench", "serve", server.url, "-w", "0", "--duration", "3", "--server-pid", str(family.pid), "--json"))
    finally:
        family.kill()
        family.wait()
    run, = told["runs"]
    assert 0 <= run["server_cpu_cores"] < 0.2  # it slept all the while


def test_a_server_that_dies_in_the_middle(program, tmp_path):
    server = Scripted("--serve-requests", 5)
    try:
        report, _ = measure(program, server.url, "-n", 4, "-w", 0)
    finally:
        server.stop()
    outcomes = the_result(report)["outcomes"]
    assert outcomes["ok"] == 4 and outcomes["lost"] >= 1 and outcomes["lost"] + outcomes["refused"] == 16
    assert any("16 of 20 requests failed" in remark for remark in report["remarks"])


def test_nothing_answered_is_a_failure(program, server, tmp_path):
    path = trace(tmp_path, [(0, "status=500")])
    done = program("bench", "serve", server.url, "--trace", str(path), "--json")
    assert done.returncode == 4 and "no request was answered: status 500: as the script wants it" in done.err
    assert json.loads(done.out)["results"][0]["outcomes"] == {"http_5xx": 1}


def test_ctrl_c_leaves_a_partial_report(program, server, tmp_path, schema):
    file = tmp_path / "r.json"
    path = trace(tmp_path, [(0, "first=1 tokens=2"), (0, "first=60000")])
    process = program.start("bench", "serve", server.url, "--trace", str(path), "-o", str(file))
    wait_until(lambda: len(server.records) == 1, WAIT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 130 and b"partial" in out and b"partial" in err
    report = json.loads(file.read_text())
    jsonschema.validate(report, schema)
    assert report["partial"] is True and the_result(report)["outcomes"] == {"ok": 1, "unfinished": 1}
    assert report["remarks"][0].startswith("PARTIAL")


def test_bench_lists_its_commands(program):
    assert "bench serve" in program.good("bench", "--help")
    assert "did you mean 'bench serve'" in program.bad(2, "bench", "server")
