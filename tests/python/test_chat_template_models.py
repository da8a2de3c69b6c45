"""The chat templates of many models, with every shape of conversation, against Python's jinja2.

The templates are those that llama.cpp keeps (see llama_cpp_sources.py): about seventy models. Texts
must be the same; where a template refuses a conversation, so must this program, with its message;
where jinja2 fails, this program must fail as well, unless the template is listed as one that
Hugging Face's environment cannot render and this program can.
"""

import pytest
from conversations import contexts
from llama_cpp_sources import models_folder
from template_oracle import Oracle, Renderer, describe_difference, make_environment, make_extended_environment

pytestmark = pytest.mark.timeout(900)  # the first run downloads

# Templates which Hugging Face's environment refuses for some conversations; compared with a jinja2 that
# allows what they need.
BEYOND_HUGGING_FACE = {
    "Kimi-K2-Instruct": "changes a list with append and pop",
    "Kimi-K2-Thinking": "changes a list with append and pop",
    "deepseek-ai-DeepSeek-V3.2": "uses from_json on arguments given as text",
    "deepseek-ai-DeepSeek-V4": "uses from_json on arguments given as text",
    "deepseek-ai-DeepSeek-V4-Flash-0731": "uses from_json on arguments given as text",
    "llama-cpp-deepseek-r1": "writes an iterator with tojson",
}
LEAST_TEMPLATES = 60


def chosen_contexts(index):
    """Each conversation with the plain settings and with tools, and with two others in turn, so that
    all settings come up with all conversations over the templates."""
    by_messages = {}
    for name, context in contexts():
        by_messages.setdefault(name.split("-")[0], []).append((name, context))
    for number, variants in enumerate(by_messages.values()):
        others = [variant for variant in variants if not variant[0].endswith(("-default", "-tools"))]
        yield from (variant for variant in variants if variant[0].endswith(("-default", "-tools")))
        for step in (0, len(others) // 2):
            yield others[(index + number + step) % len(others)]


def compare(build_dir, template, index, allowed):
    """The differences, and how many conversations only the extended environment renders."""
    oracle, extended = Oracle(make_environment(), template), Oracle(make_extended_environment(), template)
    questions = list(chosen_contexts(index))
    came = Renderer(build_dir).ask([(template, context) for _, context in questions])
    wrong, beyond, texts = [], 0, 0
    for (name, context), answer in zip(questions, came, strict=True):
        expected = oracle.ask(context)
        if allowed and expected.kind in ("failed", "syntax") and answer.kind == "text":
            expected = extended.ask(context)
            beyond += 1
        texts += answer.kind == "text"
        if expected != answer:
            wrong.append(f"{name}: {describe_difference('', context, expected, answer)}")
    return wrong, beyond, texts


@pytest.fixture(scope="module")
def templates(source_root):
    return sorted((models_folder(source_root) / "templates").glob("*.jinja"))


def test_every_template_renders_as_in_jinja2(templates, build_dir, subtests):
    assert len(templates) >= LEAST_TEMPLATES
    for index, path in enumerate(templates):
        with subtests.test(path.stem):
            allowed = path.stem in BEYOND_HUGGING_FACE
            wrong, beyond, texts = compare(build_dir, path.read_text(encoding="utf-8"), index, allowed)
            assert not wrong, f"{path.stem}: {len(wrong)} differ:\n" + "\n\n".join(wrong[:3])
            assert texts > 0, "no conversation renders at all"
            assert not allowed or beyond > 0, "it renders with Hugging Face's environment: take it off the list"
