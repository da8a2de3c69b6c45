"""mistral run as a person uses it: a chat on a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from pathlib import Path

from pathlib import Path

import pytest

from program import Program, make_chat_model, wait_until

PROMPT = b">>> "
SUPPRESSIONS = Path(__file__).with_name("libedit.supp")


class Terminal:
    """The program with a terminal of its own in front of it."""

    def __init__(self, program, arguments, environment=None):
        self.leader, follower = pty.openpty()
        self.modes = termios.tcgetattr(follower)
        self.follower = follower
        self.process = subprocess.Popen(
            [program.path, *arguments],
            env={**program.environment, "NO_COLOR": "1", "LSAN_OPTIONS": f"suppressions={SUPPRESSIONS}:print_suppressions=0",
                 **(environment or {})},
            stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.unread = b""

    def read_until(self, text, seconds=60):
        """What is shown up to and with `text`."""
        deadline = time.monotonic() + seconds
        while text not in self.unread:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.leader], [], [], left)[0], f"no {text!r} in {self.unread!r}"
            self.unread += os.read(self.leader, 65536)
        shown, _, self.unread = self.unread.partition(text)
        return (shown + text).decode()

    def read_prompt(self):
        """The same up to the prompt, and until keys go to the line editor and not to the terminal itself."""
        shown = self.read_until(PROMPT)
        wait_until(lambda: not termios.tcgetattr(self.follower)[3] & termios.ICANON, 60)
        return shown

    def type(self, text):
        os.write(self.leader, text.encode())

    def ask(self, line):
        """Types a line; what is shown behind it, up to the next prompt."""
        self.type(line + "\n")
        self.read_until(b"\n")
        return self.read_prompt().removesuffix(">>> ").replace("\r\n", "\n")

    def end(self):
        code = self.process.wait(20)
        modes_after = termios.tcgetattr(self.follower)
        os.close(self.leader)
        os.close(self.follower)
        return code, modes_after[3] == self.modes[3]  # local modes: echo, line by line, signals


@pytest.fixture
def program(mistral, tmp_path):
    return Program(mistral, tmp_path)


@pytest.fixture(scope="module")
def nonsense(tmp_path_factory):
    return make_chat_model(tmp_path_factory.mktemp("models"))


@pytest.fixture
def chat(program, nonsense):
    """Starts a chat; those that a test leaves open are killed."""
    open_terminals = []

    def start(*arguments, model=nonsense, **settings):
        terminal = Terminal(program, ["run", model, "--temperature", "0", *arguments], **settings)
        open_terminals.append(terminal)
        terminal.start = terminal.read_prompt()
        return terminal

    yield start
    for terminal in open_terminals:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()


def test_questions_answers_and_commands(program, smollm2, chat):
    alone = program.good("run", smollm2, "--temperature", "0", "-n", "12", "Hi")
    terminal = chat("-n", "12", model=smollm2)
    assert "loading SmolLM2" in terminal.start
    assert "/help lists commands" in terminal.start
    assert terminal.ask("Hi") == alone
    assert "\n  /clear " in terminal.ask("/help")
    assert "unknown command /nope; /help lists them" in terminal.ask("/nope")
    assert terminal.ask("/system") == "(no system text)\n"
    assert re.search(r"llama, 134.5 million parameters, Q4_1, context 8192 tokens", terminal.ask("/show"))
    assert terminal.ask("   ") == ""
    terminal.type("/quit\n")
    assert terminal.end() == (0, True)


def test_a_chat_remembers_until_it_is_cleared(chat):
    tokens = lambda shown: tuple(map(int, re.search(r"prompt: (\d+) tokens \((\d+) cached\)", shown).groups()))
    terminal = chat("-n", "8", "-v")
    first, cached = tokens(terminal.ask("My name is Ada."))
    assert cached == 0
    second, cached = tokens(terminal.ask("My name is Ada."))
    assert second > first + 8 and cached >= 16
    assert terminal.ask("/clear") == ""
    assert tokens(terminal.ask("My name is Ada."))[0] == first
    assert terminal.ask("/system Answer like a pirate.") == ""
    assert terminal.ask("/system") == "Answer like a pirate.\n"
    assert tokens(terminal.ask("My name is Ada."))[0] != first
    terminal.type("/bye\n")
    assert terminal.end() == (0, True)


def test_ctrl_c_stops_the_answer_and_not_the_chat(chat):
    terminal = chat("--ignore-end")
    terminal.type("Tell me a very long story.\n")
    terminal.read_until(b"\n")
    terminal.read_until(b"e")  # the answer has begun
    terminal.type("\x03")
    assert terminal.read_prompt().endswith("(stopped)\r\n>>> ")
    assert "context 32768 tokens" in terminal.ask("/show")


def test_ctrl_c_at_the_prompt(chat):
    terminal = chat()
    terminal.type("half a line\x03")
    terminal.read_prompt()
    terminal.type("\x03")
    assert "(Ctrl-C again or Ctrl-D ends the chat)" in terminal.read_prompt()
    assert terminal.ask("/system") == "(no system text)\n"
    terminal.type("\x03")
    terminal.read_prompt()
    terminal.type("\x03")
    assert terminal.end() == (0, True)


def test_ctrl_d_ends_the_chat(chat):
    terminal = chat()
    terminal.type("\x04")
    assert terminal.end() == (0, True)


def test_sigterm_leaves_the_terminal_as_it_was(chat):
    terminal = chat()
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == (-signal.SIGTERM, True)


def test_characters_are_edited_whole(chat):
    """Typed, deleted and kept as characters, not bytes; also where the locale knows only ASCII."""
    for locale in ("C.UTF-8", "C"):
        terminal = chat("-n", "1", environment={"LC_ALL": locale})
        assert terminal.ask("/system na\u00efve \U0001f600\u00e9\x7f!") == ""
        assert terminal.ask("/system") == "na\u00efve \U0001f600!\n"


def test_a_message_of_several_lines(chat):
    terminal = chat("-n", "1")
    terminal.type('"""/system one\n')
    terminal.read_until(b"... ")
    terminal.type('two"""\n')
    terminal.read_prompt()
    assert terminal.ask("/system") == "one\ntwo\n"


def test_lines_typed_are_kept_for_the_next_chat(chat, tmp_path):
    terminal = chat("-n", "1")
    terminal.ask("/system kept")
    terminal.type("\x04")
    terminal.end()
    path = tmp_path / ".local/state/mistral/history"
    assert path.stat().st_mode & 0o777 == 0o600
    terminal = chat("--no-history")
    terminal.ask("/system forgotten")
    terminal.type("\x04")
    terminal.end()
    terminal = chat("-n", "1")
    terminal.type("\x1b[A")  # the key "up"
    terminal.read_until(b"/system kept")
    terminal.type("\n")
    terminal.read_prompt()
    assert terminal.ask("/system") == "kept\n"


def test_a_conversation_that_is_full(chat):
    terminal = chat("--max-sequence-length", "40")
    shown = terminal.ask("word " * 40)
    assert "the context holds 40" in shown and "/clear starts a new one" in shown
    assert terminal.ask("/system") == "(no system text)\n"


def test_options_that_need_a_prompt(program, nonsense):
    for option in ("--json", "--raw"):
        terminal = Terminal(program, ["run", nonsense, option])
        assert f"{option} needs a prompt" in terminal.read_until(b"\n")
        assert terminal.end()[0] == 2
