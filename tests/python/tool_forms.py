"""The forms in which models write calls: for each a model's template, and how that model writes. By hand, after the
model's own documentation, so that they are no copy of the program's table."""

import json

from llama_cpp_sources import models_folder

# As Microsoft publishes it: tools stand in a member of the system message, calls and results nowhere.
PHI4_MINI = (
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}")
# The part of SmolLM3's that matters: it tells how to call, and writes no calls.
SMOLLM3 = (
    "<|im_start|>system\n{% if tools %}### Tools\n\nYou are provided with function signatures within <tools></tools> XML tags:\n\n"
    "<tools>\n{% for tool in tools %}{{ tool.function | string }}\n{% endfor %}</tools>\n\nFor each function call, return a json "
    "object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>\n\n{% endif %}<|im_end|>\n"
    "{% for message in messages %}{% if message.role == 'tool' %}<|im_start|>user\n{{ message.content }}<|im_end|>\n"
    "{% else %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n{% endif %}")


def dumps(value):
    return json.dumps(value, ensure_ascii=False)


def bare(value):
    """A value as it stands between tags: a text as it is."""
    return value if isinstance(value, str) else dumps(value)


def hermes(calls):
    return "\n".join(f"<tool_call>\n{dumps({'name': n, 'arguments': a})}\n</tool_call>" for n, a in calls)


def qwen_xml(calls):
    return "\n".join(
        f"<tool_call>\n<function={n}>\n" + "".join(f"<parameter={k}>\n{bare(v)}\n</parameter>\n" for k, v in a.items())
        + "</function>\n</tool_call>" for n, a in calls)


def glm(calls, line=""):
    return line.join(
        f"<tool_call>{n}{line}" + "".join(f"<arg_key>{k}</arg_key>{line}<arg_value>{bare(v)}</arg_value>{line}" for k, v in a.items())
        + "</tool_call>" for n, a in calls)


def gemma_value(value):
    if isinstance(value, str):
        return f'<|"|>{value}<|"|>'
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{gemma_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(gemma_value(v) for v in value) + "]"
    return dumps(value)


def deepseek_v31(calls):
    return ("<｜tool▁calls▁begin｜>" + "".join(f"<｜tool▁call▁begin｜>{n}<｜tool▁sep｜>{dumps(a)}<｜tool▁call▁end｜>" for n, a in calls)
            + "<｜tool▁calls▁end｜>")


def deepseek_v3(calls):
    return ("<｜tool▁calls▁begin｜>"
            + "\n".join(f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{n}\n```json\n{dumps(a)}\n```<｜tool▁call▁end｜>" for n, a in calls)
            + "<｜tool▁calls▁end｜>")


def harmony(calls):
    """One call an answer, after a thought; the token that ends it is not part of the text."""
    (name, arguments), = calls
    return ("<|channel|>analysis<|message|>I need it.<|end|><|start|>assistant<|channel|>commentary "
            f"to=functions.{name} <|constrain|>json<|message|>{dumps(arguments)}")


def listed(calls, key="arguments", name="name"):
    return dumps([{name: n, key: a} for n, a in calls])


# Form: (template's file or its text, how the model writes calls, control tokens of its vocabulary).
MISTRAL = ["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
           "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[CALL_ID]", "[ARGS]", "[THINK]", "[/THINK]"]
QWEN = ["<|im_start|>", "<|im_end|>"]
FORMS = {
    "mistral_list": ("mistralai-Mistral-Nemo-Instruct-2407", lambda calls: "[TOOL_CALLS]" + listed(calls), MISTRAL),
    "mistral_ids": ("Mistral-Small-3.2-24B-Instruct-2506",
                    lambda calls: "".join(f"[TOOL_CALLS]{n}[CALL_ID]abcdefgh{i}[ARGS]{dumps(a)}" for i, (n, a) in enumerate(calls)),
                    MISTRAL),
    "mistral_names": ("mistralai-Ministral-3-14B-Reasoning-2512",
                      lambda calls: "".join(f"[TOOL_CALLS]{n}[ARGS]{dumps(a)}" for n, a in calls), MISTRAL),
    "hermes": ("Qwen-Qwen3-0.6B", hermes, QWEN),
    "llama3": ("meta-llama-Llama-3.1-8B-Instruct", lambda calls: "; ".join(dumps({"name": n, "parameters": a}) for n, a in calls),
               ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"]),
    "qwen_xml": ("Qwen3-Coder", qwen_xml, QWEN),
    "glm_lines": ("GLM-4.6", lambda calls: glm(calls, "\n"), ["<|user|>", "<|assistant|>"]),
    "glm": ("GLM-4.7-Flash", glm, ["<|user|>", "<|assistant|>"]),
    "gemma": ("google-gemma-4-31B-it",
              lambda calls: "".join(f"<|tool_call>call:{n}{gemma_value(a)}<tool_call|>" for n, a in calls),
              ["<|turn>", "<turn|>", "<|tool_call>", "<tool_call|>", "<|\"|>", "<|channel>", "<channel|>"]),
    "deepseek_v31": ("deepseek-ai-DeepSeek-V3.1", deepseek_v31,
                     ["<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
                      "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"]),
    "deepseek_v3": ("llama-cpp-deepseek-r1", deepseek_v3, ["<｜User｜>", "<｜Assistant｜>"]),
    "harmony": ("openai-gpt-oss-120b", harmony,
                ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>"]),
    "kimi": ("Kimi-K2-Instruct",
             lambda calls: "<|tool_calls_section_begin|>"
             + "".join(f"<|tool_call_begin|>functions.{n}:{i}<|tool_call_argument_begin|>{dumps(a)}<|tool_call_end|>"
                       for i, (n, a) in enumerate(calls)) + "<|tool_calls_section_end|>", ["<|im_end|>"]),
    "minimax_xml": ("MiniMax-M2",
                    lambda calls: "<minimax:tool_call>\n"
                    + "".join(f'<invoke name="{n}">\n' + "".join(f'<parameter name="{k}">{bare(v)}</parameter>\n' for k, v in a.items())
                              + "</invoke>\n" for n, a in calls) + "</minimax:tool_call>", ["[e~[", "]~b]"]),
    "seed_xml": ("ByteDance-Seed-OSS",
                 lambda calls: "\n".join(
                     f"<seed:tool_call>\n<function={n}>\n" + "".join(f"<parameter={k}>{bare(v)}</parameter>\n" for k, v in a.items())
                     + "</function>\n</seed:tool_call>" for n, a in calls), ["<seed:bos>", "<seed:eos>"]),
    "phi4_mini": (PHI4_MINI, lambda calls: "<|tool_call|>" + listed(calls) + "<|/tool_call|>",
                  ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|tool|>", "<|/tool|>", "<|tool_call|>", "<|/tool_call|>"]),
    "smollm3": (SMOLLM3, hermes, QWEN),
    "nemotron_list": ("NVIDIA-Nemotron-Nano-v2", lambda calls: "<TOOLCALL>" + listed(calls) + "</TOOLCALL>", ["<SPECIAL_12>"]),
    "apriel_list": ("unsloth-Apriel-1.5", lambda calls: "<tool_calls>" + listed(calls) + "</tool_calls>", ["<|end|>"]),
    "cohere_list": ("CohereForAI-c4ai-command-r7b-12-2024-tool_use",
                    lambda calls: "<|START_ACTION|>" + listed(calls, "parameters", "tool_name") + "<|END_ACTION|>", ["<|END_OF_TURN_TOKEN|>"]),
    # A template that knows no tools: they are told in the plain form.
    "plain": ("microsoft-Phi-3.5-mini-instruct", hermes, ["<|end|>", "<|user|>", "<|assistant|>"]),
}
SINGLE = {"harmony"}  # one call an answer
# Templates that open the answer's thought themselves: what closes it.
OPENS_A_THOUGHT = {"glm": "</think>", "minimax_xml": "</think>", "nemotron_list": "</think>", "deepseek_v3": "</think>"}


def read_template(source_root, source):
    """Of a file's name, or the text itself."""
    if "{" in source:
        return source
    return (models_folder(source_root) / "templates" / f"{source}.jinja").read_text(encoding="utf-8")


def template_of(source_root, form):
    return read_template(source_root, FORMS[form][0])
