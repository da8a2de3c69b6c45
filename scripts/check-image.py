#!/usr/bin/env python3
"""Runs the steps of stacks/mistral/Dockerfile without a container engine, by hand, as root, on Debian:

    sudo apt-get install debootstrap; sudo scripts/check-image.py MODEL.gguf [FOLDER]

Each stage is a root made by debootstrap, in which the RUN steps run by chroot and to which the COPY steps copy. Then the
image's command is started as its USER, on a root that is mounted read-only where the kernel allows it, its health check is
asked, and the server is stopped by SIGTERM. FOLDER (default /tmp/mistral-image) keeps the roots; nothing else of the machine is changed.
What it cannot show: layers, Docker's own isolation, and the images of Docker Hub, of which debootstrap's is a close relative.
"""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
DOCKERFILE = SOURCE / "stacks/mistral/Dockerfile"


def instructions():
    """[(word, rest)], comments left out and continued lines joined."""
    text = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            word, rest = line.split(None, 1)
            yield word, rest


def say(text):
    print(f"== {text}", flush=True)


def ignored(folder, names):
    """What .dockerignore leaves out of the build context: patterns from its root, or anywhere with ** in front."""
    patterns = (SOURCE / ".dockerignore").read_text().split()
    paths = {name: str((Path(folder) / name).relative_to(SOURCE)) for name in names}
    return [name for name, path in paths.items() if any(
        fnmatch(name, pattern[3:]) if pattern.startswith("**/") else fnmatch(path, pattern) for pattern in patterns)]


class Stage:
    def __init__(self, folder, image, base):
        release = re.fullmatch(r"debian:(\w+)-slim", image)[1]
        self.root, self.directory, self.user, self.words = folder, "/", "0", {}
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                            "DEBIAN_FRONTEND": "noninteractive"}
        if not base.exists():
            say(f"debootstrap {release}")
            made = base.with_suffix(".part")
            shutil.rmtree(made, ignore_errors=True)
            subprocess.run(["debootstrap", "--variant=minbase", release, made], check=True, stdout=subprocess.DEVNULL)
            made.rename(base)
        if self.root.exists():
            shutil.rmtree(self.root)
        subprocess.run(["cp", "--archive", "--reflink=auto", base, self.root], check=True)
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")

    def command(self, words, *options):
        return ["env", "-i", *(f"{k}={v}" for k, v in self.environment.items()), "chroot", *options, str(self.root), *words]

    def run(self, script):
        say(f"RUN {script[:100]}")
        subprocess.run(self.command(["sh", "-c", f"cd {shlex.quote(self.directory)} && {script}"]), check=True,
                       stdout=subprocess.DEVNULL)

    def copy(self, source, target):
        say(f"COPY {source} {target}")
        destination = self.root / (target if target.startswith("/") else f"{self.directory}/{target}").lstrip("/")
        destination.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, destination, ignore=ignored, dirs_exist_ok=True, symlinks=True)
        else:
            shutil.copy2(source, destination)


def build(folder):
    stages, current = {}, None
    for word, rest in instructions():
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            name = name.strip() or "image"
            current = stages[name] = Stage(folder / name, image.strip(), folder / "debian")
        elif word == "RUN":
            current.run(rest)
        elif word == "WORKDIR":
            current.directory = rest
            (current.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            other = re.match(r"--from=(\w+) ", rest)
            source, target = rest.split()[-2:]
            current.copy(stages[other[1]].root / source.lstrip("/") if other else SOURCE / source, target)
        elif word == "ENV":
            current.environment.update(pair.split("=", 1) for pair in rest.split())
        elif word == "USER":
            current.user = rest
        elif word in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
            current.words[word] = re.findall(r'"([^"]*)"', rest[rest.index("["):])
        elif word not in ("EXPOSE", "VOLUME"):
            sys.exit(f"no such step here: {word}")
    return current


def serve(image, model):
    """The image's command, its health check, an answer, and a stop."""
    shutil.copy(model, image.root / "models" / model.name)
    image.environment.update(DEFAULT_MODEL=model.stem, MISTRAL_PORT="18080", OLLAMA_API_PORT="0",
                             MISTRAL_HOST="127.0.0.1", MISTRAL_MEMORY_POOL_SIZE="64M")
    user = f"--userspec={image.user}:{image.user}"
    mounted = subprocess.run(["mount", "--bind", image.root, image.root], capture_output=True).returncode == 0 and \
        subprocess.run(["mount", "-o", "remount,ro,bind", image.root], capture_output=True).returncode == 0
    say(f"{' '.join(image.words['ENTRYPOINT'] + image.words['CMD'])}, as {image.user}, root "
        f"{'read-only' if mounted else 'not read-only: it could not be mounted so'}")
    server = subprocess.Popen(image.command(image.words["ENTRYPOINT"] + image.words["CMD"], user), stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            healthy = subprocess.run(image.command(image.words["HEALTHCHECK"], user), capture_output=True, text=True)
            if healthy.returncode == 0:
                break
            if server.poll() is not None:
                sys.exit(f"it ended with {server.returncode}")
            time.sleep(0.5)
        else:
            sys.exit(f"not healthy: {healthy.stderr}")
        say(healthy.stdout.strip())
        uid = re.search(r"^Uid:\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text(), re.MULTILINE)[1]
        if uid != image.user:
            sys.exit(f"it runs as {uid}")
    finally:
        server.send_signal(signal.SIGTERM)
        ended = server.wait(60)
        if mounted:
            subprocess.run(["umount", image.root], check=True)
    say(f"stopped by SIGTERM: {ended}")
    return ended


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "/tmp/mistral-image")
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    image = build(folder)
    size = subprocess.run(["du", "-sm", image.root], capture_output=True, text=True, check=True).stdout.split()[0]
    say(f"built in {time.monotonic() - started:.0f} s; the image's root has {size} MB")
    sys.exit(serve(image, Path(sys.argv[1])))


if __name__ == "__main__":
    main()
