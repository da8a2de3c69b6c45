"""The template language, feature by feature, against Python's jinja2.

Each row is a template; all are rendered with the same variables, and both sides must give the same
text, or both must fail. See template_oracle.py for how jinja2 is set up.
"""

import pytest
from template_oracle import Oracle, Renderer, describe_difference, make_environment, make_extended_environment

VARIABLES = {
    "n": 7, "zero": 0, "neg": -7, "big": 9007199254740993, "f": 2.5, "tiny": 1e-7, "huge": 1e16, "whole": 3.0,
    "t": True, "no": False, "nothing": None, "s": "Hello, World", "empty": "", "padded": "  \t pad \n ",
    "u": "Größe straße ŒUVRE ΑΣ 你好 😀 e\u0301 ǆ ﬁ", "quotes": "it's \"quoted\" \\ \n\t\r\x07\x7f\u200b\u2028é",
    "html": "<a href='x'>&\"</a>", "lines": "one\n two\r\nthree\n\nfive\n",
    "list": [3, 1, 2], "words": ["b", "a", "C", "a"], "mixed": [1, "x", None, 2.5, True, [1], {"k": 1}], "none": [],
    "nested": [[1, 2], [3, 4]], "pairs": [["a", 1], ["b", 2]],
    "d": {"b": 1, "a": "x", "items": "field", "C": [1, 2], "nested": {"k": {"deep": "v"}}}, "e": {},
    "rows": [{"name": "Bob", "age": 30, "tag": "x"}, {"name": "alice", "age": 25}, {"name": "Carol", "age": 30, "tag": None}],
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}, {"role": "user", "content": "bye"}],
}

WHITE_SPACE = [
    "a {{ n }} b", "a {{- n -}} b", "a\n{%- if t %}\nb\n{%- endif %}\nc", "a\n  {% if t %}\n  b\n  {% endif %}\nc\n",
    "  {% if t %}x{% endif %}  y", "x  {% if t %}x{% endif %}\n", "{% if t +%}\nx{% endif %}", "  {%+ if t %}x{% endif %}",
    "{# comment #}\nx", "  {# comment #}  \nx", "{#- c -#}\n\n x", "a {#- {{ n }} -#} b", "{{ n }}\n", "{{ n }}\n\n",
    "\r\na\r\n{% if t %}\r\nb\r{% endif %}\r\n", "{%- for x in list -%}\n {{ x }} \n{%- endfor -%}", "\n\n{%- set x = 1 %}\n\n{{ x }}",
    "{% raw %}{{ not }} {% this %}{% endraw %}", "a  {%- raw -%}  {{ x }}  {%- endraw -%}  b", "  {% raw %}\n x {% endraw %}\n y",
    "  {% raw %}\n x\n  {% endraw %}\n y", "{% raw -%}\n x {%+ endraw +%}\n", "\u00a0{%- if t %}x{% endif -%}\u2003y", "a\u2028  {% if t %}x{% endif %}",
    "{{'{{'}}{{ '%}' }}{{ \"}}\" }}", "{{ {'a': {'b': 1}}['a'] }}{{ {} }}", "{{n}}{{-n}}{{+n}}", "{# {% if %} #}{#}#}{#-#}x{#--#}y{#+#}z",
    "{%-set x=1-%} {{x}}", "{ {{ n }} }", "{% set x %}\n a \n{% endset %}[{{ x }}]", "  {{ n }}\n  {% set y = 1 %}  \n  z",
]

LITERALS = [
    "{{ 1 }} {{ 1.5 }} {{ 1e3 }} {{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1.0e-7 }} {{ 123456789012345678 }} {{ 00 }}",
    "{{ 'a' \"b\" 'c' }} {{ 'a\\nb\\tc\\\\d\\'e\\x41\\u00e9\\U0001F600\\101\\q\\\n' }}", "{{ '\\r' }}{{ 'x\\0y' }}{{ '\\777' }}",
    "{{ true }} {{ True }} {{ false }} {{ False }} {{ none }} {{ None }}", "{{ [1, 'a', none, true, 1.0, [], {}, ()] }}",
    "{{ [1,] }} {{ (1,) }} {{ (1, 2) }} {{ () }} {{ 1, 2 }} {{ {'a': 1,} }} {{ {1: 2, none: 3, 1.5: 4, true: 5} }} {{ {(1, 2): 3} }}",
    "{{ 0.1 }} {{ 0.1 + 0.2 }} {{ 1e15 }} {{ 1e16 }} {{ 1e22 }} {{ 1.5e300 }} {{ 0.0001 }} {{ 0.00001 }} {{ 100.0 }} {{ -0.0 }} {{ 5e-324 }}",
    "{{ tiny }} {{ huge }} {{ whole }} {{ big }} {{ f }} {{ 123456789.123456789 }} {{ 2 ** 0.5 }} {{ 1 / 3 }} {{ 1e16 * 10 }}",
    "{{ quotes }}|{{ [quotes] }}|{{ ['a', \"it's\", '\"', '\\'\"'] }}", "{{ [u] }} {{ ['\\xad\\u0378\\ue000\\U000e0001'] }}",
    "{{ mixed }} {{ d }} {{ e }} {{ none }} {{ rows }}", "{{ missing }}|{{ [missing] }}|{{ missing.x }}", "{{ '{{ n }}' }}{{ \"{%\" }}",
    "{{ 9223372036854775807 }}", "{{ -9223372036854775807 }}", "{{ 'unclosed }}", "{{ 1__0 }}", "{{ 007 }}", "{{ 1. }}",
]

OPERATORS = [
    "{{ 7 + 2 }} {{ 7 - 2 }} {{ 7 * 2 }} {{ 7 / 2 }} {{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 10 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 // -2 }}",
    "{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 1 + 1.5 }} {{ true + 1 }} {{ true * 3 }} {{ 2 ** -1 }} {{ 4 / 2 }} {{ 6.0 // 2 }} {{ -2 ** 2 }}",
    "{{ 2 ** 3 ** 2 }} {{ 10 - 2 - 3 }} {{ 2 * 3 + 4 * 5 }} {{ (2 + 3) * 4 }} {{ -n }} {{ +n }} {{ - -n }} {{ -f }} {{ not n }} {{ not not n }}",
    "{{ 'a' + 'b' }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ 'x' * -1 }}| {{ [1] + [2] }} {{ [1, 2] * 2 }} {{ (1,) + (2,) }} {{ 'a' ~ 1 ~ none ~ 1.5 ~ [1] ~ missing }}",
    "{{ 'a' + 1 }}", "{{ 1 + 'a' }}", "{{ [1] + (2,) }}", "{{ none + 1 }}", "{{ missing + 1 }}", "{{ 'a' + missing }}", "{{ 1 / 0 }}", "{{ 1 % 0 }}", "{{ 1.0 // 0 }}", "{{ 0 ** -1 }}",
    "{{ 'a' ~ 'b' + 'c' }} {{ 1 ~ 2 + 3 }}", "{{ 1 + 2 ~ 3 }}", "{{ 'a' 'b' ~ 'c' }}", "{{ {} + {} }}", "{{ 'a' - 'b' }}", "{{ -'a' }}", "{{ -none }}",
    "{{ 1 == 1 }} {{ 1 == 1.0 }} {{ 1 == true }} {{ 'a' == 'a' }} {{ 'a' == 1 }} {{ none == none }} {{ none == false }} {{ [1, 2] == [1, 2] }} {{ [1] == (1,) }}",
    "{{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ {'a': 1} == {'a': 2} }} {{ 1 != 2 }} {{ 'a' != 'a' }} {{ missing == missing2 }} {{ missing == none }} {{ missing != 1 }}",
    "{{ 1 < 2 }} {{ 2 <= 2 }} {{ 3 > 4 }} {{ 4 >= 4 }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 < 2 > 1 == true }} {{ 'a' < 'b' }} {{ 'a' < 'B' }} {{ 'é' > 'z' }} {{ [1, 2] < [1, 3] }} {{ (1,) < (1, 2) }}",
    "{{ 1 < 'a' }}", "{{ none < 1 }}", "{{ missing < 1 }}", "{{ [1] < ['a'] }}", "{{ {} < {} }}", "{{ 1 < 1.5 }} {{ true < 2 }} {{ big < 9007199254740992.0 }} {{ big > 9007199254740992.0 }} {{ big == 9007199254740992.0 }}",
    "{{ 1 in list }} {{ 9 in list }} {{ 'a' in d }} {{ 'z' in d }} {{ 'World' in s }} {{ '' in s }} {{ 'x' not in s }} {{ 1 not in [1] }} {{ 'a' in ('a', 'b') }} {{ [1, 2] in nested }}",
    "{{ 1 in 'abc' }}", "{{ missing in 'abc' }}", "{{ 'a' in missing }} {{ missing in [1] }} {{ missing in {} }}", "{{ 'a' in none }}", "{{ 'a' in 5 }}", "{{ [] in {} }}", "{{ 1.0 in [1] }} {{ none in mixed }} {{ [1] in mixed }}",
    "{{ t and no }} {{ n and s }} {{ 0 and 1 }} {{ '' or 'x' }} {{ none or 0 }} {{ n or 1 / 0 }} {{ 0 and 1 / 0 }} {{ not t or t }} {{ t and t or no }} {{ missing or 'default' }} {{ missing and 1 }}|",
    "{{ 'y' if t else 'n' }} {{ 'y' if no else 'n' }} {{ 'y' if t }}{{ 'y' if no }}| {{ 1 if no else 2 if no else 3 }} {{ (1 if t else 2) + 1 }} {{ 'a' if n > 5 and s else 'b' }}", "{{ ('y' if no).x }}", "{{ ('y' if no) + 'x' }}",
    "{{ 1 if true }}{{ [1 if t else 2, 3] }} {{ {'a': 1 if no else 2} }}", "{{ not 1 == 2 }} {{ not 1 in [2] }}", "{{ 1 is not none and 2 is defined }}", "{{ 5 is odd and 4 is even }}", "{{ n is divisibleby 7 }} {{ n is divisibleby(3) }}",
    "{{ 9223372036854775807 == 9223372036854775807.0 }}", "{{ 1 is in [1, 2] }} {{ 'b' is in 'abc' }}", "{{ 3 is eq 3 }} {{ 3 is gt 2 }} {{ 3 is lessthan 2 }} {{ 'a' is equalto 'a' }}", "{{ n is not divisibleby 2 }}",
    "{{ '%s and %s' % ('a', 1) }} {{ '%d%%' % 5 }} {{ '%s' % s }} {{ '%5.2f|%-5d|%05d|%+d|%x|%X|%o' % (3.14159, 42, 42, 42, 255, 255, 8) }} {{ '%r' % 'q' }} {{ '%(a)s' % {'a': 1} }} {{ '%s' % [1, 2] }} {{ '%s' % none }}",
    "{{ '%s %s' % 'a' }}", "{{ '%d' % 'a' }}", "{{ '%s' % ('a', 'b') }}", "{{ 'x' % 1 }}", "{{ '%q' % 1 }}", "{{ '%' % 1 }}", "{{ '%e %g %G' % (12345.678, 0.00001234, 1e20) }} {{ '%i' % 3.9 }} {{ '%10s|%-10s|%.2s' % ('a', 'b', 'cde') }}",
]

ACCESS = [
    "{{ d.a }} {{ d['a'] }} {{ d.nested.k.deep }} {{ d['nested']['k']['deep'] }} {{ d.missing }}| {{ d['missing'] }}|", "{{ d.missing.x }}", "{{ d['missing']['x'] }}", "{{ missing.x }}", "{{ none.x }}|{{ n.x }}|{{ s.x }}|{{ list.x }}|",
    "{{ list[0] }} {{ list[-1] }} {{ list[9] }}| {{ list[-9] }}| {{ list.0 }} {{ nested[1][0] }} {{ nested.1.0 }} {{ (1, 2)[1] }} {{ s[0] }} {{ s[-1] }} {{ u[3] }} {{ s[99] }}|", "{{ list['a'] }}|{{ d[0] }}|{{ none[0] }}|{{ n[0] }}|{{ list[1.0] }}|{{ list[none] }}|{{ d[[]] }}|{{ list[true] }}",
    "{{ list[1:] }} {{ list[:1] }} {{ list[:-1] }} {{ list[::-1] }} {{ list[::2] }} {{ list[1:2] }} {{ list[5:] }} {{ list[-2:] }} {{ list[2:0:-1] }} {{ list[:] }} {{ (1, 2, 3)[1:] }} {{ range(5)[1:3] | list }}",
    "{{ s[1:4] }} {{ s[:-1] }} {{ s[::-1] }} {{ s[::2] }} {{ s[-3:] }} {{ u[2:6] }} {{ u[::-1] }} {{ s[5:2] }}| {{ s[2:5:-1] }}| {{ s[10:0:-3] }} {{ s[n:] }} {{ s[none:3] }} {{ s[-100:100] }} {{ empty[0:1] }}|",
    "{{ list['a':] }}", "{{ list[1.5:] }}", "{{ list[::0] }}", "{{ d[1:] }}", "{{ nothing[1:] }}", "{{ missing[1:] }}", "{{ messages[1:][0].content }} {{ messages[-1]['role'] }} {{ messages[::2] | length }}", "{{ [1, 2, 3, 4, 5][4:1:-2] }} {{ 'abcdef'[-2:-5:-1] }} {{ 'abcdef'[100::-2] }}",
    "{{ d['items'] }} {{ d.keys() | list }} {{ d.values() | list }} {{ d.items() | list }} {{ e.items() | list }} {{ d.get('a') }} {{ d.get('z') }} {{ d.get('z', 5) }} {{ d.get(none) }}", "{{ d.items is string }} {{ e['items'] is defined }} {{ e['nothing'] is defined }} {{ d.keys is callable }} {{ s['upper'] is callable }} {{ s['upper']() }}",
    "{{ d.keys() }} {{ d.values() }} {{ d.items() }} {{ range(3) }} {{ range(1, 9, 3) }}", "{{ d.get() }}", "{{ d.get([]) }}", "{{ d.update({'x': 1}) }}", "{{ d.pop('a') }}", "{{ d.clear() }}", "{{ s() }}", "{{ missing() }}", "{{ d.a() }}", "{{ none() }}", "{{ d.__class__ }}|{{ s.__len__ }}|", "{{ d['nested'].k['deep'][0] }}",
    "{{ list.sort() }}", "{{ list.extend([1]) }}", "{{ list.index(1) }} {{ list.count(3) }} {{ words.index('C') }} {{ (1, 2, 1).count(1) }} {{ list.copy() }}", "{{ list.index(99) }}", "{{ 'a.b'.c }}|{{ 1.5.x }}|",
]

STRING_METHODS = [
    "[{{ padded.strip() }}] [{{ padded.lstrip() }}] [{{ padded.rstrip() }}] {{ 'xxaxx'.strip('x') }} {{ 'abcba'.strip('ab') }} {{ 'éaé'.strip('é') }} {{ '\\u2003x\\u00a0'.strip() }} {{ 'x'.strip(none) }} {{ 'xa'.lstrip('x') }} {{ 'ax'.rstrip('x') }}",
    "{{ 'a,b,,c'.split(',') }} {{ 'a b  c '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ ' a b c '.split(none, 1) }} {{ 'a--b--c'.split('--') }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit() }} {{ ' a b c '.rsplit(none, 1) }} {{ 'abc'.split('x') }} {{ 'a,b'.split(sep=',', maxsplit=0) }} {{ ' a b'.split(none, 0) }}", "{{ 'a'.split('') }}", "{{ 'a'.split(1) }}",
    "{{ 'a</think>b</think>c'.split('</think>')[-1] }} {{ 'x'.split('</think>')[0] }} {{ ('a', 'b') | join }}", "{{ lines.splitlines() }} {{ lines.splitlines(true) }} {{ 'a\\x0bb\\x0cc\\x1cd\\x85e\\u2028f\\r'.splitlines() }} {{ ''.splitlines() }}",
    "{{ s.startswith('Hell') }} {{ s.startswith('x') }} {{ s.endswith('ld') }} {{ s.startswith(('x', 'H')) }} {{ s.endswith(()) }} {{ s.startswith('') }}", "{{ s.startswith(1) }}", "{{ s.startswith(['H']) }}", "{{ s.startswith() }}",
    "{{ u.upper() }} {{ u.lower() }} {{ u.title() }} {{ u.capitalize() }} {{ \"it's o'clock now3d\".title() }} {{ 'ΑΣ ΣΑΣ Σ ΑΣ.'.lower() }} {{ 'İI'.lower() }} {{ 'ŉ ǰ ΐ ﬀ'.upper() }} {{ 'ßx'.capitalize() }} {{ 'HELLO world'.capitalize() }}",
    "{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ s.replace('', '-') }} {{ s.replace('', '-', 2) }} {{ s.replace('x', 'y') }} {{ s.replace('Hello', '') }} {{ 'aaa'.replace('aa', 'b') }} {{ ''.replace('', 'x') }} {{ 'é你'.replace('', '.') }} {{ 'abc'.replace('b', 'BB', 0) }}", "{{ s.replace('a') }}", "{{ s.replace(1, 'a') }}", "{{ s.replace('l', none) }}",
    "{{ s.find('o') }} {{ s.find('zz') }} {{ s.rfind('o') }} {{ s.find('o', 5) }} {{ s.find('o', 0, 3) }} {{ u.find('你') }} {{ s.index('W') }} {{ s.rindex('l') }} {{ s.count('l') }} {{ s.count('') }} {{ s.count('l', 4) }} {{ 'aaaa'.count('aa') }} {{ s.find('') }} {{ s.find('', 99) }} {{ s.find('l', -3) }} {{ s.rfind('') }}", "{{ s.index('zz') }}", "{{ s.find(1) }}",
    "{{ ', '.join(['a', 'b']) }} {{ ''.join(words) }} {{ '-'.join('abc') }} {{ ','.join([]) }}| {{ ','.join(d) }}", "{{ ','.join([1, 2]) }}", "{{ ','.join(none) }}", "{{ ','.join(missing) }}|",
    "{{ '{} and {}'.format('a', 1) }} {{ '{0}{1}{0}'.format('x', 'y') }} {{ '{a}-{b}'.format(a=1, b=none) }} {{ '{{}}'.format() }} {{ '{:>5}|{:<5}|{:^5}|{:*^7}|'.format('a', 'b', 'c', 'd') }} {{ '{:05d} {:,} {:.2f} {:x} {:b} {:o} {:e} {:%}'.format(42, 1234567, 3.14159, 255, 5, 8, 12345.678, 0.25) }} {{ '{!r} {!s}'.format('q', 'q') }} {{ '{0[0]} {0[1]}'.format([1, 2]) }} {{ '{d[a]}'.format(d=d) }} {{ '{:+d} {: d} {:_}'.format(5, 5, 1234567) }} {{ '{:5}|{:5}|'.format(1, 'a') }} {{ '{}'.format(missing) }}",
    "{{ '{}'.format() }}", "{{ '{'.format() }}", "{{ '}'.format() }}", "{{ '{a}'.format(1) }}", "{{ '{:d}'.format('a') }}", "{{ '{:zz}'.format(1) }}", "{{ '{} {} {}'.format(true, [1], {'a': 1}) }} {{ '{:.3}'.format('abcdef') }} {{ '{}{}'.format(1.0, 1e20) }} {{ '{:.1f}'.format(2) }} {{ '{:#x} {:#b} {:08.3f} {:<+7}|'.format(255, 5, 3.14159, 5) }}",
    "{{ '123'.isdigit() }} {{ '12a'.isdigit() }} {{ ''.isdigit() }} {{ 'abc'.isalpha() }} {{ 'ab1'.isalnum() }} {{ ' \\t'.isspace() }} {{ 'abc'.islower() }} {{ 'ABC'.isupper() }} {{ 'é'.isalpha() }} {{ '你'.isalpha() }} {{ '1'.isnumeric() }} {{ '1'.isdecimal() }}",
    "[{{ 'a'.center(6) }}] [{{ 'ab'.center(5, '*') }}] [{{ 'a'.ljust(3) }}] [{{ 'a'.rjust(3, '0') }}] {{ 'abc'.partition('b') }} {{ 'abc'.partition('x') }} {{ 'abcb'.rpartition('b') }} {{ 'abc'.rpartition('x') }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }} {{ 'x'.removesuffix('') }}", "{{ 'a'.center(3, 'xy') }}", "{{ s.nosuch() }}",
]

FILTERS = [
    "[{{ padded | trim }}] {{ 'xax' | trim('x') }} {{ n | trim }} {{ missing | trim }}|", "{{ s | length }} {{ list | length }} {{ d | count }} {{ u | length }} {{ missing | length }} {{ range(4) | length }} {{ d.items() | length }} {{ (1, 2) | count }}", "{{ n | length }}", "{{ none | length }}", "{{ nothing | length }}",
    "{{ list | join }} {{ list | join(', ') }} {{ mixed | join('|') }} {{ s | join('.') }} {{ rows | join(', ', attribute='name') }} {{ d | join }} {{ missing | join(',') }}| {{ list | join(1) }} {{ [none, missing] | join('-') }}", "{{ nothing | join }}", "{{ n | join }}",
    "{{ s | upper }} {{ s | lower }} {{ 'hello WORLD' | capitalize }} {{ \"hello world-foo (bar) it's {x} [y] <z>\" | title }} {{ u | title }} {{ n | upper }} {{ none | lower }} {{ true | upper }} {{ missing | upper }}| {{ nothing | upper }}",
    "{{ s | replace('o', '0') }} {{ s | replace('o', '0', 1) }} {{ 112 | replace(1, 2) }} {{ missing | replace('a', 'b') }}| {{ s | replace(old='l', new='') }} {{ none | replace('o', 'x') }}", "{{ s | replace('a') }}",
    "{{ missing | default }}| {{ missing | default('x') }} {{ none | default('x') }} {{ nothing | default('x', true) }} {{ '' | d('x', true) }} {{ 0 | default(5, boolean=true) }} {{ n | default(1) }} {{ d.z | default('y') }} {{ missing | default(default_value=3) }} {{ false | default(1) }}", "{{ missing.x | default('x') }}",
    "{{ 'abc' | list }} {{ d | list }} {{ (1, 2) | list }} {{ range(3) | list }} {{ missing | list }} {{ d.items() | list }}", "{{ none2 | list }}", "{{ nothing | list }}", "{{ n | list }}", "{{ list | first }} {{ list | last }} {{ 'abc' | first }} {{ u | last }} {{ d | first }} {{ d | last }} {{ none | first }}| {{ [] | last }}| {{ missing | first }}| {{ missing | last }}| {{ range(5) | last }} {{ d.keys() | last }} {{ d.values() | first }}", "{{ n | first }}", "{{ nothing | last }}", "{{ ([] | first).x }}", "{{ list | map('string') | last }}",
    "{{ d | items | list }} {{ missing | items | list }}", "{{ list | items | list }}", "{{ nothing | items | list }}", "{% for k, v in d | items %}{{ k }}={{ v }};{% endfor %}", "{{ d | dictsort }} {{ d | dictsort(true) }} {{ {'b': 1, 'a': 2} | dictsort(by='value') }} {{ {'b': 1, 'a': 2} | dictsort(reverse=true) }} {{ {'B': 1, 'a': 2} | dictsort(case_sensitive=true, reverse=true) }}", "{{ d | dictsort(false, 'value') }}", "{{ d | dictsort(by='x') }}", "{{ {1: 2, 'a': 3} | dictsort }}", "{{ list | dictsort }}", "{{ missing | dictsort }}",
    "{{ rows | selectattr('tag') | list | length }} {{ rows | selectattr('tag', 'defined') | list | length }} {{ rows | selectattr('age', 'equalto', 30) | map(attribute='name') | list }} {{ rows | rejectattr('age', 'gt', 28) | list }} {{ rows | selectattr('name', 'in', ['Bob']) | list | length }} {{ messages | selectattr('role', '==', 'user') | list | length }} {{ rows | rejectattr('tag') | map(attribute='name') | join(',') }} {{ missing | selectattr('x') | list }}", "{{ rows | selectattr | list }}", "{{ rows | selectattr('age', 'nosuch') | list }}", "{{ rows | selectattr('a.b') | list }}",
    "{{ [1, 2, 3, 4] | select('odd') | list }} {{ [1, 2, 3, 4] | reject('odd') | list }} {{ [0, 1, '', 'a', none] | select | list }} {{ [0, 1, '', 'a', none] | reject | list }} {{ words | select('equalto', 'a') | list }} {{ [1, 5] | select('gt', 3) | list }} {{ ['a', 1] | select('string') | list }}", "{{ [1] | select('nosuch') | list }}", "{{ n | select('odd') | list }}", "{{ zero | select('odd') | list }}",
    "{{ words | map('upper') | list }} {{ rows | map(attribute='name') | list }} {{ rows | map(attribute='tag', default='-') | list }} {{ rows | map(attribute='nested.x', default=1) | list }} {{ pairs | map(attribute=0) | list }} {{ pairs | map(attribute='1') | list }} {{ words | map('replace', 'a', 'x') | join }} {{ ['1', 'x'] | map('int', default=9) | list }} {{ nested | map('join', '-') | list }} {{ nested | map('map', 'string') | map('list') | list }}", "{{ list | map | list }}", "{{ list | map('nosuch') | list }}", "{{ list | map(attribute='x', foo=1) | list }}", "{{ rows | map(attribute='a.b') | list }}",
    "{{ d | tojson }} {{ mixed | tojson }} {{ quotes | tojson }} {{ u | tojson }} {{ html | tojson }} {{ none | tojson }} {{ true | tojson }} {{ 1.0 | tojson }} {{ 1e22 | tojson }} {{ (1, 2) | tojson }} {{ {} | tojson }} {{ [] | tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}",
    "{{ d | tojson(indent=2) }}\n{{ d | tojson(indent=0) }}\n{{ [[], {}, [1]] | tojson(indent='--') }}\n{{ d | tojson(indent=4, sort_keys=true) }}\n{{ u | tojson(ensure_ascii=true) }} {{ u | tojson(ensure_ascii=false) }} {{ quotes | tojson(true) }}\n{{ d | tojson(separators=(',', ':')) }} {{ d | tojson(separators=[';', '=']) }} {{ d | tojson(indent=none) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ [1] | tojson(indent=1, separators=(', ', ': ')) }} {{ [1, 2] | tojson(indent=-1) }}",
    "{{ missing | tojson }}", "{{ [missing] | tojson }}", "{{ d.items() | tojson }}", "{{ range(2) | tojson }}", "{{ {(1, 2): 3} | tojson }}", "{{ namespace(a=1) | tojson }}", "{{ d.get | tojson }}", "{{ {1: 2, 'a': 3} | tojson(sort_keys=true) }}", "{{ d | tojson(foo=1) }}", "{{ d | tojson | length }} {{ (d | tojson)[0] }} {{ d | tojson + 'x' }} {{ d | tojson ~ 'x' }}",
    "{{ n | string }} {{ none | string }} {{ 1.0 | string }} {{ list | string }} {{ d | string }} {{ true | string }} {{ missing | string }}| {{ s | string }} {{ [n | string] }}", "{{ '42' | int }} {{ '4.9' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ 3.9 | int }} {{ -3.9 | int }} {{ true | int }} {{ none | int }} {{ ' 12 ' | int }} {{ '1_0' | int }} {{ 'ff' | int(base=16) }} {{ '0x1f' | int(0, 16) }} {{ '0b11' | int(0, 2) }} {{ '1e3' | int }} {{ [] | int }} {{ '' | int }} {{ '+5' | int }} {{ '--5' | int }} {{ 'inf' | int }} {{ '_1' | int }} {{ '1__0' | int(5) }}", "{{ missing | int }}",
    "{{ '1.5' | float }} {{ 'x' | float }} {{ 'x' | float(2.5) }} {{ 3 | float }} {{ true | float }} {{ ' 1e3 ' | float }} {{ 'nan' | float }} {{ 'inf' | float }} {{ '-infinity' | float }} {{ none | float }} {{ '1_0.5' | float }} {{ '0x10' | float }} {{ '.5' | float }} {{ '5.' | float }}", "{{ missing | float }}", "{{ -5 | abs }} {{ (-5.5) | abs }} {{ true | abs }} {{ neg | abs }}", "{{ 'a' | abs }}", "{{ missing | abs }}",
    "{{ 42.55 | round }} {{ 42.55 | round(1) }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 42 | round }} {{ 42.1 | round(0, 'ceil') }} {{ 42.9 | round(method='floor') }} {{ 42.55 | round(1, 'floor') }} {{ -2.5 | round }} {{ 0.5 | round }} {{ 1e20 | round(2) }} {{ 42 | round(1, 'ceil') }} {{ true | round }}", "{{ 1.5 | round(1, 'x') }}", "{{ 'a' | round }}",
    "{{ lines | indent }}|{{ lines | indent(2, true) }}|{{ lines | indent(2, first=false, blank=true) }}|{{ lines | indent('> ') }}|{{ '' | indent(3, true) }}|{{ 'a\\nb' | indent(width=1) }}|{{ 'x' | indent(2, true, true) }}|{{ '\\n\\n' | indent(2, true, true) }}|{{ 'a\\n' | indent(blank=true) }}|", "{{ n | indent }}", "{{ none | indent }}", "{{ missing | indent }}",
    "{{ html | e }} {{ html | escape }} {{ html | safe }} {{ (html | safe) + html }} {{ html + (html | safe) }} {{ (html | e) + '<' }} {{ html | safe ~ '<' }} {{ (html | safe) | upper }} {{ (html | safe) * 2 }} {{ (html | safe)[0] + '<' }} {{ n | e }} {{ none | e }} {{ (html | safe) | e }} {{ [html | safe] }} {{ (html | safe) | tojson }} {{ ('<%s>' | safe) % '<' }} {{ ('<{}>' | safe).format('<') }} {{ ('<' | safe).join(['>', '&']) }} {{ ('a<b' | safe).replace('<', '>') }} {{ ('a b' | safe).split()[0] + '<' }} {{ html | safe | string + '<' }} {{ (html | safe).strip() + '<' }} {{ html | safe | trim + '<' }} {{ (html | safe) | replace('a', 'b') + '<' }} {{ html | safe is escaped }} {{ html is escaped }} {{ (html | safe) == html }}",
    "{{ words | unique | list }} {{ words | unique(true) | list }} {{ rows | unique(attribute='age') | map(attribute='name') | list }} {{ [1, 1.0, true, '1'] | unique | list }} {{ ['a', 'A'] | unique | list }}", "{{ [[1], [1]] | unique | list }}", "{{ list | sort }} {{ list | sort(reverse=true) }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ rows | sort(attribute='name') | map(attribute='name') | list }} {{ rows | sort(attribute='age,name') | map(attribute='name') | list }} {{ rows | sort(true, attribute='age') | map(attribute='name') | list }} {{ 'hello' | sort }} {{ d | sort }} {{ [2.5, 1, true] | sort }} {{ nested | sort(attribute=1, reverse=true) }} {{ missing | sort }} {{ rows | sort(attribute='zz') | length }}", "{{ [1, 'a'] | sort }}", "{{ mixed | sort }}", "{{ rows | sort(attribute='tag') | list }}", "{{ n | sort }}",
    "{{ list | reverse | list }} {{ s | reverse }} {{ u | reverse }} {{ range(3) | reverse | list }} {{ d | reverse | list }} {{ (1, 2) | reverse | list }} {{ list | map('string') | reverse | list }}", "{{ n | reverse }}", "{{ list | sum }} {{ [] | sum }} {{ [1.5, 2] | sum }} {{ rows | sum(attribute='age') }} {{ list | sum(start=10) }} {{ nested | sum(start=[]) }} {{ [true, true] | sum }}", "{{ words | sum }}", "{{ words | sum(start='') }}", "{{ list | min }} {{ list | max }} {{ words | min }} {{ words | max }} {{ words | max(case_sensitive=true) }} {{ rows | max(attribute='age') }} {{ [] | min }}| {{ 'hello' | max }} {{ d | min }} {{ [1, 2.5] | max }} {{ rows | min(attribute='name') }}", "{{ [1, 'a'] | min }}", "{{ ([] | max) + 1 }}",
    "{{ list | batch(2) | list }} {{ list | batch(2, 'x') | list }} {{ [] | batch(2) | list }} {{ list | batch(linecount=5, fill_with=0) | list }}", "{{ s | attr('upper') is callable }} {{ d | attr('a') }}| {{ d | attr('zz') is defined }} {{ namespace(x=1) | attr('x') }}", "{{ '%s-%s' | format('a', 1) }} {{ '%d' | format(5) }}", "{{ '%s' | format() }}", "{{ n | nosuch }}", "{% if no %}{{ n | nosuch }}{% endif %}x", "{{ n | upper(1) }}", "{{ s | trim('x', 'y') }}", "{{ s | trim(foo=1) }}", "{{ s | trim('a', chars='b') }}", "{{ -5 | abs | string | length }} {{ (list | first) + 1 }} {{ list | first + 1 }}",
    "{{ list | map('string') | join | length }}", "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter trim | replace('b', 'x') %}  abc {% endfilter %}", "{% filter indent(2, true) %}a\nb{% endfilter %}", "{{ (list | map('string'), list | map('string') | list)[1] }}", "{% set m = list | map('string') %}{{ m | list }}{{ m | list }}", "{% set m = list | select %}{{ m | first }}{{ m | first }}{{ m | list }}", "{{ list | map('string') | length }}", "{{ (list | map('string'))[0] }}|", "{{ list | select is iterable }} {{ list | select is sequence }} {{ (list | select) is sameas none }}",
]

TESTS = [
    "{{ n is defined }} {{ missing is defined }} {{ missing is undefined }} {{ d.z is defined }} {{ d.a is defined }} {{ d['a'] is not defined }} {{ list[9] is defined }} {{ nothing is defined }}", "{{ d.z.y is defined }}", "{{ none is none }} {{ nothing is none }} {{ missing is none }} {{ 0 is none }} {{ none is not none }}",
    "{% for v in [n, f, t, no, nothing, s, list, d, (1, 2), range(2), missing, d.items(), d.get, namespace(), empty, zero, whole] %}{{ v is string }}{{ v is number }}{{ v is integer }}{{ v is float }}{{ v is boolean }}{{ v is mapping }}{{ v is sequence }}{{ v is iterable }}{{ v is callable }}{{ v is true }}{{ v is false }}{{ v is none }}\n{% endfor %}",
    "{{ 3 is odd }} {{ 4 is odd }} {{ 4 is even }} {{ 4 is divisibleby(2) }} {{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 'aB' is lower }} {{ '' is lower }} {{ '1' is upper }} {{ 2.0 is even }} {{ true is odd }} {{ -3 is odd }}", "{{ 'a' is odd }}", "{{ none is even }}", "{{ 4 is divisibleby 0 }}", "{{ 4 is divisibleby }}", "{{ 1 is sameas 1 }} {{ list is sameas list }} {{ [] is sameas [] }} {{ none is sameas none }} {{ t is sameas true }} {{ 1 is sameas true }} {{ d is sameas d }}",
    "{{ 1 is == 1 }}", "{{ 'upper' is filter }} {{ 'nosuch' is filter }} {{ 'odd' is test }} {{ 'nosuch' is test }}", "{{ 1 is nosuch }}", "{% if no %}{{ 1 is nosuch }}{% endif %}", "{{ 1 is defined is defined }}", "{{ x is defined and x }}|{{ n is defined and n }}", "{{ 'a' is string if t else 'z' }}", "{{ 'a' is in }}", "{{ 2 is in(list) }} {{ 'b' is in d }} {{ 5 is ge 5 }} {{ 5 is ne 5 }} {{ 5 is le 4 }} {{ 5 is lt 6 }} {{ 5 is greaterthan 4 }}", "{{ missing is string }} {{ missing is mapping }} {{ not missing is defined }} {{ missing is iterable and missing is sequence }}", "{{ 1 is lt 'a' }}",
]

STATEMENTS = [
    "{% if n > 5 %}big{% elif n > 2 %}mid{% else %}small{% endif %}", "{% if no %}a{% elif no %}b{% elif t %}c{% else %}d{% endif %}", "{% if missing %}a{% else %}b{% endif %}", "{% if list and d and not none %}x{% endif %}", "{% if 'a' in words and words | length > 2 %}x{% endif %}", "{% if [] %}a{% elif {} %}b{% elif 0.0 %}c{% elif '' %}d{% elif ' ' %}e{% endif %}", "{% if n %}{% if no %}a{% endif %}{% else %}b{% endif %}",
    "{% for x in list %}{{ x }}{% endfor %}", "{% for x in [] %}a{% else %}empty{% endfor %}", "{% for x in missing %}a{% else %}none{% endfor %}", "{% for x in nothing %}{% endfor %}", "{% for x in n %}{% endfor %}", "{% for c in 'aé你' %}[{{ c }}]{% endfor %}", "{% for k in d %}{{ k }},{% endfor %}", "{% for k, v in d.items() %}{{ k }}:{{ v }};{% endfor %}", "{% for a, b in pairs %}{{ a }}{{ b }}{% endfor %}", "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in list %}{% endfor %}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% for a, b in ['xy'] %}{{ a }}{{ b }}{% endfor %}", "{% for a, b, in pairs %}{{ a }}{% endfor %}", "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}", "{% for x in (1, 2) %}{{ x }}{% endfor %}", "{% for x in range(3) %}{{ x }}{% endfor %}{% for x in range(5, 0, -2) %}{{ x }}{% endfor %}{% for x in range(2, 4) %}{{ x }}{% endfor %}",
    "{% for x in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }};{% endfor %}", "{% for x in list %}{{ loop.nosuch }}{{ loop['index'] }}{% endfor %}", "{% for x in list if x > 1 %}{{ x }}{{ loop.index }}/{{ loop.length }}{{ loop.last }};{% else %}no{% endfor %}", "{% for x in list if x > 10 %}{{ x }}{% else %}no{% endfor %}", "{% for x in list if loop is defined %}{{ x }}{% endfor %}", "{% for x in list | select('gt', 1) %}{{ loop.length }}{{ loop.last }}{{ loop.revindex }}{% endfor %}", "{% for x in list %}{% for y in list %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}", "{% for x in list %}{% set outer = loop %}{% for y in [1] %}{{ outer.index }}{{ outer.last }}{% endfor %}{% endfor %}", "{% for x in list %}{{ loop | length }}{{ loop is callable }}{% endfor %}",
    "{% for x in list %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in list %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% else %}e{% endfor %}", "{% for x in list %}{% continue %}{% else %}e{% endfor %}", "{% for x in list %}{% for y in list %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %}{{ x }}{% endfor %}", "{% break %}", "{% for x in list %}{% else %}{% break %}{% endfor %}", "{% for x in [1] %}{% for y in [] %}{% else %}{% break %}{% endfor %}a{% endfor %}b", "{% for x in list %}{% set y %}{% break %}{% endset %}{% endfor %}z", "{% for x in list %}{{ x }}{% endfor %}{{ x }}", "{% for loop in list %}{% endfor %}", "{% for x in list %}{% set loop = 1 %}{% endfor %}", "{% set loop = 1 %}{{ loop }}", "{{ loop }}|", "{% for x in list %}{{ x }}",
    "{% set x = 1 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x = 1, 2 %}{{ x }}", "{% set (x, y) = [3, 4] %}{{ x }}{{ y }}", "{% set x, y = 1 %}", "{% set x, y = [1, 2, 3] %}", "{% set x %}a{{ n }}b{% endset %}[{{ x }}]", "{% set x | upper | trim %} a{{ n }} {% endset %}[{{ x }}]", "{% set x | replace('a', 'b') %}aa{% endset %}{{ x }}", "{% set n = n + 1 %}{{ n }}", "{% set true = 1 %}", "{% set 1 = 2 %}", "{% set d.a = 1 %}", "{% set d['a'] = 1 %}", "{% set missing.a = 1 %}", "{% if t %}{% set x = 1 %}{% endif %}{{ x }}", "{% if no %}{% set n = 1 %}{% endif %}{{ n }}", "{% set x = 0 %}{% for i in list %}{% set x = x + i %}{{ x }},{% endfor %}{{ x }}", "{% for i in list %}{% if loop.first %}{% set q = 1 %}{% endif %}{{ q }}|{% endfor %}", "{% for i in [1] %}{{ n }}{% set n = 2 %}{{ n }}{% endfor %}{{ n }}", "{% for i in [1] %}{{ n }}{% endfor %}{% set n = 2 %}{{ n }}", "{{ n }}{% for i in [1] %}{{ n }}{% endfor %}{% set n = 2 %}{{ n }}", "{% if no %}{% set n = 2 %}{% endif %}{% for i in [1] %}{{ n }}{% endfor %}",
    "{% set ns = namespace(a=1, b='x') %}{{ ns.a }}{{ ns.b }}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ ns.c }}|{{ ns['a'] }}{% set ns.c = [] %}{{ ns.c }}", "{% set ns = namespace(found=false) %}{% for x in list %}{% if x == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }}", "{% set ns = namespace({'a': 5}, b=6) %}{{ ns.a }}{{ ns.b }}{{ ns }}", "{% set ns = namespace() %}{% set ns.x, ns.y = 1, 2 %}{{ ns.x }}{{ ns.y }}", "{% set ns = namespace() %}{{ ns.x.y }}", "{% set ns = namespace(1) %}", "{{ namespace(a=1) is mapping }}{{ namespace() == namespace() }}{% for x in namespace() %}{% endfor %}", "{% set ns = namespace(items=[1]) %}{{ ns.items }}", "{{ dict(a=1, b=2) }}{{ dict({'x': 1}, y=2) }}{{ dict([('a', 1)]) }}{{ dict() }}", "{{ dict(1) }}", "{{ dict(a=1).a }}{{ dict(a=1) == {'a': 1} }}",
    "{% with x = 1, y = 2 %}{{ x }}{{ y }}{% endwith %}{{ x }}|", "{% with n = n + 1 %}{{ n }}{% endwith %}{{ n }}", "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z }}|", "{% with a, b = (1, 2) %}{{ a }}{% endwith %}", "{% with a = 1, b = a %}{{ b }}|{% endwith %}", "{% generation %}x{% set g = 1 %}{{ g }}{% endgeneration %}{{ g }}|", "{% for x in list %}{% generation %}{{ loop.index }}{% endgeneration %}{% endfor %}", "{% for x in list %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    "{% macro m(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c='z') }} {{ m(a=5) }} {{ m() }} {{ m(b=1, a=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(3) }}", "{% macro m(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}", "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ m() }}{% macro m() %}x{% endmacro %}", "{% macro m() %}{{ z }}{% endmacro %}{% set z = 1 %}{{ m() }}{% set z = 2 %}{{ m() }}", "{% macro m() %}{% set z = 5 %}{{ z }}{% endmacro %}{{ m() }}{{ z }}|", "{% set z = 1 %}{% macro m() %}{{ z }}{% set z = 2 %}{{ z }}{% endmacro %}{{ m() }}{{ z }}", "{% for x in list %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m() %}{{ x }}{% endmacro %}{% for x in list %}{{ m() }}|{% endfor %}", "{% macro a() %}{% macro b() %}in{% endmacro %}{{ b() }}{% endmacro %}{{ a() }}", "{% macro m() %} x {% endmacro %}{{ m() | trim }}{{ m() | length }}{{ m() is string }}{{ m is callable }}{{ m }}", "{% macro m(x) -%}\n  {{ x }}\n{%- endmacro %}[{{ m('a') }}]", "{% set ns = namespace(f=none) %}{% macro a(v) %}{% macro b() %}{{ v }}{% endmacro %}{% set ns.f = b %}{% endmacro %}{{ a(1) }}{{ ns.f() }}", "{% macro m(messages) %}{{ messages | length }}{{ n }}{% endmacro %}{{ m([1]) }}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(a %}{% endmacro %}", "{% set ns = namespace() %}{% for x in list %}{% set ns.l = loop %}{% endfor %}{{ ns.l.index }}{{ ns.l.last }}",
    "{{ raise_exception('no: ' ~ n) }}", "{% if no %}{{ raise_exception('x') }}{% endif %}ok", "{{ raise_exception('two\nlines') }}", "{{ raise_exception() }}", "a{{ raise_exception(none) }}", "{{ raise_exception(1, 2) }}", "{{ strftime_now('%Y-%m-%d %H:%M:%S %j %a %A %b %B %p %% x') }}", "{{ strftime_now('') }}|", "{{ strftime_now('%d %b %Y') }}", "{{ strftime_now(1) }}", "{{ strftime_now() }}", "{{ strftime_now is defined }}{{ raise_exception is defined }}{{ namespace is callable }}", "{{ range(100001) | length }}", "{{ range(100000) | length }}", "{{ range(0) | list }}{{ range(-3) | list }}", "{{ range(1.5) }}", "{{ range() }}", "{{ range(1, 2, 0) }}",
]

ERRORS = [
    "{% if t %}", "{% endif %}", "{% if %}x{% endif %}", "{% for %}{% endfor %}", "{% for x in %}{% endfor %}", "{% for x list %}{% endfor %}", "{% nosuch %}", "{{ }}", "{{ 1 + }}", "{{ (1 }}", "{{ [1 }}", "{{ {'a' } }}", "{{ a b }}", "{{ a. }}", "{{ a[ }}", "{{ a[] }}", "{{ 'x }}", "{{ x", "{% if x", "{# x", "{% raw %}x", "{{ ) }}", "{{ (] }}", "{{ a | }}", "{{ a is }}", "{{ ! }}", "{{ a ? b }}", "{{ @ }}", "{% set %}", "{% set x = %}", "{% macro %}{% endmacro %}", "{% else %}", "{% elif x %}", "{% endfor %}", "{% if a %}{% for x in y %}{% endif %}{% endfor %}", "{{ f(a=1, 2) }}", "{{ f(a=1, a=2) }}", "{{ 1 if }}", "{{ not }}", "{% set x = 1 y %}", "{{ '\\x4' }}", "{{ '\\u12' }}", "{% endset %}", "{{ a.1x }}", "{% block x %}", "}}", "%}", "#}", "{", "{ {", "{{'a'}}}", "{{ 'a' }", "{% if t } x {% endif %}", "{% %}", "{% 1 %}",
]

def ask(build_dir, environment, templates):
    expected = [Oracle(environment, template).ask(VARIABLES) for template in templates]
    came = Renderer(build_dir).ask([(template, VARIABLES) for template in templates])
    return expected, came


def assert_same(templates, expected, came):
    wrong = [describe_difference(template, {}, one, other)
             for template, one, other in zip(templates, expected, came, strict=True) if one != other]
    assert not wrong, f"{len(wrong)} of {len(templates)} differ:\n" + "\n\n".join(wrong[:10])


GROUPS = {"white_space": WHITE_SPACE, "literals": LITERALS, "operators": OPERATORS, "access": ACCESS,
          "string_methods": STRING_METHODS, "filters": FILTERS, "tests": TESTS, "statements": STATEMENTS, "errors": ERRORS}


@pytest.mark.parametrize("group", GROUPS)
def test_the_language_is_that_of_jinja2(build_dir, group):
    templates = GROUPS[group]
    expected, came = ask(build_dir, make_environment(), templates)
    assert_same(templates, expected, came)


# What this program has beyond Hugging Face's environment, which refuses these.
EXTENSIONS = [
    "{% set l = [1] %}{% set _ = l.append(2) %}{{ l }}{{ l.pop() }}{{ l.pop(0) }}{{ l }}", "{{ [].pop() }}", "{{ [1, 2, 3].pop(-2) }}", "{{ [1].pop(5) }}",
    "{% set l = [] %}{% for x in list %}{{ l.append(x) or '' }}{% endfor %}{{ l | join('+') }}", "{% set l = list %}{{ l.append(9) or l }}{{ list }}",
    "{% set ns = namespace(q=[]) %}{% for x in words %}{% set _ = ns.q.append(x) %}{% endfor %}{% for x in words %}{{ ns.q.pop(0) }}{% endfor %}",
    "{{ '{\"a\": [1, 2.5, null, true, \"é\\u00e9\"]}' | from_json }}", "{{ '[1' | from_json }}", "{{ ('7' | from_json) + 1 }}", "{{ 5 | from_json }}", "{{ '' | from_json }}",
    "{{ list | map('string') | tojson }}", "{{ rows | map(attribute='name') | tojson(indent=2) }}", "{% set m = list | select %}{{ m | tojson }}{{ m | tojson }}",
]


def test_what_hugging_face_refuses_works_as_in_python(build_dir):
    expected, came = ask(build_dir, make_extended_environment(), EXTENSIONS)
    assert_same(EXTENSIONS, expected, came)
    refused = [Oracle(make_environment(), template).ask(VARIABLES) for template in EXTENSIONS]
    assert all(outcome.kind != "text" for outcome in refused), "no longer an extension: move it to the tables above"


def test_an_error_names_its_line(build_dir):
    """Lines count from 1, after the line breaks that white space control removes."""
    rows = [("a\nb\n{{ missing.x }}", 3), ("{%- if t -%}\n\n\n{{ 1 + none }}\n{% endif %}", 4), ("\n{% if t %}", 2), ("\r\n\r{{ ) }}", 3),
            ("{# \n\n #}{{ 'a\nb' ~ (1 / 0) }}", 4), ("{% macro m() %}\n{{ 1 // 0 }}{% endmacro %}\n{{ m() }}", 2), ("{% raw %}\n{% endraw %}\n{{ 1.x.y }}", 3),
            ("{{ f(1,\n2) }}", 1), ("a\n\n{% nosuch %}", 3), ("{% for x in list %}\n{% set a, b = x %}{% endfor %}", 2), ("x\n{{ 1 |\n nosuch }}", 3)]
    came = Renderer(build_dir).ask([(template, VARIABLES) for template, _ in rows])
    wrong = [(template, line, answer) for (template, line), answer in zip(rows, came, strict=True)
             if answer.kind == "text" or not answer.text.startswith(f"line {line}: ")]
    assert wrong == []
