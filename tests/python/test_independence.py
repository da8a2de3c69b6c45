"""The same requests alone and in company give the same tokens and the same log-probabilities, bit for bit.

The work is in tests/tools/engine_workload.c; here are the models and seeds it runs with. One alone:

    build/tests/tools/engine_workload MODEL SEED COUNT
"""

import subprocess

import pytest
from make_model import make_model

MODELS = {
    "f32": {"format": "F32"},
    "q8_0": {"format": "Q8_0"},
    "window": {"format": "F32", "window": 40},
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_requests_do_not_depend_on_their_company(name, seed, build_dir, tmp_path):
    model = make_model(tmp_path / "model.gguf", **MODELS[name])
    run = subprocess.run(
        [build_dir / "tests" / "tools" / "engine_workload", model, str(seed), "200"], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
