"""Chat templates in the styles that models come with, against Python's jinja2: shapes of prompts that
the templates of test_chat_template_models.py do not have, written for this test."""

import pytest
from conversations import contexts
from template_oracle import Oracle, Renderer, describe_difference, make_environment

PATTERNS = {
    # [INST] … [/INST], the system message inside the first user's, roles strictly alternating.
    "inst_v1": """{{ bos_token -}}
{% set system = '' -%}
{% if messages and messages[0].role == 'system' -%}
{% set system = messages[0].content ~ '\\n\\n' -%}
{% set rest = messages[1:] -%}
{% else -%}
{% set rest = messages -%}
{% endif -%}
{% for message in rest -%}
{% if (message.role == 'user') != loop.index0 is even -%}
{{ raise_exception('roles must take turns; message ' ~ loop.index ~ ' is of ' ~ message.role) -}}
{% endif -%}
{% if message.role == 'user' -%}
[INST] {{ (system if loop.first else '') + message.content }} [/INST]
{%- else -%}
 {{ message.content | trim }}{{ eos_token -}}
{% endif -%}
{% endfor -%}""",
    # [AVAILABLE_TOOLS], [TOOL_CALLS], [TOOL_RESULTS], with nine-letter identifiers.
    "inst_v3": """{%- set loop_messages = messages[1:] if messages and messages[0]['role'] == 'system' else messages -%}
{%- set users = loop_messages | selectattr('role', 'equalto', 'user') | list -%}
{%- if not tools is defined %}{% set tools = none %}{% endif -%}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message['role'] == 'user' %}
        {%- if tools is not none and users and message == users[-1] %}
            {{- '[AVAILABLE_TOOLS] [' }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, value in tool.items() if key != 'return' %}
                    {%- if value is string %}
                        {{- '"' + key + '": "' + value + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + value | tojson }}
                    {%- endif %}
                    {{- ', ' if not loop.last else '}}' }}
                {%- endfor %}
                {{- ', ' if not loop.last else ']' }}
            {%- endfor %}
            {{- '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST] ' ~ message['content'] ~ '[/INST]' }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in message.tool_calls %}
            {%- set text = call.function | tojson %}
            {{- text[:-1] }}
            {%- if call.id is not defined or call.id | length != 9 %}
                {{- raise_exception('an identifier must have nine letters') }}
            {%- endif %}
            {{- ', "id": "' + call.id + '"}' }}
            {{- ', ' if not loop.last else ']' + eos_token }}
        {%- endfor %}
    {%- elif message['role'] in ['tool', 'tool_results'] %}
        {%- set content = message.content.content if message.content is mapping and message.content.content is defined else message.content %}
        {{- '[TOOL_RESULTS] {"content": ' ~ content ~ ', "call_id": "' ~ message.tool_call_id ~ '"}[/TOOL_RESULTS]' }}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' ~ message['content'] ~ eos_token }}
    {%- else %}
        {{- raise_exception('Only user and assistant roles are supported, not ' ~ message['role']) }}
    {%- endif %}
{%- endfor %}
""",
    # [SYSTEM_PROMPT], content that is a list of chunks, and a date.
    "inst_v7": """{%- set default_system = 'Today is ' + strftime_now('%Y-%m-%d') + '.' -%}
{{ bos_token }}{% macro chunks(content) %}{% if content is string %}{{ content }}{% else %}{% for chunk in content or [] %}
{%- if chunk['type'] == 'text' %}{{ chunk['text'] }}{% elif chunk.type in ('image', 'image_url') %}[IMG]{% else %}{{ raise_exception('only text and images') }}{% endif %}
{%- endfor %}{% endif %}{% endmacro -%}
{%- if messages | length > 0 and messages[0]['role'] == 'system' %}{% set first = 1 %}[SYSTEM_PROMPT]{{ chunks(messages[0]['content']) }}[/SYSTEM_PROMPT]
{%- else %}{% set first = 0 %}[SYSTEM_PROMPT]{{ default_system }}[/SYSTEM_PROMPT]{% endif %}
{%- for message in messages[first:] -%}
    {%- if message.role == 'user' -%}[INST]{{ chunks(message.content) }}[/INST]
    {%- elif message.role == 'assistant' -%}{{ chunks(message.content) }}
        {%- for call in message.tool_calls | default([], true) %}[TOOL_CALLS]{{ call.function.name }}[ARGS]{{ call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}{% endfor %}{{ eos_token }}
    {%- elif message.role == 'tool' -%}[TOOL_RESULTS]{{ chunks(message.content) if message.content is not mapping else message.content | tojson }}[/TOOL_RESULTS]
    {%- endif -%}
{%- endfor -%}
""",
    # <<SYS>> inside the first [INST].
    "sys_in_inst": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}
{% for message in loop_messages %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}
{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    # A header for each message, the beginning-of-text token before the first.
    "headers": """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}""",
    # ChatML, with a system message of its own when there is none.
    "chatml": """{% if not messages or messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif %}
{% for message in messages %}
{{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>' ~ '\\n' -}}
{% endfor %}
{%- if add_generation_prompt is defined and add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' -}}
{% endif -%}""",
    # ChatML with tools in XML tags, results grouped into one turn, and thoughts of earlier turns removed.
    "chatml_tools": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}{% if messages and messages[0].role == 'system' %}{{- messages[0].content ~ '\\n\\n' }}{% endif %}
    {{- '<tools>' }}{% for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{% endfor %}{{ '\\n</tools><|im_end|>\\n' }}
{%- elif messages and messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' ~ messages[0].content ~ '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last_query=messages | length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = messages | length - 1 - loop.index0 %}
    {%- if ns.searching and message.role == 'user' and message.content is string and not (message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.searching = false %}{% set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set thought = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thought = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}{% if loop.index0 > ns.last_query and (loop.last or thought) %}{{- '<think>\\n' ~ thought.strip('\\n') ~ '\\n</think>\\n\\n' }}{% endif %}{{ content }}
        {%- for call in message.tool_calls or [] %}
            {%- if call.function %}{% set call = call.function %}{% endif %}
            {{- ('\\n' if not loop.first or content else '') ~ '<tool_call>\\n{"name": "' ~ call.name ~ '", "arguments": ' }}{{ call.arguments if call.arguments is string else call.arguments | tojson }}{{ '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}
        {{- '\\n<tool_response>\\n' ~ content ~ '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}""",
    # <start_of_turn>, "model" for the assistant, no system role.
    "turns": """{{ bos_token }}{% if messages and messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}""",
    # <|user|>, one line each.
    "bars": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "bars_trimmed": """{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}""",
    # USER: … ASSISTANT: …, and ### Instruction.
    "speaker": """{%- set speakers = {'user': 'USER', 'assistant': 'ASSISTANT'} -%}
{% for message in messages %}{% if message.role == 'system' %}{{ message.content }}{{ ' ' if not loop.last }}{% else %}
{{- speakers.get(message.role, message.role | upper) }}: {{ message.content }}{{ eos_token if message.role == 'assistant' else ' ' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}ASSISTANT:{% endif %}""",
    "instruction": """{% for message in messages %}
    {%- if message['role'] == 'user' %}
{{- '### Instruction:\\n' + message['content'] | string + '\\n\\n' }}
    {%- elif message['role'] == 'assistant' %}
{{- '### Response:\\n' + message['content'] | string + '\\n\\n' }}
    {%- else %}
{{- message['content'] | string | indent(2, first=true) ~ '\\n\\n' }}
    {%- endif %}
{%- endfor %}
{% if add_generation_prompt %}
{{ '### Response:\\n' -}}
{% endif %}""",
    # A function signature for each tool, by a macro that calls itself.
    "signatures": """{%- macro type_of(schema) -%}
{%- set names = {'string': 'str', 'number': 'float', 'integer': 'int', 'boolean': 'bool'} -%}
{%- if schema.type is sequence and schema.type is not string -%}
{{- 'Union[' }}{% for name in schema.type %}{{ type_of({'type': name}) }}{{ ', ' if not loop.last }}{% endfor %}{{ ']' -}}
{%- elif schema.type == 'array' -%}
{{- 'list[' + type_of(schema['items']) + ']' if 'items' in schema else 'list' -}}
{%- elif schema.type == 'object' -%}
{{- '{' }}{% for key, value in (schema.properties or {}) | dictsort %}{{ key }}: {{ type_of(value) }}{% if not loop.last %}, {% endif %}{% endfor %}{{ '}' -}}
{%- elif schema.enum -%}
{{- 'Literal[' ~ schema.enum | map('tojson') | join(', ') ~ ']' -}}
{%- else -%}
{{- names.get(schema.type, 'Any') -}}
{%- endif -%}
{%- endmacro -%}
{%- for tool in tools or [] %}{% set f = tool.function %}
def {{ f.name }}({% for name, schema in f.parameters.properties.items() %}{{ name }}: {{ type_of(schema) }}{{ ' = ' ~ schema.default | tojson if schema.default is defined }}{{ ', ' if not loop.last }}{% endfor %}):
    {{ ('\"\"\"' + f.description + '\"\"\"') | safe }}
{% endfor %}
{%- for message in messages %}{{ loop.index }}/{{ loop.length }} {{ message.role | capitalize }}: {{ message.content | default('-', true) }}{% for call in message.tool_calls or [] %}
 -> {{ call.function.name }}({% if call.function.arguments is mapping %}{% for k, v in call.function.arguments | items %}{{ k }}={{ v }}{{ ', ' if not loop.last }}{% endfor %}{% endif %}){% endfor %}

{% endfor %}""",
    # Filters on the whole list of messages, counting, grouping, block assignment, loop controls.
    "gatherer": """{%- set system = messages | selectattr('role', 'in', ['system', 'developer']) | map(attribute='content') | select('string') | join('\\n') | trim -%}
{%- set others = messages | rejectattr('role', 'in', ['system', 'developer']) | list -%}
{%- set count = others | selectattr('role', '==', 'user') | list | length -%}
{%- set header %}[{{ count }} of {{ messages | length }}] {{ system | default('none', true) | title }}{% endset -%}
{{ header | upper }}
{% for message in others %}
  {% if message.role == 'tool' %}{% continue %}{% endif %}
  {% if loop.index > 20 %}...{% break %}{% endif %}
  {{ '%02d' | format(loop.index) }} {{ loop.cycle('odd', 'even') }} {{ message.role }}{{ ' (last)' if loop.last }}{{ ' after ' ~ loop.previtem.role if loop.previtem is defined }}:
  {{- ' ' ~ (message.content if message.content is string else message.content | tojson(indent=1) if message.content is defined and message.content else '') | replace('\\n', ' ') | trim }}
{% else %}
nobody spoke
{% endfor %}
{% with total = namespace(n=0) %}{% for message in others if message.content is string %}{% set total.n = total.n + message.content | length %}{% endfor %}{{ total.n }} characters{% endwith %}
""",
}


@pytest.mark.parametrize("name", PATTERNS)
def test_the_pattern_renders_as_in_jinja2(build_dir, name):
    template = PATTERNS[name]
    oracle = Oracle(make_environment(), template)
    questions = list(contexts())
    came = Renderer(build_dir).ask([(template, context) for _, context in questions])
    wrong, texts = [], 0
    for (label, context), answer in zip(questions, came, strict=True):
        expected = oracle.ask(context)
        texts += expected.kind == "text"
        if expected != answer:
            wrong.append(f"{label}: {describe_difference('', context, expected, answer)}")
    assert not wrong, f"{len(wrong)} of {len(questions)} differ:\n" + "\n\n".join(wrong[:3])
    assert texts > len(questions) // 4, f"only {texts} of {len(questions)} render: the pattern is broken"
