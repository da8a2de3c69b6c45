"""What the probe finds out about real models' templates, against what their model cards say."""

import json
import subprocess

import pytest
from llama_cpp_sources import models_folder

pytestmark = pytest.mark.timeout(900)  # the first run downloads

# Template: (form of the calls, form of the thoughts).
KNOWN = {
    "Mistral-Small-3.2-24B-Instruct-2506": ("mistral", "none"),
    "mistralai-Mistral-Nemo-Instruct-2407": ("mistral", "none"),
    "mistralai-Ministral-3-14B-Reasoning-2512": ("mistral", "mistral"),
    "unsloth-mistral-Devstral-Small-2507": ("mistral", "none"),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": ("hermes", "none"),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": ("hermes", "none"),
    "Qwen-Qwen2.5-7B-Instruct": ("hermes", "none"),
    "Qwen-Qwen3-0.6B": ("hermes", "tags"),
    "Qwen-QwQ-32B": ("hermes", "tags"),
    "meta-llama-Llama-3.1-8B-Instruct": ("llama3", "none"),
    "meta-llama-Llama-3.2-3B-Instruct": ("llama3", "none"),
    "meta-llama-Llama-3.3-70B-Instruct": ("llama3", "none"),
    # Tools in a form that is not read here, so that they count as unsupported.
    "Qwen3-Coder": (None, "none"),
    "GLM-4.6": (None, "tags"),
    "openai-gpt-oss-120b": (None, "none"),
    # No tools at all.
    "google-gemma-2-2b-it": (None, "none"),
    "microsoft-Phi-3.5-mini-instruct": (None, "none"),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": (None, "tags"),
}
SHORT_IDS = {"Mistral-Small-3.2-24B-Instruct-2506", "mistralai-Mistral-Nemo-Instruct-2407"}


def ask(build_dir, templates):
    program = build_dir / "tests" / "tools" / "chat_traits"
    lines = "".join(json.dumps(template) + "\n" for template in templates)
    result = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in result.stdout.split("\n") if line]


def test_what_known_templates_can_do(source_root, build_dir, subtests):
    folder = models_folder(source_root) / "templates"
    texts = [(folder / f"{name}.jinja").read_text(encoding="utf-8") for name in KNOWN]
    for (name, (calls, thoughts)), found in zip(KNOWN.items(), ask(build_dir, texts), strict=True):
        with subtests.test(name):
            assert found["tools"] is (calls is not None)
            assert found["calls"] == (calls or "none")
            assert (found["thinking"], found["thoughts"]) == (thoughts != "none", thoughts)
            assert found["short_call_ids"] is (name in SHORT_IDS)
            assert not found["typed_content"]


def test_whether_thinking_can_be_turned_off(source_root, build_dir):
    folder = models_folder(source_root) / "templates"
    names = ["Qwen-Qwen3-0.6B", "Qwen-Qwen2.5-7B-Instruct"]
    found = ask(build_dir, [(folder / f"{name}.jinja").read_text(encoding="utf-8") for name in names])
    assert [entry["thinking_can_be_set"] for entry in found] == [True, False]


def test_shapes_that_templates_want(build_dir):
    loop = "{% for m in messages %}"
    found = ask(build_dir, [
        # Arguments that are joined to text cannot be an object.
        loop + "{% if m.tool_calls %}<tool_call>{\"name\": \"{{ m.tool_calls[0].function.name }}\", \"arguments\": "
        "{{ '' + m.tool_calls[0].function.arguments }}}</tool_call>{% else %}{{ m.content }}{% endif %}{% endfor %}",
        # Calls only beside a content that is null.
        loop + "{% if m.content is none %}[TOOL_CALLS]{{ m.tool_calls[0].function | tojson }}{% else %}"
        "{{ m.content }}{% endif %}{% endfor %}",
        loop + "{{ m.content[0].text }}{% endfor %}",
    ])
    assert found[0]["arguments_as_text"] and found[0]["calls"] == "hermes"
    assert found[1]["null_content"] and found[1]["calls"] == "mistral" and not found[1]["arguments_as_text"]
    assert found[2]["typed_content"]


def test_a_template_that_always_fails_can_nothing(build_dir):
    found = ask(build_dir, ["{{ raise_exception('no') }}", "{{ 1 + messages }}", ""])
    assert not any(entry["tools"] or entry["thinking"] or entry["typed_content"] for entry in found)
