"""llama.cpp's models/ folder: vocabularies with strings and ids, and the chat templates of many models.

It lies in the source distribution of llama-cpp-python on PyPI and nowhere smaller. The first run
fetches it (76 MB) and keeps models/ in build/test-data/ for every later one; several test processes
may ask at once. A test file that uses it should allow for the download:

    pytestmark = pytest.mark.timeout(900)
"""

import fcntl
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "llama-cpp-python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
MODELS = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/models/"


def download(scratch):
    """Fetches the distribution with pip into the folder, and returns its checked path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE, "--dest", str(scratch),
               f"{PACKAGE}=={VERSION}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)} failed:\n{result.stdout}\n{result.stderr}"
    (archive,) = scratch.glob("*.tar.gz")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256, f"{archive.name} is not the one we know"
    return archive


def unpack(archive, folder):
    """Writes the regular files below models/ into the folder."""
    with tarfile.open(archive) as members:
        for member in members:
            name = member.name.removeprefix(MODELS)
            if member.isfile() and name != member.name and ".." not in name:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(members.extractfile(member).read())


def models_folder(source_root):
    """The folder with ggml-vocab-*.gguf and templates/, fetched if it is not there yet."""
    data = source_root / "build" / "test-data"
    folder = data / f"llama.cpp-models-{VERSION}"
    data.mkdir(parents=True, exist_ok=True)
    with open(data / "llama.cpp-models.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=data) as scratch:
                unpacked = Path(scratch) / "models"
                unpacked.mkdir()
                unpack(download(Path(scratch)), unpacked)
                unpacked.rename(folder)  # all of it or none
    return folder
