#!/usr/bin/env python3
"""llama_cpp_python.py - llama.cpp as the Python package llama-cpp-python carries it, with llama-bench's manners.

    mistral bench engine MODEL.gguf --baseline-command 'bench/llama_cpp_python.py -m MODEL.gguf -t 2'

Takes those of llama-bench's options that 'mistral bench engine --baseline-command' gives, measures one test and
prints its speed as JSON, in tokens a second. Needs the package in the Python that runs it.
"""

import argparse
import json
import os
import sys
import time

import llama_cpp

BATCH = 512


def open_context(arguments):
    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, None)
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(arguments.model.encode(), llama_cpp.llama_model_default_params())
    if not model:
        sys.exit(f"cannot load '{arguments.model}'")
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = arguments.depth + arguments.prompt + arguments.generate + 64
    settings.n_batch = settings.n_ubatch = BATCH
    settings.n_threads = settings.n_threads_batch = arguments.threads
    return llama_cpp.llama_init_from_model(model, settings), quiet  # the library calls it later


def decode(context, count):
    for at in range(0, count, BATCH):
        size = min(BATCH, count - at)
        tokens = (llama_cpp.llama_token * size)(*[100] * size)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, size)) != 0:
            sys.exit("llama_decode failed")
    llama_cpp.llama_synchronize(context)


def measure(context, arguments):
    decode(context, 16)  # warms up
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    decode(context, arguments.depth)
    started = time.perf_counter()
    decode(context, arguments.prompt)
    for _ in range(arguments.generate):
        decode(context, 1)
    return (arguments.prompt + arguments.generate) / (time.perf_counter() - started)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", dest="model", required=True, metavar="FILE")
    parser.add_argument("-t", dest="threads", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("-p", dest="prompt", type=int, default=512, metavar="TOKENS", help="prompt to read")
    parser.add_argument("-n", dest="generate", type=int, default=0, metavar="TOKENS", help="tokens to generate")
    parser.add_argument("-d", dest="depth", type=int, default=0, metavar="TOKENS", help="context before")
    parser.add_argument("-r", dest="repeat", type=int, choices=[1], default=1, help="runs")
    parser.add_argument("-o", dest="output", choices=["json"], default="json", help="form of the output")
    arguments = parser.parse_args()
    context, _quiet = open_context(arguments)
    print(json.dumps([{"n_prompt": arguments.prompt, "n_gen": arguments.generate, "n_depth": arguments.depth,
                       "avg_ts": measure(context, arguments)}]))


if __name__ == "__main__":
    main()
