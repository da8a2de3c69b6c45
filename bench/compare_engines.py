#!/usr/bin/env python3
"""compare_engines.py - this engine's prompt and decode speed beside another's, in turn, in one run.

    bench/compare_engines.py MODEL.gguf... --llama-bench PATH [-- LLAMA-BENCH ARGUMENTS]
    bench/compare_engines.py MODEL.gguf... --llama-cpp-python

Runs 'mistral bench engine' (from --build, default build/) and the peer alternately, --repeat times each, and
prints a Markdown table of medians and of the ratio of each pair's median, with hardware and commit above it.
The peer is any program that takes llama-bench's options and prints its JSON (llama.cpp, ik_llama.cpp), or
llama.cpp as the Python package llama-cpp-python carries it. Speeds are tokens a second.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def own_speeds(arguments, model):
    """One round of each: (prompt, generate)."""
    command = [str(pathlib.Path(arguments.build) / "mistral"), "bench", "engine", model, "--json", "--no-limits",
               "--num-threads", str(arguments.threads), "--kernels", arguments.kernels, "--repeat", "1"]

    def run(*tests):
        output = subprocess.run(command + list(tests), check=True, capture_output=True, text=True).stdout
        return json.loads(output)["measurements"][0]["median"]
    return (run("--prompt", str(arguments.prompt), "--generate", "0"),
            run("--prompt", "0", "--generate", str(arguments.generate), "--depth", str(arguments.depth)))


def llama_bench_speeds(arguments, model):
    """Another program's, which measures each once."""
    def run(*tests):
        command = [arguments.llama_bench, "-m", model, "-t", str(arguments.threads), "-r", "1", "-o", "json",
                   *tests, *arguments.peer_arguments]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[0]["avg_ts"]
    prompt = run("-p", str(arguments.prompt), "-n", "0")
    if arguments.depth:
        generate = run("-p", "0", "-n", "0", "-gp", f"{arguments.depth},{arguments.generate}")
    else:
        generate = run("-p", "0", "-n", str(arguments.generate))
    return prompt, generate


def llama_cpp_python_speeds(arguments, model):
    """llama.cpp through its Python package, in a process of its own."""
    command = [sys.executable, __file__, model, "--measure-llama-cpp-python", "--threads", str(arguments.threads),
               "--prompt", str(arguments.prompt), "--generate", str(arguments.generate),
               "--depth", str(arguments.depth)]
    return tuple(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measure_llama_cpp_python(arguments):
    import llama_cpp
    quiet = llama_cpp.llama_log_callback(lambda *_: None)  # kept: the library calls it later
    llama_cpp.llama_log_set(quiet, None)
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(arguments.models[0].encode(), llama_cpp.llama_model_default_params())
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = max(arguments.prompt, arguments.depth + arguments.generate) + 64
    settings.n_batch = settings.n_ubatch = 512
    settings.n_threads = settings.n_threads_batch = arguments.threads
    context = llama_cpp.llama_init_from_model(model, settings)
    memory = llama_cpp.llama_get_memory(context)

    def decode(count):
        for at in range(0, count, 512):
            size = min(512, count - at)
            tokens = (llama_cpp.llama_token * size)(*[100] * size)
            if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, size)) != 0:
                sys.exit("llama_decode failed")
        llama_cpp.llama_synchronize(context)

    decode(16)
    llama_cpp.llama_memory_clear(memory, True)
    started = time.perf_counter()
    decode(arguments.prompt)
    prompt = time.perf_counter() - started
    llama_cpp.llama_memory_clear(memory, True)
    decode(arguments.depth)
    started = time.perf_counter()
    for _ in range(arguments.generate):
        decode(1)
    generate = time.perf_counter() - started
    print(json.dumps([arguments.prompt / prompt, arguments.generate / generate]))


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def commit():
    answer = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return answer.stdout.strip() or "unknown commit"


def row(name, test, own, peer):
    ratios = [a / b for a, b in zip(own, peer)]
    return (f"| {name} | {test} | {statistics.median(own):.4g} ({min(own):.4g} to {max(own):.4g}) "
            f"| {statistics.median(peer):.4g} ({min(peer):.4g} to {max(peer):.4g}) "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    peer = parser.add_mutually_exclusive_group(required=True)
    peer.add_argument("--llama-bench", metavar="PATH", help="a program with llama-bench's options")
    peer.add_argument("--llama-cpp-python", action="store_true", help="the Python package")
    peer.add_argument("--measure-llama-cpp-python", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--build", default=str(ROOT / "build"), help="folder with the program")
    parser.add_argument("--kernels", default="auto", help="of this engine: avx2 beside a peer built for AVX2 alone")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--prompt", type=int, default=512, metavar="TOKENS")
    parser.add_argument("--generate", type=int, default=128, metavar="TOKENS")
    parser.add_argument("--depth", type=int, default=0, metavar="TOKENS", help="context before generating")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="pairs of runs")
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:split])
    arguments.peer_arguments = words[split + 1:]
    return arguments


def main():
    arguments = parse_arguments()
    if arguments.measure_llama_cpp_python:
        measure_llama_cpp_python(arguments)
        return
    measure_peer = llama_bench_speeds if arguments.llama_bench else llama_cpp_python_speeds
    print(f"{processor()}, {arguments.threads} threads, kernels {arguments.kernels}, commit {commit()}, medians of {arguments.repeat} pairs\n")
    print("| model | test | this engine, tokens/s | peer, tokens/s | ratio |\n|---|---|---|---|---|")
    for model in arguments.models:
        own, peer = [], []
        for _ in range(arguments.repeat):
            own.append(own_speeds(arguments, model))
            peer.append(measure_peer(arguments, model))
        name = pathlib.Path(model).name
        after = f" after {arguments.depth}" if arguments.depth else ""
        print(row(name, f"prompt {arguments.prompt}", [p for p, _ in own], [p for p, _ in peer]))
        print(row(name, f"generate {arguments.generate}{after}", [g for _, g in own], [g for _, g in peer]), flush=True)


if __name__ == "__main__":
    main()
