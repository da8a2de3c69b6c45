"""Running the program as a person or a script does, away from this machine's own settings."""

import os
import subprocess
import time

from make_model import make_model

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def make_chat_model(folder):
    """A model that chats nonsense, loads at once and has room for a very long answer."""
    return make_model(folder / "nonsense.gguf", context=32768, chat_template=CHAT_TEMPLATE)


class Program:
    def __init__(self, path, home):
        self.path, self.home = path, home
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", "TERM": "xterm",
            # Tiny models are made of f32, for exact answers; test_load_quantization.py turns it on.
            "MISTRAL_DYNAMIC_QUANTIZATION": "false",
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", ""), "UBSAN_OPTIONS": os.environ.get("UBSAN_OPTIONS", ""),
        }

    def start(self, *arguments, environment=None, **settings):
        settings.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([self.path, *arguments], env={**self.environment, **(environment or {})},
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)

    def __call__(self, *arguments, input=None, **settings):
        """The finished process, with `out` and `err` as text."""
        if input is not None:
            settings["stdin"] = subprocess.PIPE
        process = self.start(*arguments, **settings)
        out, err = process.communicate(input, timeout=120)
        process.out, process.err = out.decode(), err.decode()
        return process

    def good(self, *arguments, **settings):
        done = self(*arguments, **settings)
        assert done.returncode == 0, done.err
        return done.out

    def bad(self, code, *arguments, **settings):
        """The message of a run that must fail with this exit code and print nothing else."""
        done = self(*arguments, **settings)
        assert (done.returncode, done.out) == (code, ""), (done.returncode, done.out, done.err)
        assert done.err.startswith("mistral: error: ") and done.err.count("\n") == 1, done.err
        return done.err.removeprefix("mistral: error: ").rstrip("\n")


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
