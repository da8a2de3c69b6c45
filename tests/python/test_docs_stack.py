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
    assert len(commands) == 6
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
    finally:
        subprocess.run(["bash", "../../scripts/mistral-stop.sh"], cwd=stack, env=environment, capture_output=True)
