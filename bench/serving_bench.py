#!/usr/bin/env python3
"""What serving many at once is worth: figures over HTTP, from one server that is started here.

usage: bench/serving_bench.py MODEL [--program build/mistral] [--repeat 3] [--json] [-- SETTING...]

  decode     tokens a second of 1, 4 and 16 streams together, while all of them are decoding
  prefix     time to the first token after 1,000 tokens that no request has had before, and that one has
  company    time to the first token of a short request, alone and while a prompt of 4,000 tokens is read
  health     time of GET /health, idle and while 16 streams and a long prompt are under way

Medians of --repeat runs. Prompts are random token ids; answers are sampled greedily and never end by
themselves, so what the model says does not matter. Only the standard library is used. The client shares
the machine with the server; it takes some per cent of one core at 16 streams of a small model.
"""

import argparse
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
dice = random.Random(1)


class Server:
    def __init__(self, program, model, settings):
        self.process = subprocess.Popen(
            [program, "serve", model, "--port", "0", "--log-level", "info", "--log-format", "json",
             "--max-batch-size", "16", "--max-running-requests", "24", *settings],
            stderr=subprocess.PIPE, text=True)
        self.port, self.loaded = None, {}
        for line in self.process.stderr:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "model_loaded":
                self.loaded = event
            if event.get("event") == "listening":
                self.port = event["port"]
                break
        if self.port is None:
            sys.exit(f"the server did not start: exit status {self.process.wait()}")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stream(self, prompt, max_tokens):
        """When it was asked, and when each token came."""
        body = json.dumps({"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True,
                           "stream": True, "logprobs": 0}).encode()
        times, asked = [], time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                               b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            answer = connection.makefile("rb")
            status = answer.readline()
            if b" 200 " not in status:
                sys.exit(f"the server says {status!r} {answer.read()[-300:]!r}")
            for line in answer:
                at = time.perf_counter()
                if line.startswith(b"data: {"):
                    logprobs = json.loads(line[6:])["choices"][0]["logprobs"]
                    times += [at] * len(logprobs["tokens"] if logprobs else ())
        if len(times) != max_tokens:
            sys.exit(f"{len(times)} tokens came, {max_tokens} were asked for")
        return asked, times

    def health(self):
        started = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            while connection.recv(4096):
                pass
        return time.perf_counter() - started


def tokens(count):
    return [dice.randrange(1000, 40000) for _ in range(count)]


def together(works):
    """Results of the functions, each on a thread."""
    results = [None] * len(works)

    def run(index):
        results[index] = works[index]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def decode_rate(server, streams, length=80):
    """Tokens a second between the moment the last stream began to decode and the first one ended."""
    prompts = [tokens(16) for _ in range(streams)]
    answers = together([lambda p=prompt: server.stream(p, length) for prompt in prompts])
    begin = max(times[0] for _, times in answers)
    end = min(times[-1] for _, times in answers)
    return sum(begin < at <= end for _, times in answers for at in times) / (end - begin)


def first_token(server, prompt):
    asked, times = server.stream(prompt, 1)
    return times[0] - asked


def prefix_times(server):
    prefix = tokens(1000)
    return first_token(server, prefix + tokens(8)), first_token(server, prefix + tokens(8))


def time_in_company(server):
    """A short request 0.3 s after a long prompt; it must be answered while that is still being read."""
    reader = {}

    def read_long():
        reader["answer"] = server.stream(tokens(4000), 1)

    thread = threading.Thread(target=read_long)
    thread.start()
    time.sleep(0.3)
    took, ended = first_token(server, tokens(16)), time.perf_counter()
    thread.join()
    asked, times = reader["answer"]
    return took, times[0] - asked, ended < times[0]


def health_times(server):
    done = threading.Event()
    found = []

    def poll():
        while not done.is_set():
            found.append(server.health())
            time.sleep(0.005)

    poller = threading.Thread(target=poll)
    poller.start()
    together([lambda: server.stream(tokens(16), 60)] * 16 + [lambda: server.stream(tokens(2000), 1)])
    done.set()
    poller.join()
    return sorted(found)


def measure(server, repeat):
    server.stream(tokens(32), 8)  # pages in
    figures = {}
    for streams in (1, 4, 16):
        figures[f"decode_{streams}_tokens_per_second"] = statistics.median(
            decode_rate(server, streams) for _ in range(repeat))
    figures["ratio_16_streams_to_1"] = \
        figures["decode_16_tokens_per_second"] / figures["decode_1_tokens_per_second"]
    cold, warm = zip(*(prefix_times(server) for _ in range(repeat)))
    figures["prefix_1000_cold_seconds"] = statistics.median(cold)
    figures["prefix_1000_warm_seconds"] = statistics.median(warm)
    figures["ratio_cold_to_warm"] = statistics.median(cold) / statistics.median(warm)
    figures["short_alone_seconds"] = statistics.median(first_token(server, tokens(16)) for _ in range(repeat))
    company = [time_in_company(server) for _ in range(repeat)]
    figures["short_in_company_seconds"] = statistics.median(took for took, _, _ in company)
    figures["prompt_4000_seconds"] = statistics.median(long for _, long, _ in company)
    figures["short_came_before_long"] = all(before for _, _, before in company)
    idle = sorted(server.health() for _ in range(50))
    busy = health_times(server)
    for name, times in (("idle", idle), ("saturated", busy)):
        figures[f"health_{name}_median_ms"] = 1000 * statistics.median(times)
        figures[f"health_{name}_p99_ms"] = 1000 * times[int(len(times) * 0.99)]
        figures[f"health_{name}_worst_ms"] = 1000 * times[-1]
    time.sleep(0.2)
    before = server.cpu_seconds()
    time.sleep(1)
    figures["idle_cpu_per_cent"] = 100 * (server.cpu_seconds() - before)
    return figures


def hardware():
    try:
        with open("/proc/cpuinfo") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return f"{name}, {os.cpu_count()} processors"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model")
    parser.add_argument("--program", default=ROOT / "build" / "mistral")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one object for machines")
    parser.add_argument("settings", nargs="*", help="for mistral serve, after --")
    options = parser.parse_args()
    server = Server(options.program, options.model, options.settings)
    try:
        figures = measure(server, options.repeat)
    finally:
        server.stop()
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True,
                            text=True).stdout.strip()
    made = {"hardware": hardware(), "commit": commit, "model": Path(options.model).name,
            "settings": " ".join(options.settings), "kernels": server.loaded.get("kernels"),
            "threads": server.loaded.get("threads"), "repeat": options.repeat}
    if options.json:
        print(json.dumps({**made, **figures}))
        return
    for name, value in {**made, **figures}.items():
        print(f"{name:32} {value:.4g}" if isinstance(value, float) else f"{name:32} {value}")


main()
