"""Conversations that chat templates are rendered with: every shape that clients send."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place, e.g. \"Zürich\" & <others>",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 14},
                "options": {
                    "type": "object",
                    "properties": {"wind": {"type": "boolean"}, "tags": {"type": "array", "items": {"type": "string"}}},
                    "required": ["wind"],
                },
            },
            "required": ["city"],
        },
        "return": {"type": "object", "description": "what was measured",
                   "properties": {"temperature": {"type": "number"}}},
    },
}
SEARCH = {
    "type": "function",
    "function": {"name": "search", "description": "Looks things up.",
                 "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
}
TOOLS = [WEATHER, SEARCH]
# Without unions of types and nested objects, which some templates cannot describe.
PLAIN_TOOL = {
    "type": "function",
    "function": {
        "name": "add", "description": "Adds numbers.",
        "parameters": {"type": "object", "required": ["a", "b"],
                       "properties": {"a": {"type": "number", "description": "left"}, "b": {"type": "integer"},
                                      "exact": {"type": "boolean"}, "unit": {"type": "string", "enum": ["m", "s"]},
                                      "list": {"type": "array", "items": {"type": "number"}}}},
        "return": {"type": "number", "description": "The sum."},
    },
}


def system(content="You are a terse assistant."):
    return {"role": "system", "content": content}


def user(content="Hello, who are you?"):
    return {"role": "user", "content": content}


def assistant(content="I am a model.", **more):
    return {"role": "assistant", "content": content, **more}


def call(name="get_weather", arguments=None, identifier="abcdefgh1"):
    arguments = {"city": "Zürich", "days": 3, "options": {"wind": True, "tags": ["a", "b"]}} if arguments is None else arguments
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content='{"temperature": 21.5}', name="get_weather", identifier="abcdefgh1"):
    return {"role": "tool", "tool_call_id": identifier, "name": name, "content": content}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


TOOL_TURN = [user("What is the weather?"), assistant("", tool_calls=[call()]), result()]

MESSAGES = {
    "plain": [user()],
    "system": [system(), user()],
    "multi_turn": [user("1 + 1?"), assistant("2"), user("And doubled?"), assistant("4"), user("Thanks!")],
    "system_multi_turn": [system(), user("1 + 1?"), assistant("2"), user("And doubled?")],
    "ends_with_assistant": [user("Say it."), assistant("It.")],
    "unicode": [system("Antworte höflich. 你好"), user("Größe? 😀 e\u0301 \u00a0 \u2028 ß İ"), assistant("«Да»"), user("ok")],
    "spaces": [system("  \n padded \n\n"), user("\n  first line\n\tsecond  \n"), assistant("  answer \n "), user(" . ")],
    "markup": [system("<b>&amp;</b>"), user("'single' \"double\" \\ back {{ braces }} {% tag %} <|im_end|> </s>")],
    "empty_content": [system(""), user(""), assistant(""), user("x")],
    "no_messages": [],
    "none_content": [user("Call it."), assistant(None, tool_calls=[call()]), result()],
    "parts": [user(parts("Hello", "World"))],
    "system_parts": [system(parts("Be brief.")), user(parts("Hi")), assistant(parts("Yes?")), user(parts("a", "b"))],
    "image_part": [user([{"type": "text", "text": "What is this?"}, {"type": "image"}])],
    "image_url_part": [user([{"type": "image_url", "image_url": {"url": "http://x/y.png"}}, *parts("This?")])],
    "tool_turn": TOOL_TURN,
    "tool_turn_answered": [*TOOL_TURN, assistant("21.5 degrees."), user("Thanks, and tomorrow?")],
    "tool_turn_with_system": [system(), *TOOL_TURN],
    "two_calls": [user("Weather here and there?"),
                  assistant("", tool_calls=[call(), call("search", {"query": "it's \"there\""}, "abcdefgh2")]),
                  result(), result("none found", "search", "abcdefgh2")],
    "call_with_text": [user("Weather?"), assistant("Let me look.", tool_calls=[call()]), result("wet"), assistant("Wet.")],
    "arguments_as_text": [user("Weather?"), assistant("", tool_calls=[call(arguments='{"city": "Rome", "days": 2}')]), result()],
    "empty_arguments": [user("Weather?"), assistant("", tool_calls=[call(arguments={})]), result()],
    "result_as_object": [user("Weather?"), assistant("", tool_calls=[call()]), result({"temperature": 21.5, "wet": False, "at": None})],
    "result_parts": [user("Weather?"), assistant("", tool_calls=[call()]), result(parts("wet", "cold"))],
    "result_without_name": [user("Weather?"), assistant("", tool_calls=[call()]),
                            {"role": "tool", "tool_call_id": "abcdefgh1", "content": "dry"}],
    "short_identifiers": [user("Weather?"), assistant("", tool_calls=[call(identifier="call_1")]), result(identifier="call_1")],
    "numbers_in_arguments": [user("?"), assistant("", tool_calls=[call(arguments={
        "i": 12345678901234, "f": 0.1, "e": 1e22, "n": -7, "z": 0.0, "t": True, "x": None, "l": [1, 2.5, "s", []], "d": {}})]),
        result()],
    "reasoning": [user("2 + 2?"), assistant("4", reasoning_content="Two and two."), user("Sure?")],
    "thinking": [user("2 + 2?"), assistant("4", thinking="Two and two."), user("Sure?")],
    "think_tags": [user("2 + 2?"), assistant("<think>\nTwo and two.\n</think>\n\n4"), user("Sure?"), assistant("<think>hm</think>Yes.")],
    "reasoning_and_call": [user("Weather?"), assistant("", reasoning_content="I should look.", tool_calls=[call()]), result()],
    "developer": [{"role": "developer", "content": "Be kind."}, user()],
    "two_systems": [system("One."), system("Two."), user()],
    "system_later": [user(), system("Later."), user("More.")],
    "users_in_a_row": [user("One."), user("Two.")],
    "assistant_first": [assistant("Welcome."), user()],
    "unknown_role": [{"role": "narrator", "content": "Night falls."}, user()],
    "no_content": [user(), {"role": "assistant"}, user("Still there?")],
    "tool_without_call": [user(), result()],
    "long": [message for i in range(12) for message in (user(f"Question {i}?"), assistant(f"Answer {i}."))] + [user("End.")],
}

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

# Variables that some templates look at, beside messages.
SETTINGS = {
    "default": {"add_generation_prompt": True},
    "no_prompt": {"add_generation_prompt": False},
    "tools": {"add_generation_prompt": True, "tools": TOOLS},
    "tools_no_prompt": {"add_generation_prompt": False, "tools": TOOLS},
    "plain_tool": {"add_generation_prompt": True, "tools": [PLAIN_TOOL], "functions": "[\"add\"]", "datetime": "2024-06-15"},
    "tools_none": {"add_generation_prompt": True, "tools": None},
    "tools_empty": {"add_generation_prompt": True, "tools": []},
    "thinking": {"add_generation_prompt": True, "enable_thinking": True, "thinking": True, "reasoning_effort": "high"},
    "not_thinking": {"add_generation_prompt": True, "enable_thinking": False, "thinking": False, "reasoning_effort": "low"},
    "extras": {"add_generation_prompt": True, "tools": TOOLS, "date_string": "15 Jun 2024", "tools_in_user_message": False,
               "builtin_tools": ["wolfram_alpha", "code_interpreter"], "custom_tools": None, "model_identity": "You are X.",
               "documents": [{"title": "T", "text": "Some text.", "doc_id": 1}], "citation_mode": "fast",
               "available_tools": TOOLS, "controls": {"length": "short"}, "xml_tools": TOOLS, "python_tools": TOOLS,
               "safety_mode": "STRICT", "add_vision_id": True, "continue_final_message": False, "render_thinking": True},
    "bare": {},
}


def contexts():
    """Every conversation with every setting: (name, context)."""
    for messages_name, messages in MESSAGES.items():
        for settings_name, settings in SETTINGS.items():
            yield f"{messages_name}-{settings_name}", {"messages": messages, **TOKENS, **settings}
