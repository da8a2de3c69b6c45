"""The prompts of the golden file: chat (rendered by the model's own template) and raw text.

Varied on purpose: short and long, several languages and scripts, code, numbers, spaces, symbols.
"""

from pathlib import Path

# Public domain; see README.md.
PROSE = (Path(__file__).parent / "text.txt").read_text(encoding="utf-8")

C_SOURCE = """\
/* Appends a copy of the text; false when memory runs out. */
bool list_append(struct list *list, const char *text) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 8 : 2 * list->capacity;
"""

PYTHON_SOURCE = '''\
def fibonacci(n: int) -> list[int]:
    """Returns the first n Fibonacci numbers."""
'''

HTML_SOURCE = """\
<!DOCTYPE html>
<html lang="en">
<head>
  <title>Tide tables</title>
"""

# A conversation of several turns, long enough to fill many blocks of the KV cache.
LONG_CHAT = [
    {"role": "system", "content": "You are a patient teacher of history. Answer in plain words."},
    {"role": "user", "content": "Here is a text. I will ask about it later.\n\n" + PROSE[3000:4400]},
    {"role": "assistant", "content": "Thank you. I have read it. What would you like to know?"},
    {"role": "user", "content": "Here is some more of it.\n\n" + PROSE[9000:9900] + "\n\nWho may do what, in one sentence?"},
]


def user(text):
    return [{"role": "user", "content": text}]


# (name, list of messages) is a chat, (name, text) is raw.
PROMPTS = [
    ("chat capital", user("What is the capital of France?")),
    ("chat poem", user("Write a short poem about the sea in winter.")),
    ("chat steps", user("Explain step by step how to change a bicycle tyre.")),
    ("chat arithmetic", user("Anna has 17 apples, gives 5 to Ben and buys 8 more. How many has she?")),
    ("chat code", user("Write a C function that reverses a string in place.")),
    ("chat json", user('Return a JSON object with the keys "name", "age" and "city" for a made-up person.')),
    ("chat system", [{"role": "system", "content": "You answer with one word."}, *user("What colour is grass?")]),
    ("chat turns", [
        *user("Name a planet."),
        {"role": "assistant", "content": "Mars."},
        *user("Name one that is larger, and say why it is not red."),
    ]),
    ("chat chinese", user("请用一句话介绍长城。")),
    ("chat german", user("Was ist der Unterschied zwischen Wetter und Klima?")),
    ("chat emoji", user("What do these mean: 🌧️ ☀️ 🧊 → 🌊?")),
    ("chat one letter", user("a")),
    ("chat long", LONG_CHAT),
    ("raw sentence", "The quick brown fox"),
    ("raw story", "Once upon a time, in a village between two mountains, there lived a clockmaker who"),
    ("raw python", PYTHON_SOURCE),
    ("raw c", C_SOURCE),
    ("raw html", HTML_SOURCE),
    ("raw numbers", "1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89,"),
    ("raw table", "| month | rain (mm) | days |\n|---|---|---|\n| January | 81 | 14 |\n| February | 64 | 11 |\n|"),
    ("raw russian", "Москва — столица России. Санкт-Петербург —"),
    ("raw accents", "Crème brûlée, façade, naïve, Ångström, ěščřžýáíé:"),
    ("raw spaces", "    indented by four\n        by eight\n\t\tby two tabs\n"),
    ("raw symbols", "∀x ∈ ℝ: x² ≥ 0; ∑ᵢ aᵢ ≤ √n · ‖a‖; e^{iπ} + 1 = 0;"),
    ("raw letter", "Dear Sir or Madam,\n\nI am writing to you about the"),
    ("raw prose long", PROSE[5000:7600]),
    ("raw list", "Ten things to pack for a week in the mountains:\n1. Boots\n2. A map\n3."),
]
