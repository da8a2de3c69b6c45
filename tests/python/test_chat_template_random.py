"""Random templates against Python's jinja2: what no one thought of writing down.

The same seed gives the same templates. A template that differs is printed; put it into
test_chat_template_language.py once it is understood.
"""

import random
import re

from template_oracle import Oracle, Renderer, describe_difference, make_environment
from test_chat_template_language import VARIABLES

COUNT, SEED = 2000, 20240615

# What an expression of each kind can be: "#" stands for a number, "$" for text, "@" for a list, "&" for
# a dict, "?" for a truth, "*" for anything.
FORMS = {
    "#": ["n", "zero", "f", "neg", "1", "2", "3.5", "-1", "(# + #)", "(# - #)", "(# * #)", "(# / 2)", "(# // 2)", "(# % 3)", "(-#)", "(# | abs)",
          "(# | round(1))", "($ | length)", "(@ | length)", "($ | int)", "($ | float)", "(# | int)", "d.b", "$.find($)", "$.count('l')", "([1, 2, #] | sum)",
          "([#, #] | max)", "list[0]", "(@ | first | default(1) | int)", "(# if ? else #)", "rows[0].age", "(# | default(0))", "missing | default(#)"],
    "$": ["s", "padded", "u", "html", "lines", "empty", "quotes", "'a'", "'Hello'", "' b '", "'a,b'", "($ + $)", "($ ~ *)", "(# ~ $)", "($ * 2)", "$.strip()", "$.lstrip()",
          "$.rstrip('d')", "$.upper()", "$.lower()", "$.title()", "$.capitalize()", "$.replace('l', $)", "($ | trim)", "($ | upper)", "($ | title)", "($ | replace($, 'x'))",
          "($ | indent)", "($ | indent(2, true))", "($ | e)", "($ | safe)", "(@ | join(', '))", "(@ | join)", "(* | string)", "(* | tojson)", "(& | tojson(indent=2))",
          "s[1:3]", "u[::-1]", "$.split('l')[0]", "$.split()[-1]", "'{}-{}'.format(*, $)", "('%s|%s' % ($, #))", "($ if ? else $)", "(* | default($))", "messages[0].role",
          "messages[-1]['content']", "($ | capitalize)", "($ | reverse)", "($ | string | first)", "words | first", "(missing | default($))", "(nothing | default($, true))"],
    "@": ["list", "words", "mixed", "none2 | default([])", "nested", "pairs", "rows", "messages", "[1, 2]", "[*, *]", "[$, $]", "[#, #, #]", "(@ + @)", "(@ | list)", "(@ | reverse | list)",
          "(words | sort)", "([#, #, #] | sort(reverse=true))", "(@ | select | list)", "(@ | reject('string') | list)", "([#, #] | select('odd') | list)",
          "(rows | map(attribute='name') | list)", "(rows | selectattr('age', 'gt', #) | list)", "(words | map('upper') | list)", "(words | unique | list)", "$.split()",
          "$.split(',')", "$.splitlines()", "(& | items | list)", "(& | dictsort)", "&.keys() | list", "&.values() | list", "&.items() | list", "list[1:]", "list[::-1]", "messages[:-1]",
          "mixed[#:]", "(@ | batch(2) | list)", "range(#) | list", "($ | list)", "(@ if ? else @)", "pairs | map(attribute=0) | list", "rows | rejectattr('tag') | list"],
    "&": ["d", "e", "rows[0]", "messages[0]", "{'a': *}", "{'k': @, 'z': #}", "dict(a=*, b=$)", "d.nested", "d['nested']", "(d if ? else rows[1])", "{$: *}"],
    "?": ["t", "no", "true", "false", "(* is defined)", "(* is string)", "(* is mapping)", "(* is none)", "(* is number)", "(* is iterable)", "(* is sequence)", "(# is odd)", "(not *)",
          "(# < #)", "(# >= #)", "(# == #)", "($ == $)", "($ != *)", "(* == *)", "($ in $)", "($ in &)", "(* in @)", "(* not in @)", "(? and ?)", "(? or ?)", "$.startswith($)",
          "$.endswith('d')", "$.isdigit()", "(# is divisibleby(2))", "(# in [1, #])", "loop.first", "loop.last", "(@ == @)", "($ < $)", "(* is boolean)", "(* is in @)"],
    "*": ["missing", "nothing", "none", "#", "$", "@", "&", "?", "#", "$", "@", "&.a", "&['b']", "&.get('a')", "&.get('z', *)", "@[0]", "@[-1]", "(@ | first)", "(@ | last)", "(* or *)", "(* and *)",
          "(* if ?)", "x", "y", "ns.a", "loop.index", "loop.length", "(*, *)", "d.nested.k.deep", "(* | default(*))", "(* | d(*, true))", "(@ | min)", "messages[0]['role']"],
}
# Where one kind stands for another now and then: how things fail must agree too.
MISTAKES = 0.03


class Writer:
    def __init__(self, source):
        self.source = source
        self.loops = 0

    def expression(self, depth, kind="*"):
        if self.source.random() < MISTAKES:
            kind = self.source.choice(list(FORMS))
        forms = FORMS[kind]
        plain = [form for form in forms if not set(form) & set("$@&?*")]
        if depth == 0 and plain:
            return self.source.choice(plain)
        parts = re.split(r"(%s)|([#$@&?*])", self.source.choice(forms))
        return "".join(self.expression(max(0, depth - 1), part) if part in FORMS else part for part in parts if part)

    def tag(self, text):
        return "{%" + self.source.choice(["", "", "-", "+"]) + f" {text} " + self.source.choice(["", "", "-", "+"]) + "%}"

    def gap(self):
        return self.source.choice(["", "", " ", "\n", "\n  ", "  \n", "text", "\n\n", "a\n "])

    def statement(self, depth):
        pick = self.source.random()
        if depth == 0 or pick < 0.35:
            return "{{" + self.source.choice(["", "-"]) + f" {self.expression(3)} " + self.source.choice(["", "-"]) + "}}"
        if pick < 0.5:
            target = self.source.choice(["x", "y", "x, y", "n", "ns.a"])
            return self.tag(f"set {target} = {self.expression(2)}")
        if pick < 0.65:
            other = self.tag("else") + self.block(depth - 1) if self.source.random() < 0.5 else ""
            return self.tag(f"if {self.expression(2, '?')}") + self.block(depth - 1) + other + self.tag("endif")
        if pick < 0.85:
            return self.loop(depth)
        if pick < 0.9:
            return self.tag("set x") + self.block(depth - 1) + self.tag("endset")
        if pick < 0.93:
            return self.tag("set ns = namespace(a=1)")
        if pick < 0.96:
            loops, self.loops = self.loops, 0
            body = self.tag("macro m(x, y=2)") + self.block(depth - 1) + self.tag("endmacro") + "{{ m(1) }}"
            self.loops = loops
            return body
        return "{#" + self.source.choice(["", "-"]) + " note " + self.source.choice(["", "-"]) + "#}"

    def loop(self, depth):
        target = self.source.choice(["x", "x", "y", "x, y"])
        iterable = self.source.choice(["pairs", "range(3)", "d.items()", "d", "s[:3]", self.expression(2, "@"), self.expression(1)])
        condition = f" if {self.expression(1, '?')}" if self.source.random() < 0.2 else ""
        self.loops += 1
        body = self.block(depth - 1)
        if self.source.random() < 0.4:
            body += "{{ loop." + self.source.choice(["index", "index0", "first", "last", "length", "revindex", "previtem", "nextitem"]) + " }}"
        if self.source.random() < 0.15:
            body = f"{{% if {self.expression(1, '?')} %}}" + self.tag(self.source.choice(["break", "continue"])) + "{% endif %}" + body
        self.loops -= 1
        other = self.tag("else") + self.block(depth - 1) if self.source.random() < 0.2 else ""
        return self.tag(f"for {target} in {iterable}{condition}") + body + other + self.tag("endfor")

    def block(self, depth):
        return "".join(self.gap() + self.statement(depth) for _ in range(self.source.randint(1, 3))) + self.gap()


def comparable(outcome):
    """Addresses of objects are Python's own, and integers past 64 bits are not offered."""
    return not re.search(r"0x[0-9a-f]{6}|<(built-in|generator|list_rev|dict_rev|range_it)|\d{19}", outcome.text)


def random_templates(count, seed):
    writer = Writer(random.Random(seed))
    return [writer.block(3) for _ in range(count)]


def test_random_templates_render_as_in_jinja2(build_dir):
    templates = random_templates(COUNT, SEED)
    environment = make_environment()
    came = Renderer(build_dir).ask([(template, VARIABLES) for template in templates])
    wrong, texts = [], 0
    for template, answer in zip(templates, came, strict=True):
        expected = Oracle(environment, template).ask(VARIABLES)
        texts += expected.kind == "text"
        if comparable(expected) and expected != answer:
            wrong.append(describe_difference(template, {}, expected, answer))
    assert texts > COUNT // 20, f"only {texts} templates render at all"
    assert not wrong, f"{len(wrong)} of {COUNT} differ:\n" + "\n\n".join(wrong[:5])
