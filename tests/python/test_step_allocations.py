"""Nothing allocates in a step of the engine: tests/tools/step_allocations.c watches the allocator."""

import subprocess
import sys

import pytest
from make_model import make_model

MODELS = {"f32": {"format": "F32"}, "q8_0": {"format": "Q8_0"}}


@pytest.mark.release_only
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the linker's --wrap and the GNU C library's names")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", ["f16 tiled", "q8_0 tiled", "f32 plain"])
def test_no_step_allocates(name, form, build_dir, tmp_path):
    model = make_model(tmp_path / "model.gguf", **MODELS[name])
    watched = subprocess.run([build_dir / "tests" / "tools" / "step_allocations", model, *form.split()],
                             capture_output=True, text=True, timeout=300)
    assert watched.returncode == 0, watched.stdout + watched.stderr
