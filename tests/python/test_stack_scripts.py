"""The stack as it is started: scripts/mistral-*.sh with the engine as a process, nginx in front, and what can
be checked of the container files without a container engine."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import yaml
from program import make_chat_model
from server_harness import chat, own_environment

pytestmark = pytest.mark.release_only


@pytest.fixture
def stack(mistral, source_root, tmp_path, free_port):
    """run(script, ...) with the committed stack, but a model, port and state of the test's own."""
    make_chat_model(tmp_path)
    (tmp_path / "env").write_text(
        f"MISTRAL_PORT={free_port} # of the test\nOLLAMA_API_PORT=0\nMISTRAL_MODELS_PATH={tmp_path}\n"
        "DEFAULT_MODEL=nonsense\nMISTRAL_API_KEY=sesame\nMISTRAL_MAX_SEQ_LEN=1024\nMISTRAL_MEMORY_POOL_SIZE=64M\n"
        "MISTRAL_METAL_HEAP_SIZE=4G\nMISTRAL_NUM_THREADS=1\n")
    environment = {**own_environment(), "HOME": str(tmp_path), "MISTRAL_PROGRAM": str(mistral),
                   "MISTRAL_ENV_FILE": str(tmp_path / "env"), "MISTRAL_STATE_FOLDER": str(tmp_path / "run"),
                   "MISTRAL_RUN_AS": "process"}

    def run(name, *arguments, **changed):
        return subprocess.run(["bash", source_root / "scripts" / f"mistral-{name}.sh", *arguments], timeout=120,
                              env={**environment, **changed}, cwd=tmp_path, capture_output=True, text=True)

    run.folder, run.port = tmp_path, free_port
    yield run
    run("stop")


def test_start_status_test_stop(stack):
    assert stack("status").returncode == 1
    started = stack("start", "--no-monitoring")
    assert started.returncode == 0, started.stderr
    assert f"healthy: http://127.0.0.1:{stack.port}" in started.stdout
    assert "already running" in stack("start").stdout
    status = stack("status")
    assert status.returncode == 0 and "process: " in status.stdout
    tested = stack("test")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert tested.stdout.count("ok  ") == 6 and "0 failed" in tested.stdout
    wrong = stack("test", MISTRAL_API_KEY="wrong")
    assert wrong.returncode == 5, "all but health ask for the key"
    pid = int((stack.folder / "run/mistral.pid").read_text())
    assert "stopped" in stack("stop").stdout
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "not running" in stack("stop").stdout
    assert stack("status").returncode == 1
    assert stack("test").returncode == 1


def test_what_cannot_start_says_why(stack, tmp_path):
    environment = stack.folder / "env"
    environment.write_text(environment.read_text() + "MISTRAL_MAX_BATCH_SIZE=many\n")
    started = stack("start", "--no-monitoring")
    assert started.returncode == 1
    assert "many" in started.stderr and "mistral.log" in started.stderr
    assert "cp " in stack("start", MISTRAL_ENV_FILE=str(tmp_path / "none")).stderr
    assert "launchd, compose and process" in stack("start", MISTRAL_RUN_AS="magic").stderr


def test_a_stale_pid_file_is_nobody(stack):
    (stack.folder / "run").mkdir()
    (stack.folder / "run/mistral.pid").write_text(f"{os.getpid()}\n")
    assert "not running" in stack("stop").stdout
    os.kill(os.getpid(), 0)


@pytest.fixture
def docker(build_dir, source_root, tmp_path):
    """A stand-in for docker without an engine: it answers as one that runs would, after the real Docker Compose has
    read the files of the call. Its folder, and a function that gives the calls so far."""
    folder, calls = tmp_path / "docker-bin", tmp_path / "calls"
    folder.mkdir()
    program = folder / "docker"
    program.write_text(f"""#!{sys.executable}
import json, subprocess, sys
arguments = sys.argv[1:]
if arguments[0] == "info" or arguments[:2] == ["compose", "version"]:
    sys.exit(0)
at = next(i for i, word in enumerate(arguments) if word in ("up", "down", "exec", "port", "ps"))
read = subprocess.run([{str(source_root / "build/venv/bin/docker-compose")!r}, *arguments[1:at], "config", "--format", "json"],
                      capture_output=True, text=True)
if read.returncode != 0:
    sys.exit(read.stderr)
with open({str(calls)!r}, "a") as file:
    file.write(json.dumps([arguments[at:], json.loads(read.stdout)]) + "\\n")
if arguments[at] == "port":
    print("127.0.0.1:18080")
""")
    program.chmod(0o755)
    return folder, lambda: [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []


def test_with_docker_the_engine_and_its_monitoring_are_containers(stack, docker):
    folder, calls = docker
    changed = {"MISTRAL_RUN_AS": "", "PATH": f"{folder}:{os.environ['PATH']}", "MISTRAL_PROGRAM": "/none"}
    started = stack("start", **changed)
    assert started.returncode == 0, started.stderr
    assert "engine: compose" in started.stdout and "healthy: http://127.0.0.1:18080" in started.stdout
    engine, monitoring = (next(files for command, files in calls() if command[0] == "up" and files["name"] == name)
                          for name in ("mistral", "mistral-monitoring"))
    environment = engine["services"]["mistral"]["environment"]
    assert environment["DEFAULT_MODEL"] == "nonsense"
    assert environment["MISTRAL_ALLOWED_HOSTS"].split(",")[:2] == ["mistral", "host.docker.internal"]
    prometheus = monitoring["services"]["prometheus"]
    assert "mistral" in prometheus["networks"] and monitoring["networks"]["mistral"]["external"] is True
    assert engine["networks"]["default"]["name"] == monitoring["networks"]["mistral"]["name"] == "mistral"
    targets = next(v["source"] for v in prometheus["volumes"] if v["target"] == "/etc/prometheus/targets")
    assert yaml.safe_load(open(f"{targets}/mistral.yml"))[0]["targets"] == ["mistral:8080"]
    assert stack("stop", **changed).returncode == 0
    assert [files["name"] for command, files in calls() if command[0] == "down"] == ["mistral-monitoring", "mistral"]


def test_a_process_is_scraped_on_its_host(stack, docker):
    folder, calls = docker
    with open(stack.folder / "env", "a") as settings:
        settings.write("MISTRAL_ALLOWED_HOSTS=chat.example, chat.other.example\n")
    started = stack("start", PATH=f"{folder}:{os.environ['PATH']}")
    assert started.returncode == 0, started.stderr
    assert "monitoring: Prometheus" in started.stdout and "MISTRAL_HOST" in started.stdout
    (up,) = [files for command, files in calls() if command[0] == "up"]
    assert "mistral" not in up["networks"]
    written = yaml.safe_load((stack.folder / "run/targets/mistral.yml").read_text())
    assert written[0]["targets"] == [f"host.docker.internal:{stack.port}"]
    for host, status in (("host.docker.internal", 200), ("chat.example", 200), ("evil.example", 403)):
        asked = urllib.request.Request(f"http://127.0.0.1:{stack.port}/metrics",
                                       headers={"Host": f"{host}:{stack.port}", "X-Api-Key": "sesame"})
        try:
            got = urllib.request.urlopen(asked, timeout=20).status
        except urllib.error.HTTPError as refusal:
            got = refusal.code
        assert got == status, host


NEWER_THAN_BASH_3_2 = {
    "case of letters": r"\$\{\w+(,|\^)", "transformations": r"\$\{\w+(\[[^]]*\])?@[A-Za-z]\}",
    "mapfile": r"\b(mapfile|readarray)\b", "maps": r"(declare|local|typeset) -\w*[Ang]", "append of both": r"&>>",
    "pipe of both": r"\|&", "wait for any": r"wait -n", "time by printf": r"printf '%\(", "coprocesses": r"\bcoproc\b",
    "falling through": r";;?&", "is set": r"\[\[ -v", "globstar": r"globstar", "negative index": r"\$\{\w+\[-\d",
    "newer variables": r"\$\{?(EPOCH\w+|BASHPID|SRANDOM)", "numbered descriptors": r"exec \{\w+\}",
}


def test_scripts_are_clean_and_know_bash_3(source_root):
    scripts = sorted(source_root.glob("scripts/**/*.sh")) + sorted(source_root.glob("stacks/**/*.sh"))
    assert len(scripts) >= 12
    checked = subprocess.run(["shellcheck", "-x", *scripts], cwd=source_root, capture_output=True, text=True,
                             env={**os.environ, "PATH": f"{source_root}/build/venv/bin:{os.environ['PATH']}"})
    assert checked.returncode == 0, checked.stdout
    for script in scripts:
        text = "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in script.read_text().splitlines())
        found = {name for name, pattern in NEWER_THAN_BASH_3_2.items() if re.search(pattern, text)}
        assert not found, script


@pytest.fixture
def nginx(source_root, stack, tmp_path):
    """The committed nginx configuration with the test's ports and a certificate of its own."""
    assert stack("start", "--no-monitoring").returncode == 0
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "tls.key", "-out", "tls.crt",
                    "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   cwd=tmp_path, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = (source_root / "stacks/common/nginx/mistral.conf").read_text()
    for old, new in (("127.0.0.1:8080", f"127.0.0.1:{stack.port}"), ("listen 443", f"listen 127.0.0.1:{port}"),
                     ("mistral.example", "localhost"), ("/etc/nginx/tls/mistral", f"{tmp_path}/tls")):
        assert old in text
        text = text.replace(old, new)
    folders = "".join(f"{name}_temp_path {tmp_path}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off; {folders}\n{text}\n}}\n")
    process = subprocess.Popen(["nginx", "-c", tmp_path / "nginx.conf"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (tmp_path / "nginx.pid").exists():
        assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "error.log").read_text()
        time.sleep(0.05)
    yield f"https://localhost:{port}", ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    process.send_signal(signal.SIGQUIT)
    process.wait(30)


def test_nginx_passes_a_stream_on_as_it_is_written(nginx):
    url, context = nginx
    body = json.dumps(chat("go on", max_tokens=900, stream=True, ignore_eos=True)).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body,
                                     {"Content-Type": "application/json", "Authorization": "Bearer sesame"})
    times = []
    with urllib.request.urlopen(request, context=context, timeout=60) as answer:
        for line in answer:
            if line.startswith(b"data: "):
                times.append(time.monotonic())
    assert len(times) > 100
    spread = times[-1] - times[0]
    assert spread > 0 and times[len(times) // 2] < times[-1], "the pieces came one after the other"
    assert len({round(t, 3) for t in times}) > 10, "not all at once, as a buffer would give them"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/metrics", context=context, timeout=30)


def compose(source_root, *files, **environment):
    """What Docker Compose itself makes of the files. It needs no engine for that."""
    read = subprocess.run(
        [source_root / "build/venv/bin/docker-compose", *(f"--file={file}" for file in files), "config", "--format", "json"],
        capture_output=True, text=True, env={**own_environment(), **environment})
    assert read.returncode == 0, read.stderr
    return json.loads(read.stdout)


def test_containers_are_hardened_and_checked(source_root):
    folder = source_root / "stacks/mistral"
    example = {"MISTRAL_ENV_FILE": str(folder / ".env.example")}
    plain = compose(source_root, folder / "docker-compose.yml", **example)
    nvidia = compose(source_root, folder / "docker-compose.yml", folder / "docker-compose.nvidia.yml", **example)
    for file in (plain, nvidia):
        service = file["services"]["mistral"]
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["healthcheck"]["test"] == ["CMD", "mistral", "health"]
        assert all(port["host_ip"] == "127.0.0.1" for port in service["ports"]) and len(service["ports"]) == 2
        assert int(service["deploy"]["resources"]["limits"]["memory"]) == 64 << 30
        build = service["build"]
        assert build["context"] == str(source_root) and (source_root / build["dockerfile"]).is_file()
    assert nvidia["services"]["mistral"]["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
    changed = compose(source_root, folder / "docker-compose.yml", **example, MISTRAL_MEMORY_LIMIT="8G", MISTRAL_PORT="9")
    assert int(changed["services"]["mistral"]["deploy"]["resources"]["limits"]["memory"]) == 8 << 30
    assert changed["services"]["mistral"]["ports"][0]["published"] == "9"
    asked = set(re.findall(r"\$\{(\w+)", (folder / "docker-compose.yml").read_text())) - set(example)
    told = set(re.findall(r"^#?(\w+)=", (folder / ".env.example").read_text(), re.MULTILINE))
    assert asked <= told, "every variable of the compose file is in .env.example"


def test_monitoring_s_containers_are_read_by_compose(source_root):
    folder = source_root / "stacks/common/monitoring"
    for files in (["docker-compose.yml"], ["docker-compose.yml", "docker-compose.engine.yml"]):
        read = compose(source_root, *(folder / file for file in files), MISTRAL_API_KEY="")
        assert set(read["services"]) == {"prometheus", "alertmanager", "grafana", "node-exporter"}
        for service in read["services"].values():
            assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))
            assert "no-new-privileges:true" in service["security_opt"]
            for volume in service["volumes"]:
                if volume["type"] == "bind":
                    assert volume["read_only"] is True and os.path.exists(volume["source"]), volume


def test_the_image_is_linted_and_runs_as_nobody(source_root):
    dockerfile = source_root / "stacks/mistral/Dockerfile"
    text = dockerfile.read_text()
    assert re.search(r"^USER 10001$", text, re.MULTILINE) and "HEALTHCHECK" in text
    linted = subprocess.run([source_root / "build/venv/bin/hadolint", dockerfile], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


def test_the_image_installs_what_the_build_and_the_program_need(source_root, mistral):
    """Each package that scripts/lib.sh names for a build, and the package of each library the program loads."""
    dockerfile = (source_root / "stacks/mistral/Dockerfile").read_text()
    build, run = dockerfile.split("FROM debian:bookworm-slim\n")
    table = re.search(r"needs_to_build\(\) \{\n.*?TABLE'\n(.*?)\nTABLE", (source_root / "scripts/lib.sh").read_text(), re.DOTALL)
    needed = {package for row in table.group(1).splitlines() for package in row.split("|")[1].split()}
    assert needed <= set(build.split())
    if not shutil.which("dpkg"):
        return
    libraries = re.findall(r"NEEDED.*\[(.*?)\]", subprocess.run(["readelf", "-d", mistral], capture_output=True, text=True).stdout)
    assert len(libraries) > 5
    listed = subprocess.run(["dpkg", "-S", *(f"*/{name}" for name in libraries)], capture_output=True, text=True).stdout
    packages = {line.split(":")[0] for line in listed.splitlines()} - {"libc6", "libc6-i386", "libc6-amd64-cross", "libc6-x32"}
    assert {p for p in packages if not p.endswith("-dev") and "cross" not in p} <= set(run.split()), "see dpkg -S"


def test_the_systemd_unit_lets_the_server_enter_its_sandbox(source_root):
    """Its filter kills for what it does not name, and systemd 252's groups name neither Landlock's calls nor seccomp."""
    text = (source_root / "stacks/mistral/systemd/mistral.service").read_text()
    allowed = re.findall(r"^SystemCallFilter=(?!~)(.*)$", text, re.MULTILINE)
    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"} <= set(" ".join(allowed).split())


def test_the_systemd_unit_is_sound(source_root, tmp_path, mistral):
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd here")
    text = (source_root / "stacks/mistral/systemd/mistral.service").read_text()
    unit = tmp_path / "mistral.service"
    unit.write_text(text.replace("/usr/local/bin/mistral", str(mistral)))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert "mistral.service" not in verified.stderr, verified.stderr
    rated = subprocess.run(["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True)
    level = float(re.search(r"Overall exposure level for mistral.service: ([\d.]+)", rated.stdout).group(1))
    assert level <= 2.0, rated.stdout
