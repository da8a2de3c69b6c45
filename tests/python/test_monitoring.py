"""The monitoring stack with the real Prometheus: rules, scraping, and every query of every panel."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from program import make_chat_model
from server_harness import RealServer, chat, run_in_threads

pytestmark = pytest.mark.release_only
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def monitoring(source_root):
    return source_root / "stacks/common/monitoring"


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_each_alert_fires_and_none_on_a_healthy_server(monitoring):
    tested = run("promtool", "test", "rules", "rules_test.yml", cwd=monitoring / "prometheus")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    rules = yaml.safe_load((monitoring / "prometheus/rules.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    tests = yaml.safe_load((monitoring / "prometheus/rules_test.yml").read_text())["tests"]
    healthy, *others = (
        {(row["alertname"], bool(row["exp_alerts"])) for row in test["alert_rule_test"]} for test in tests)
    assert healthy == {(alert, False) for alert in alerts}
    assert {name for test in others for name, fires in test if fires} == alerts


def test_every_threshold_lies_below_the_last_bucket(monitoring, source_root):
    table = (source_root / "src/metrics/metrics.c").read_text()
    long, step, _ = (re.findall(r"X\(([\d.]+)\)", part) for part in re.split(r"#define BOUNDS_\w+", table)[1:] + [""])
    rules = (monitoring / "prometheus/rules.yml").read_text()
    thresholds = [float(bound) for bound in re.findall(r"p95 > (\d+)|_bucket.*> (\d+)", rules) for bound in bound if bound]
    assert sorted(thresholds) == [5, 10, 30]
    assert float(long[-1]) > max(thresholds) and {f"{t:.1f}" for t in thresholds} <= set(long)
    assert float(step[-1]) >= 5


def test_dashboards_are_what_their_source_says(monitoring):
    sys.path.insert(0, str(monitoring))
    try:
        import dashboards
    finally:
        sys.path.remove(str(monitoring))
    folder = monitoring / "grafana/dashboards"
    made = dashboards.dashboards()
    assert {path.name for path in folder.iterdir()} == set(made)
    for name, text in made.items():
        assert (folder / name).read_text() == text, "run stacks/common/monitoring/dashboards.py"


@pytest.mark.parametrize("name", ["service", "comparison"])
def test_dashboards_are_of_grafana_s_schema(monitoring, name):
    """Grafana's own types, generated from its schemas, hold all that the file says: what they do not know is lost."""
    text = (monitoring / f"grafana/dashboards/{name}.json").read_text()
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(text))))

    def lost(given, found, path=""):
        if isinstance(given, dict) and isinstance(found, dict):
            return [line for key in given for line in
                    (lost(given[key], found[key], f"{path}.{key}") if key in found else [f"{path}.{key}"])]
        if isinstance(given, list) and isinstance(found, list) and len(given) == len(found):
            return [line for i, pair in enumerate(zip(given, found)) for line in lost(*pair, f"{path}[{i}]")]
        return [] if given == found else [path]

    assert lost(json.loads(text), kept) == []


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def guess_type(self, path):
        return "text/plain; version=0.0.4"


@pytest.fixture(scope="module")
def benchmark_results(monitoring, tmp_path_factory):
    """What the node exporter would serve of textfile/, by a plain file server."""
    folder = tmp_path_factory.mktemp("textfile")
    (folder / "results.csv").write_text(
        "engine,model,scenario,tokens_per_second,first_token_seconds,answer_seconds\n"
        'mistral.c,tiny,"short ""x""",20,0.1,1.5\nollama,tiny:latest,"short ""x""",10,0.2,3\n')
    made = run(sys.executable, str(monitoring / "textfile.py"), "results.csv", "metrics", cwd=folder)
    assert made.returncode == 0, made.stderr
    checked = run("promtool", "check", "metrics", input=(folder / "metrics").read_text())
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: QuietHandler(*args, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_results_that_would_be_one_series_are_refused(monitoring, tmp_path):
    rows = "engine,model,scenario,tokens_per_second\n" + "mistral.c,m,s,1\n" * 2
    (tmp_path / "results.csv").write_text(rows)
    made = run(sys.executable, str(monitoring / "textfile.py"), "results.csv", "metrics", cwd=tmp_path)
    assert made.returncode == 1 and "its own engine" in made.stderr and not (tmp_path / "metrics").exists()


class Prometheus:
    def __init__(self, folder, config, port):
        (folder / "prometheus.yml").write_text(config)
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(folder / "log", "w")
        self.process = subprocess.Popen(
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
             f"--web.listen-address=127.0.0.1:{port}"], cwd=folder, stdout=self.log, stderr=self.log)

    def get(self, path, **fields):
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(fields)}") as answer:
            return json.load(answer)["data"]

    def query(self, query):
        return self.get("query", query=query)["result"]

    def wait(self, until, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = until()
                if found:
                    return found
            except OSError:
                assert self.process.poll() is None, "it ended"
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


@pytest.fixture
def prometheus(mistral, monitoring, benchmark_results, free_port, tmp_path):
    """The committed configuration, but for where things are and how often they are asked."""
    server = RealServer(mistral, make_chat_model(tmp_path), "--max-batch-size", "2", "--num-threads", "1",
                        "--api-key", "the key", home=tmp_path)
    folder = tmp_path / "prometheus"
    shutil.copytree(monitoring / "prometheus", folder)
    (tmp_path / "key").write_text("the key")
    (folder / "targets/mistral.yml").write_text(f'- targets: ["127.0.0.1:{server.port}"]\n')
    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"}
    config["scrape_configs"][0]["authorization"]["credentials_file"] = str(tmp_path / "key")
    config["scrape_configs"][1]["static_configs"] = [{"targets": [f"127.0.0.1:{benchmark_results}"]}]
    config["scrape_configs"].pop()
    config["alerting"] = {}
    running = Prometheus(folder, yaml.safe_dump(config), free_port)
    running.server = server
    yield running
    running.stop()
    server.stop()


def panels(monitoring):
    for path in sorted((monitoring / "grafana/dashboards").iterdir()):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.stem}: {panel['title']}", target["expr"].replace("$__rate_interval", "20s")


def test_every_query_of_every_panel_returns_data(prometheus, monitoring):
    done = threading.Event()
    headers = {"Authorization": "Bearer the key"}

    def load(i):
        while not done.is_set():
            body = chat(f"load of client {i}", max_tokens=8, stream=i == 0, seed=i)
            assert prometheus.server.request("POST", CHAT, body, headers).status == 200

    queries = list(panels(monitoring))
    assert len(queries) > 35
    missing = {}

    def ask(_):
        def all_answer():
            missing.clear()
            for name, query in queries:
                values = [row["value"][1] for row in prometheus.query(query)]
                if not values or all(value == "NaN" for value in values):
                    missing[name] = query
            return not missing
        try:
            prometheus.wait(all_answer)
        finally:
            done.set()

    run_in_threads(4, lambda i: ask(i) if i == 3 else load(i))
    assert missing == {}
    targets = prometheus.get("targets")["activeTargets"]
    assert [target["health"] for target in targets] == ["up", "up"]
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == 13 and all(rule["health"] == "ok" for rule in rules)
    assert prometheus.query("ALERTS") == [], "nothing fires or is about to on a healthy server"


def test_configurations_are_sound(monitoring, tmp_path):
    checked = run("promtool", "check", "config", "--syntax-only", "prometheus.yml",
                  cwd=monitoring / "prometheus")
    assert checked.returncode == 0, checked.stderr
    for path in monitoring.rglob("*.yml"):
        assert yaml.safe_load(path.read_text()), path
    if shutil.which("amtool"):
        checked = run("amtool", "check-config", str(monitoring / "alertmanager/alertmanager.yml"))
        assert checked.returncode == 0, checked.stderr
