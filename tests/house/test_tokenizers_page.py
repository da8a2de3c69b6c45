"""docs/tokenizers.md names the pre-tokenizers that the table in src/ has, in its order and grouped as it groups them."""

import re


def test_the_page_lists_every_pre_tokenizer(source_root):
    table = (source_root / "src/text/tokenizer/pretokenizer_table.c").read_text(encoding="utf-8")
    page = (source_root / "docs/tokenizers.md").read_text(encoding="utf-8")
    section = page.split("## How words are cut")[1].split("\n## ")[0]
    kinds = {}
    for name, kind in re.findall(r'^    \{"([^"]+)", (KIND_\w+), ', table, re.MULTILINE):
        kinds.setdefault(kind, []).append(name)
    listed = [re.findall(r"`([^`]+)`", item) for item in re.findall(r"^- (.*\n(?:  .*\n)*)", section, re.MULTILINE)]
    assert len(kinds) > 10
    assert listed == list(kinds.values())
