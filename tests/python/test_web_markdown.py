"""The page's Markdown beside markdown-it's, an implementation of CommonMark; and what hostile sources cost."""

import time

import pytest
from markdown_it import MarkdownIt
from server_harness import FakeServer
from web_browser import browser, visit

pytestmark = pytest.mark.release_only

# Line ends stay line ends on the page, and HTML is text: the oracle is set so too.
ORACLE = MarkdownIt("commonmark", {"breaks": True, "html": False}).enable(["table", "strikethrough"])

DOCUMENTS = {
    "paragraphs": "one\ntwo\n\nthree  \nfour\\\nfive",
    "emphasis": "*a* **b** ***c*** _d_ __e__ a*b*c a_b_c **a*b*c** *a**b**c* ~~f~~ *a **b* c**",
    "unfinished": "**a *b `c [d](e ~~f",
    "marks alone": "a * b ** c _ d __ 2*3*4 * snake_case_name 5 ~ 6",
    "rule of three": "***a** b* *a **b*** **a*** ***a* foo*bar**baz*",
    "punctuation": "*(a)* **“a”** a*“b”*c _(a)_b",
    "code": "`a` ``b ` c`` ` d ` `*e*` `` `f` `` `g\nh` \\`i` `",
    "escapes": r"\*a\* \[b\](c) \\ \a \# 1\. \`d\` \~~e~~",
    "entities": "&amp; &lt;b&gt; &quot; &nbsp;x &unknown; &",
    "links": "[a](http://b.example/) [c *d*](https://e.example/f?g=1&h \"title\") [i](<http://j.example/k l>) [m](http://n.example/(o)p) ![q](http://r.example/s)",
    "links that are none": "[a] [b]( [c](d [e][f] ] [g](h i) ] [",
    "links in links": "[a [b](http://c.example/) d](e)",
    "mark and link": "*[a*](http://b.example/) **[c](http://d.example/)**",
    "addresses": "<https://a.example/b> <mailto:c@d.example> <e>",
    "headings": "# a\n## b ##\n### c #\n#### d\n##### e\n###### f\n####### g\n#h\n#\n# i # j\n\nk\n===\nl\n---\n m\nn\n---",
    "rules": "---\n***\n_ _ _\n- - -\n--\n\na\n***\nb",
    "fences": "```c\nint a;\n\n  b\n```\n~~~\n```\n~~~\n```\nopen",
    "fence in a paragraph": "a\n```\nb\n```\nc",
    "fence info": "```  js title\nx\n```\n``` a`b\n",
    "indented fence": "  ```\n  a\n    b\n c\n  ```",
    "indented code": "a\n\n    b\n      c\n\n    d\n\ne\n    f",
    "quotes": "> a\n> b\n>\n> # c\n> - d\n\n> e\nf\n\n> > g\n> h\n\n>i",
    "bullets": "- a\n- b\n  c\n- d\n\ne",
    "loose list": "- a\n\n- b\n\n  c\n- d",
    "loose by two blocks": "- a\n\n  b\n- c",
    "nested lists": "- a\n  - b\n    - c\n  - d\n- e\n\n1. f\n   - g\n2. h\n   1. i",
    "four blanks": "* a\n    * b\n        * c\n* d",
    "numbers": "3. a\n4. b\n\n1) c\n2) d\n\na\n1. b\n\na\n2. b",
    "other marks": "- a\n+ b\n* c\n\n1. d\n2) e",
    "lazy lines": "- a\nb\n- c\n\n  d\ne",
    "list and code": "1. a\n\n   ```sh\n   b\n   ```\n2. c\n\n       d\n",
    "list after text": "a\n- b\n- c\n\nd\n* * *\n- e",
    "empty items": "-\n- a\n-\n\n  b\n",
    "list and quote": "- > a\n  > b\n- c\n\n> 1. d\n> 2. e",
    "list ends": "- a\n\n\nb\n\n- c\n# d\n- e\n---",
    "table": "| a | b | c |\n|:--|:-:|--:|\n| 1 | `2` | *3* |\n| 4 |\n| 5 | 6 | 7 | 8 |\n\nx",
    "table without edges": "a | b\n--|--\n1 | 2 \\| 3\n\na | b\nc",
    "table in a list": "- x\n\n  | a | b |\n  |---|---|\n  | 1 | 2 |",
    "no table": "| a | b |\n|---|\n| c | d |\n\n| a |\n\n|---|",
    "html": "<b>a</b> <script>alert(1)</script>\n\n<div>\n*b*\n</div>",
    "tabs": "-\ta\n\n\tcode\n\n1.\tb",
    "answer": "Sure! Here's how:\n\n### Steps\n\n1. **Install** it:\n   ```bash\n   apt install x\n   ```\n2. Run `x --help`\n\n> Note: *be careful*.\n\n- [link](https://a.example)\n- text\n\n---\n\nDone.",
}

# The page's own additions around and inside blocks go; a tag and what matters of it stay.
NORMAL = """(html) => {
    const root = new DOMParser().parseFromString(html, "text/html").body;
    const text = (node) => [...node.childNodes].map(normal).join("");
    function normal(node) {
        if (node.nodeType === Node.TEXT_NODE) { return node.data.replace(/&/g, "&amp;").replace(/</g, "&lt;"); }
        const tag = node.localName;
        if (tag === "figure") { return `<pre>${node.querySelector("code").textContent.replace(/&/g, "&amp;").replace(/</g, "&lt;").trimEnd()}</pre>`; }
        if (tag === "pre") { return `<pre>${node.textContent.replace(/&/g, "&amp;").replace(/</g, "&lt;").trimEnd()}</pre>`; }
        if (tag === "div") { return text(node); }
        if (tag === "img") { return `<a href="${node.src}">${node.alt}</a>`; }
        const level = /^heading-(\\d)$/.exec(node.className)?.[1] ?? /^h(\\d)$/.exec(tag)?.[1];
        const name = level ? `h${level}` : tag === "s" ? "del" : tag;
        const align = /align-(\\w+)/.exec(node.className)?.[1] ?? { left: "start", right: "end" }[node.style.textAlign] ?? node.style.textAlign;
        const extra = (tag === "a" ? ` href="${node.href}"` : "") + (tag === "ol" && node.start !== 1 ? ` start="${node.start}"` : "") + (align ? ` ${align}` : "");
        return `<${name}${extra}>${text(node)}</${name}>`;
    }
    return text(root).replace(/\\s*\\n\\s*/g, "\\n").replace(/\\n?(<\\/?(?:p|h\\d|ul|ol|li|blockquote|pre|hr|table|thead|tbody|tr|th|td|br)\\b[^>]*>)\\n?/g, "$1").replace(/<\\/hr>|<\\/br>|<tbody><\\/tbody>/g, "");
}"""

SHOW = """async (source) => {
    const { showMarkdown } = await import("/web/markdown.js");
    const container = document.createElement("div");
    showMarkdown(container, source);
    return container.innerHTML;
}"""


@pytest.fixture(scope="module")
def page(build_dir):
    server = FakeServer(build_dir)
    with browser() as running, visit(running, server, bypass_csp=True) as page:  # the test itself parses HTML
        yield page
    server.stop()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_it_reads_as_another_implementation_does(page, name):
    ours = page.evaluate(NORMAL, page.evaluate(SHOW, DOCUMENTS[name]))
    theirs = page.evaluate(NORMAL, ORACLE.render(DOCUMENTS[name]))
    assert ours == theirs


def test_growing_gives_what_the_whole_gives(page):
    """Character by character, as answers come; and the blocks above stay the same elements."""
    source = "\n\n".join(DOCUMENTS[name] for name in ("answer", "table", "nested lists", "quotes"))
    different = page.evaluate("""async (source) => {
        const { showMarkdown } = await import("/web/markdown.js");
        const [grown, fresh] = [document.createElement("div"), document.createElement("div")];
        let first = null;
        for (let length = 1; length <= source.length; length++) {
            showMarkdown(grown, source.slice(0, length));
            fresh.replaceChildren();
            fresh.markdownBlocks = undefined;
            showMarkdown(fresh, source.slice(0, length));
            if (grown.innerHTML !== fresh.innerHTML || (first !== null && grown.children[0] !== first)) { return length; }
            first = length > 40 ? grown.children[0] : null;
        }
        return null;
    }""", source)
    assert different is None


def test_only_whole_addresses_of_the_web_become_links(page):
    source = ("see https://a.example/b_c*d*, (https://e.example/f) and http://g.example. nothttp://h.example https:// "
              "[a](javascript:x) [b](JAVASCRIPT:x) [c](/x) [d](x.html) [e](#x) [f](data:text/html,x) [g](file:///x) "
              "[h](&#106;avascript:x) [i](\x01javascript:x) [j](mailto:k@l.example)")
    page.evaluate("async (source) => { const { showMarkdown } = await import('/web/markdown.js'); showMarkdown(document.querySelector('#log'), source) }", source)
    found = page.locator("#log a").evaluate_all("all => all.map((a) => a.getAttribute('href'))")
    assert found == ["https://a.example/b_c*d", "https://e.example/f", "http://g.example/", "mailto:k@l.example"]


HOSTILE = {
    "stars": "*" * 30000, "star a": "*a " * 15000, "a star": "a* " * 15000, "star pairs": "**a *b " * 8000,
    "brackets": "[" * 30000, "brackets closed": "[" * 15000 + "]" * 15000, "links": "[a](" * 8000, "images": "![" * 15000,
    "ticks": "".join("`" * n + " " for n in range(250)), "quotes": ">" * 30000, "lists": "- " * 15000, "numbers": "1. " * 10000,
    "indents": "\n".join(" " * n + "- a" for n in range(400)), "pipes": "|" * 15000 + "\n" + "|-" * 15000,
    "blanks": "a" + " " * 30000 + "b", "heading": "#" + " " * 30000 + "#" + "#" * 30000, "rule": "- " * 15000 + "x",
    "tildes": "~~a " * 8000, "under": "_a" * 15000, "addresses": "https://" * 4000, "parentheses": "[a](" + "(" * 30000,
    "one line": "x" * 300000, "fences": "```\n~~~\n" * 5000, "backslashes": "\\" * 60000, "lines": "a\n" * 10000,
    "mixed": "*_`[~![<&" * 4000, "lone": "\ud800\u0000\u202e\ufeff" * 1000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_source_costs_more_than_its_length(page, name):
    started = time.monotonic()
    assert page.evaluate(SHOW, HOSTILE[name]).startswith("<")
    assert time.monotonic() - started < 5, "seconds: a fraction of one when nothing else runs"
