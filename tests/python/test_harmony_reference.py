"""gpt-oss's answers, as OpenAI's own package writes them: openai-harmony is the oracle of the format.

Its vocabulary is made from bpe-openai's, byte for byte the published file; the package checks its hash.
"""

import base64
import json

import bpe_openai
import openai
import openai_harmony as harmony
import pytest
from conversations import SEARCH, WEATHER
from server_harness import FakeServer
from test_server_tools import ask
from tool_forms import template_of

pytestmark = [pytest.mark.timeout(900), pytest.mark.release_only]  # the first run downloads

BASE_TOKENS = 199998
ARGUMENTS = {"city": "Zürich \"Nord\"", "days": 3}


@pytest.fixture(scope="module")
def encoding(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    o200k = bpe_openai.get_encoding("o200k_base")
    lines = (base64.b64encode(o200k.decode_single_token_bytes(number)) + b" %d\n" % number for number in range(BASE_TOKENS))
    (folder / "o200k_base.tiktoken").write_bytes(b"".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_ENCODINGS_BASE", str(folder))
        return harmony.load_harmony_encoding(harmony.HarmonyEncodingName.HARMONY_GPT_OSS)


@pytest.fixture(scope="module")
def client(build_dir, source_root):
    server = FakeServer(build_dir, f"template={template_of(source_root, 'harmony')}", "context=20000")
    yield openai.OpenAI(base_url=server.base_url + "/v1", api_key="x", max_retries=0)
    server.stop()


def message(channel, text, recipient=None, content_type=None):
    made = harmony.Message.from_role_and_content(harmony.Role.ASSISTANT, text).with_channel(channel)
    made = made.with_recipient(recipient) if recipient else made
    return made.with_content_type(content_type) if content_type else made


ANALYSIS, FINAL = message("analysis", "The user asks.\n\nI look."), message("final", "It is **4**.\n- so")
CALL = message("commentary", json.dumps(ARGUMENTS, ensure_ascii=False), "functions.get_weather", "<|constrain|>json")
PREAMBLE = message("commentary", "I look it up.")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("messages", "content", "thought", "calls"), [
    ([FINAL], "It is **4**.\n- so", None, 0),
    ([ANALYSIS, FINAL], "It is **4**.\n- so", "The user asks.\n\nI look.", 0),
    ([ANALYSIS, CALL], None, "The user asks.\n\nI look.", 1),
    ([CALL], None, None, 1),
    ([ANALYSIS, PREAMBLE, CALL], "I look it up.", "The user asks.\n\nI look.", 1),
    ([ANALYSIS, ANALYSIS, FINAL], "It is **4**.\n- so", "The user asks.\n\nI look.\n\nThe user asks.\n\nI look.", 0),
])
def test_what_the_reference_writes_is_read(encoding, client, messages, content, thought, calls, stream):
    text = "".join(encoding.decode(encoding.render(each)) for each in messages)
    start = "<|start|>assistant"
    assert text.startswith(start) and text.endswith(("<|end|>", "<|call|>")), text
    answer = text[len(start):text.rindex("<|")]  # the prompt has the start; the token that ends the answer is no text
    came = ask(client, answer, stream, tools=[WEATHER, SEARCH])
    assert came[:2] == (content, thought)
    assert [(name, json.loads(arguments)) for _, name, arguments in came[2]] == [("get_weather", ARGUMENTS)] * calls
    assert came[3] == ("tool_calls" if calls else "stop")


def test_the_reference_reads_the_form_that_calls_are_held_to(encoding):
    """What the grammar writes of a required call, parsed by the package."""
    text = ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
            f"<|constrain|>json<|message|>{json.dumps(ARGUMENTS)}")
    tokens = [*encoding.encode(text, allowed_special="all"), *encoding.encode("<|call|>", allowed_special="all")]
    thought, call = encoding.parse_messages_from_completion_tokens(tokens, harmony.Role.ASSISTANT)
    assert (thought.channel, thought.content[0].text) == ("analysis", "Hm.")
    assert (call.channel, call.recipient) == ("commentary", "functions.get_weather")
    assert json.loads(call.content[0].text) == ARGUMENTS
