"""What the probe finds out about real models' templates, against what their model cards say."""

import json
import subprocess

import pytest
from llama_cpp_sources import models_folder
from tool_forms import PHI4_MINI, SMOLLM3

pytestmark = pytest.mark.timeout(900)  # the first run downloads

# Template: (form of the calls, form of the thoughts). "plain": the template knows no tools, or calls in a form that is
# not read here, so that they count as unsupported.
KNOWN = {
    "Mistral-Small-3.2-24B-Instruct-2506": ("mistral_ids", "none"),
    "mistralai-Mistral-Nemo-Instruct-2407": ("mistral_list", "none"),
    "mistralai-Ministral-3-14B-Reasoning-2512": ("mistral_names", "mistral"),
    "unsloth-mistral-Devstral-Small-2507": ("mistral_names", "none"),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": ("hermes", "none"),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": ("hermes", "none"),
    "Qwen-Qwen2.5-7B-Instruct": ("hermes", "none"),
    "Qwen-Qwen3-0.6B": ("hermes", "tags"),
    "Qwen-QwQ-32B": ("hermes", "tags"),
    "ibm-granite-granite-4.0": ("hermes", "none"),
    "meta-llama-Llama-3.1-8B-Instruct": ("llama3", "none"),
    "meta-llama-Llama-3.2-3B-Instruct": ("llama3", "none"),
    "meta-llama-Llama-3.3-70B-Instruct": ("llama3", "none"),
    "Qwen3-Coder": ("qwen_xml", "none"),
    "Qwen3.5-4B": ("qwen_xml", "tags"),
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": ("qwen_xml", "tags"),
    "ByteDance-Seed-OSS": ("seed_xml", "seed"),
    "GLM-4.6": ("glm_lines", "tags"),
    "GLM-4.7-Flash": ("glm", "tags"),
    "MiniMax-M2": ("minimax_xml", "tags"),
    "llama-cpp-deepseek-r1": ("deepseek_v3", "tags"),
    "Kimi-K2-Instruct": ("kimi", "none"),
    "Kimi-K2-Thinking": ("kimi", "tags"),
    "google-gemma-4-31B-it": ("gemma", "gemma"),
    "google-gemma-4-31B-it-interleaved": ("gemma", "gemma"),
    "openai-gpt-oss-120b": ("harmony", "harmony"),
    "NVIDIA-Nemotron-Nano-v2": ("nemotron_list", "tags"),
    "unsloth-Apriel-1.5": ("apriel_list", "none"),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": ("cohere_list", "cohere"),
    "google-gemma-2-2b-it": ("plain", "none"),
    "microsoft-Phi-3.5-mini-instruct": ("plain", "none"),
    "LFM2-8B-A1B": ("plain", "none"),
}
# These write calls, and no tools.
WITHOUT_TOOLS = {
    "deepseek-ai-DeepSeek-V3.1": ("deepseek_v31", "tags"),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": ("deepseek_v3", "tags"),
}
SHORT_IDS = {"Mistral-Small-3.2-24B-Instruct-2506", "mistralai-Mistral-Nemo-Instruct-2407"}


def ask(build_dir, templates):
    program = build_dir / "tests" / "tools" / "chat_traits"
    lines = "".join(json.dumps(template) + "\n" for template in templates)
    result = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in result.stdout.split("\n") if line]


def test_what_known_templates_can_do(source_root, build_dir, subtests):
    folder = models_folder(source_root) / "templates"
    known = KNOWN | WITHOUT_TOOLS
    texts = [(folder / f"{name}.jinja").read_text(encoding="utf-8") for name in known]
    for (name, (calls, thoughts)), found in zip(known.items(), ask(build_dir, texts), strict=True):
        with subtests.test(name):
            assert found["tools"] is (calls != "plain" and name not in WITHOUT_TOOLS)
            assert found["calls"] == ("hermes" if calls == "plain" else calls)
            assert found["tools_place"] == ("template" if found["tools"] else "nowhere")
            assert (found["thinking"], found["thoughts"]) == (thoughts != "none", thoughts)
            assert found["short_call_ids"] is (name in SHORT_IDS)
            assert found["calls_as_text"] is (calls == "plain")
            assert found["thinking_key"] == ("thinking" if calls == "harmony" else "reasoning_content")
            assert found["single_calls"] is (calls in ("llama3", "harmony"))
            assert found["system_as_user"] is (name == "google-gemma-2-2b-it")
            assert not found["typed_content"]


def test_templates_that_write_no_calls(build_dir):
    phi, smol = ask(build_dir, [PHI4_MINI, SMOLLM3])
    assert (phi["tools"], phi["calls"], phi["tools_place"], phi["calls_as_text"]) == (True, "phi4_mini", "system_message", True)
    assert (smol["tools"], smol["calls"], smol["tools_place"], smol["calls_as_text"]) == (True, "hermes", "template", True)
    assert smol["thoughts"] == "tags" and smol["thinking_can_be_set"]
    assert not phi["results_as_user"] and not smol["results_as_user"]


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
        loop + "{% if m.content is none %}[TOOL_CALLS][{{ m.tool_calls[0].function | tojson }}]{% else %}"
        "{{ m.content }}{% endif %}{% endfor %}",
        loop + "{{ m.content[0].text }}{% endfor %}",
    ])
    assert found[0]["arguments_as_text"] and found[0]["calls"] == "hermes"
    assert found[1]["null_content"] and found[1]["calls"] == "mistral_list" and not found[1]["arguments_as_text"]
    assert found[2]["typed_content"]


def test_a_template_that_always_fails_can_nothing(build_dir):
    found = ask(build_dir, ["{{ raise_exception('no') }}", "{{ 1 + messages }}", ""])
    assert not any(entry["tools"] or entry["thinking"] or entry["typed_content"] for entry in found)
