"""The same requests alone and in company give the same tokens and the same log-probabilities, bit for bit.

The work is in tests/tools/engine_workload.c; here are the models and seeds it runs with. One alone:

    build/tests/tools/engine_workload MODEL SEED COUNT [f16|q8_0|f32 [tiled|plain]]
"""

import subprocess
from pathlib import Path

import pytest
from make_model import make_model

MODELS = {
    "f32": {"format": "F32"},
    "q8_0": {"format": "Q8_0"},
    "window": {"format": "F32", "window": 40},
}

ARCHITECTURES = Path(__file__).parents[1] / "golden" / "architectures"
NAMES = sorted(path.stem for path in ARCHITECTURES.glob("*.gguf"))
# Latent keys, keys of other layers and experts: what the sanitizers have not seen in the models above.
UNLIKE_OTHERS = ["deepseek2", "gemma4-e", "gpt-oss"]

FORMS = [(element, form) for element in ("f16", "q8_0", "f32") for form in ("tiled", "plain")]


def run_workload(build_dir, folder, name, seed, count, element="f16", form="tiled"):
    return run_on(build_dir, make_model(folder / "model.gguf", **MODELS[name]), seed, count, element, form)


def run_on(build_dir, model, seed, count, element="f16", form="tiled"):
    workload = build_dir / "tests" / "tools" / "engine_workload"
    run = subprocess.run([workload, model, str(seed), str(count), element, form], capture_output=True, text=True,
                         timeout=900)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    return run.stdout


@pytest.mark.release_only
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("name, seed, element, form", [
    ("f32", 1, "f16", "tiled"), ("q8_0", 2, "q8_0", "tiled"), ("window", 3, "f32", "plain")])
def test_requests_do_not_depend_on_their_company(name, seed, element, form, build_dir, tmp_path):
    told = run_workload(build_dir, tmp_path, name, seed, 200, element, form)
    if name != "window":  # with one, sequences hold too little to get into each other's way
        few = [line for line in told.splitlines() if line.startswith("few blocks")]
        assert len(few) == 2 and not any(" 0 preemptions" in line for line in few), told


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("name", MODELS)
def test_a_few_requests_do_not_depend_on_their_company(name, build_dir, tmp_path):
    run_workload(build_dir, tmp_path, name, 4, 24)


@pytest.mark.release_only
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("element, form", FORMS)
def test_no_kind_of_cache_or_attention_makes_requests_depend_on_their_company(element, form, build_dir, tmp_path):
    run_workload(build_dir, tmp_path, "window", 5, 24, element, form)


@pytest.mark.release_only
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("name", NAMES)
def test_no_architecture_makes_requests_depend_on_their_company(name, build_dir):
    run_on(build_dir, ARCHITECTURES / f"{name}.gguf", 6, 16)


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("name", UNLIKE_OTHERS)
def test_a_few_requests_of_unusual_architectures_do_not_depend_on_their_company(name, build_dir):
    run_on(build_dir, ARCHITECTURES / f"{name}.gguf", 7, 6, "q8_0", "plain")
