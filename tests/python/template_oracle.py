"""What the chat-template tests share: Python's jinja2, set up as Hugging Face transformers sets it up,
and the program's own renderer (tests/tools/render_template.c), to be asked the same questions."""

import datetime
import json
import os
import subprocess

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

NOW = 1718454896  # 2024-06-15 12:34:56 UTC: what both sides take for the present


class Raised(Exception):
    """The template's own refusal, by raise_exception."""


class GenerationTag(jinja2.ext.Extension):
    """{% generation %}, which transformers puts around what the assistant wrote: only its body counts."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("render_body"), [], [], body).set_lineno(line)

    def render_body(self, caller):
        return caller()


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise Raised(message)


def strftime_now(format):
    return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(format)


def make_environment(sandbox=jinja2.sandbox.ImmutableSandboxedEnvironment):
    environment = sandbox(trim_blocks=True, lstrip_blocks=True,
                          extensions=[GenerationTag, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    return environment


def make_extended_environment():
    """With what this program offers beyond transformers: lists that grow, from_json, and iterators in
    tojson. Templates written for other engines use these; transformers refuses them."""
    environment = make_environment(jinja2.sandbox.SandboxedEnvironment)
    environment.filters["from_json"] = json.loads

    def tojson_of_iterators(value, **options):
        is_iterator = hasattr(value, "__next__")
        return tojson(list(value) if is_iterator else value, **options)

    environment.filters["tojson"] = tojson_of_iterators
    return environment


class Outcome:
    """Text, or a failure; kind is "text", "raised", "failed" or "syntax"."""

    def __init__(self, kind, text):
        self.kind = kind
        self.text = text

    def __eq__(self, other):
        """Failures agree when both fail; a refusal must also say the same."""
        if "text" in (self.kind, other.kind) or "raised" in (self.kind, other.kind):
            return (self.kind, self.text) == (other.kind, other.text)
        return True

    def __repr__(self):
        return f"{self.kind}: {self.text}"


class Oracle:
    """One template in jinja2, compiled once."""

    def __init__(self, environment, template):
        self.broken = None
        try:
            self.compiled = environment.from_string(template)
        except (jinja2.TemplateSyntaxError, SyntaxError) as error:  # Python's own, for a stray break
            self.broken = Outcome("syntax", str(error))

    def ask(self, context):
        if self.broken is not None:
            return self.broken
        # As a JSON reader gives it: so that the two sides start from the same values.
        context = json.loads(json.dumps(context))
        try:
            return Outcome("text", self.compiled.render(**context))
        except Raised as refusal:
            # An error of this program is one line.
            return Outcome("raised", "".join(" " if character < " " else character for character in str(refusal)))
        except Exception as error:  # whatever a template provokes: TypeError, UndefinedError, OverflowError …
            return Outcome("failed", f"{type(error).__name__}: {error}")


class Renderer:
    """The program under test."""

    def __init__(self, build_dir):
        self.program = build_dir / "tests" / "tools" / "render_template"
        assert self.program.is_file(), f"{self.program} is missing: build first"

    def ask(self, questions):
        """An Outcome for each (template, context)."""
        lines = [json.dumps({"template": template, "context": context, "now": NOW}) for template, context in questions]
        result = subprocess.run([self.program], input="\n".join(lines).encode(), capture_output=True,
                                env={**os.environ, "TZ": "UTC"}, check=False)
        assert result.returncode == 0, f"{self.program}: {result.returncode}\n{result.stderr.decode()[-4000:]}"
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        assert len(answers) == len(questions)
        return [Outcome("text", answer["text"]) if "text" in answer else Outcome(answer["code"], answer["error"])
                for answer in answers]


def describe_difference(template, context, expected, came):
    at = next((i for i, (a, b) in enumerate(zip(expected.text, came.text)) if a != b),
              min(len(expected.text), len(came.text)))
    around = slice(max(0, at - 80), at + 80)
    return (f"template {template[:300]!r}\ncontext {json.dumps(context)[:1500]}\n"
            f"expected {expected.kind} …{expected.text[around]!r}\ncame     {came.kind} …{came.text[around]!r}")
