"""The stack's documents: links lead somewhere, settings and metrics they name exist, and the README's commands
run from its own folder in the order in which they stand there."""

import json
import os
import re
import shutil
import subprocess

import pytest
from program import make_chat_model
from server_harness import own_environment

pytestmark = pytest.mark.release_only
PAGES = ["stacks/mistral/README.md", "docs/performance-tuning.md", "docs/monitoring.md",
         "docs/migrating-from-ollama.md", "docs/migrating-from-mistral-rs.md"]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(source_root, mistral, page):
    path = source_root / page
    text = path.read_text()
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if link and not (path.parent / link).exists()] == []
    settings = json.loads(subprocess.run([mistral, "config", "show", "--json"], capture_output=True, text=True,
                                         env=own_environment(), check=True).stdout)["settings"]
    known = json.dumps(settings)
    named = re.findall(r"`((?:server|model|inference|memory|metal|performance|quantization|resources|logging)\.\w+)", text)
    assert [name for name in named if name not in known] == []
    reference = (source_root / "docs/configuration.md").read_text() + (source_root / "stacks/mistral/.env.example").read_text()
    own = {"MISTRAL_RUN_AS"}
    variables = {*re.findall(r"`(MISTRAL_[A-Z_]+)`", text), *re.findall(r"`(OLLAMA_API_PORT)`", text)} - own
    assert [name for name in variables if name not in reference] == []


def inline_commands(text):
    """`mistral …` between backticks, without what stands for something."""
    return [found.split() for found in re.findall(r"`mistral ((?:[a-z])[^`]*)`", text.replace("\n", " "))]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_a_page_names_run(source_root, mistral, tmp_path, page):
    """Those that end by themselves; of the others, the subcommand and its options exist."""
    model = make_chat_model(tmp_path)
    stands_for = {"MODEL": str(model), "NAME": "m1-max"}
    environment = {**own_environment(), "HOME": str(tmp_path)}

    def run(*arguments):
        return subprocess.run([mistral, *arguments], capture_output=True, text=True, env=environment, timeout=120)

    commands = inline_commands((source_root / page).read_text())
    assert commands
    for words in commands:
        arguments = [stands_for.get(word, word) for word in words]
        is_name_alone = len(words) == 1 and words[0] != "list"
        if is_name_alone or words[0] not in ("list", "config", "check"):
            known = run(words[0], "--help")
            assert known.returncode == 0, words
            assert all(word in known.stdout for word in words[1:] if word.startswith("--")), words
        else:
            free = ["--port", "0", "--ollama-port", "0"] if words[0] == "check" else []
            done = run(*arguments, *free)
            assert done.returncode == 0, (words, done.stdout, done.stderr)


def test_the_benchmark_s_results_become_metrics_as_the_page_says(source_root, tmp_path):
    page = (source_root / "docs/monitoring.md").read_text().replace("\n", " ")
    assert "`textfile.py RESULTS.csv textfile/benchmark.prom`" in page
    (tmp_path / "RESULTS.csv").write_text("engine,model,scenario,tokens_per_second\nollama,m,s,10\n")
    (tmp_path / "textfile").mkdir()
    subprocess.run(["python3", source_root / "stacks/common/monitoring/textfile.py", "RESULTS.csv", "textfile/benchmark.prom"],
                   cwd=tmp_path, check=True)
    assert 'mistral_benchmark_tokens_per_second{engine="ollama"' in (tmp_path / "textfile/benchmark.prom").read_text()


def test_the_ceilings_are_bandwidth_over_bytes(source_root):
    """The table of docs/performance-tuning.md, computed again; its Apple and NVIDIA rows are those of the profiles."""
    page = (source_root / "docs/performance-tuning.md").read_text()
    bits = {"q4_k": 4.5, "q5_k": 5.5, "q6_k": 6.5625, "q8_0": 8.5, "f16": 16}
    rows = re.findall(r"^\| (DDR\S+, \d+ channels|[^|]*\(\d+ GB/s\)) \|(.*)\|$", page, re.MULTILINE)
    assert len(rows) == 8
    profiles = "".join(path.read_text() for path in (source_root / "profiles").iterdir())
    for name, cells in rows:
        channels = re.fullmatch(r"DDR\d-(\d+), (\d+) channels", name)
        bandwidth = int(channels[1]) * 8 * int(channels[2]) / 1000 if channels else float(re.search(r"(\d+) GB/s", name)[1])
        assert channels or f"{bandwidth:.1f} GB/s" in profiles, name
        assert [int(cell) for cell in cells.split("|")] == [round(bandwidth / (7.25 * b / 8)) for b in bits.values()], name


def test_the_usage_section_works_as_written(source_root, mistral, tmp_path, free_port):
    """In a copy, so that the tree stays as it is; the model and the ports are the test's."""
    for folder in ("stacks", "scripts"):
        shutil.copytree(source_root / folder, tmp_path / folder, ignore=shutil.ignore_patterns("data", ".env"))
    (tmp_path / "build").mkdir()
    (tmp_path / "build/mistral").symlink_to(mistral)
    make_chat_model(tmp_path)
    stack = tmp_path / "stacks/mistral"
    environment = {**own_environment(), "HOME": str(tmp_path), "MISTRAL_RUN_AS": "process"}
    commands = re.search(r"```bash\n(.*?)```", (stack / "README.md").read_text(), re.DOTALL).group(1).splitlines()
    assert len(commands) == 7
    try:
        for command in commands:
            done = subprocess.run(["bash", "-c", command], cwd=stack, env=environment, capture_output=True, text=True, timeout=120)
            if command.startswith("cp "):
                text = (stack / ".env").read_text()
                for name, value in (("MISTRAL_PORT", free_port), ("MISTRAL_MODELS_PATH", tmp_path), ("DEFAULT_MODEL", "nonsense"),
                                    ("MISTRAL_METAL_HEAP_SIZE", "4G"), ("MISTRAL_MEMORY_POOL_SIZE", "64M")):
                    text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
                    assert count == 1, name
                (stack / ".env").write_text(text + "OLLAMA_API_PORT=0\n")
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert "stopped: process" in done.stdout, "the last one stops it, however long the path of the program"
    finally:
        subprocess.run(["bash", "../../scripts/mistral-stop.sh"], cwd=stack, env=environment, capture_output=True)
