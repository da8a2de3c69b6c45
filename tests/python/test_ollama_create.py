"""Creating, copying and deleting models and uploading their files: the `ollama` package and plain requests."""

import hashlib
import json
import os
import socket
import time

import ollama
import pytest
from make_model import make_model
from program import wait_until
from server_harness import RealServer
from test_model_stores import put_model


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    folder = home / ".local/share/mistral/models"
    folder.mkdir(parents=True)
    make_model(folder / "one.gguf", layers=1, format="Q8_0")
    make_model(folder / "two.gguf", layers=2, format="Q8_0")
    put_model(home / ".ollama/models", "registry.ollama.ai/library/foreign/latest", system="Foreign.",
              weights=(folder / "two.gguf").read_bytes())
    return home


@pytest.fixture(scope="module")
def server(mistral, home):
    server = RealServer(mistral, str(home / ".local/share/mistral/models/one.gguf"), home=home)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    return ollama.Client(server.base_url)


@pytest.fixture(scope="module")
def models(home):
    return home / ".local/share/mistral/models"


def blobs(models):
    return models / ".ollama/blobs"


def names(client):
    return {model.model for model in client.list().models}


def running(client):
    return {model.model for model in client.ps().models}


def create(server, **fields):
    return server.request("POST", "/api/create", {"stream": False, **fields})


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


# --- create ---


def test_a_model_is_made_of_another_one(client, server):
    statuses = [part.status for part in client.create(
        "tuned", from_="two", system="Be terse.", parameters={"num_predict": 3, "stop": "END"},
        messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
        template="{{ .Prompt }}", license=["MIT", "and more"], stream=True)]
    assert statuses[-2:] == ["writing manifest", "success"]
    assert any(status.startswith("creating new layer sha256:") for status in statuses)
    assert "tuned:latest" in names(client)
    shown = client.show("tuned")
    assert shown.template == "{{ .Prompt }}" and shown.license == "MIT\n\nand more"
    assert sorted(line.split() for line in shown.parameters.split("\n")) == [["num_predict", "3"], ["stop", '"END"']]
    assert 'SYSTEM """Be terse."""' in shown.modelfile and "MESSAGE user" in shown.modelfile
    raw = server.request("POST", "/api/show", {"model": "tuned"}).json
    assert raw["system"] == "Be terse." and [m["content"] for m in raw["messages"]] == ["hi", "ho"]
    assert client.generate("tuned", "x").eval_count <= 3
    again = client.create("Tuned:latest", from_="tuned", parameters={"num_predict": 2})
    assert again.status == "success" and client.generate("tuned", "x").eval_count <= 2
    shown = client.show("tuned")
    assert "stop" in shown.parameters and shown.license == "MIT\n\nand more"  # the base's own stay
    assert len([name for name in names(client) if name.lower() == "tuned:latest"]) == 1


def test_a_model_is_made_of_an_uploaded_file(client, server, models, tmp_path):
    make_model(tmp_path / "new.gguf", layers=1, format="Q8_0", seed=7)
    data = (tmp_path / "new.gguf").read_bytes()
    assert client.create_blob(tmp_path / "new.gguf") == digest(data)
    assert (blobs(models) / digest(data).replace(":", "-")).read_bytes() == data
    assert client.create("org/uploaded:v1", files={"new.gguf": digest(data)}).status == "success"
    assert "org/uploaded:v1" in names(client) and client.generate("org/uploaded:v1", "x").done
    client.delete("org/uploaded:v1")
    assert not (blobs(models) / digest(data).replace(":", "-")).exists()


def test_a_model_of_ollamas_store_may_be_the_base_and_stays_as_it_is(client, home):
    before = sorted((str(p), p.stat().st_mtime_ns) for p in (home / ".ollama").rglob("*"))
    assert client.create("mine", from_="foreign").status == "success"
    assert client.show("mine").modelfile.count("Foreign.") == 1
    assert client.generate("mine", "x", options={"num_predict": 1}).done
    client.delete("mine")
    assert sorted((str(p), p.stat().st_mtime_ns) for p in (home / ".ollama").rglob("*")) == before


@pytest.mark.parametrize("fields, status, words", [
    ({}, 400, "neither 'from' or 'files' was specified"),
    ({"from": "nowhere"}, 404, "pull it first"),
    ({"from": "two", "quantize": "q4_K_M"}, 400, "quantize is not supported"),
    ({"from": "two", "adapters": {"a": "sha256:" + "0" * 64}}, 400, "adapters are not supported"),
    ({"from": "two", "parameters": {"temperature": "hot"}}, 400, 'option "temperature" must be of type float32'),
    ({"from": "two", "parameters": []}, 200, None),
    ({"from": "two", "parameters": [1]}, 400, "parameters"),
    ({"from": "two", "messages": [{"role": "king", "content": "x"}]}, 400, "role"),
    ({"from": "two", "messages": "x"}, 400, "messages"),
    ({"from": "two", "license": 5}, 400, "license"),
    ({"from": 5}, 400, "from"),
    ({"files": {"a.gguf": "sha256:" + "0" * 64}}, 400, "was not uploaded"),
    ({"files": {"a.gguf": "sha256:../../x"}}, 400, "invalid digest"),
    ({"files": {"a": "sha256:" + "0" * 64, "b": "sha256:" + "1" * 64}}, 400, "just one"),
    ({"from": "two", "model": "../evil"}, 400, "invalid model name"),
    ({"from": "two", "model": "a b"}, 400, "invalid model name"),
    ({"from": "two", "model": "one"}, 400, "is the name of a file"),
])
def test_what_cannot_be_created(server, client, fields, status, words):
    answer = create(server, **{"model": "probe", **fields})
    assert answer.status == status, answer
    if words is None:
        client.delete("probe")
    else:
        assert words in answer.json["error"] and "probe:latest" not in names(client)


def test_an_uploaded_file_that_is_no_model(server, client, tmp_path):
    (tmp_path / "x").write_bytes(b"no model at all")
    answer = create(server, model="probe", files={"x.gguf": client.create_blob(tmp_path / "x")})
    assert answer.status == 400 and "no GGUF file" in answer.json["error"]


# --- copy and delete ---


def test_copy_and_delete(client, server, models):
    assert server.request("POST", "/api/copy", {"source": "two", "destination": "space/copy:1"}).body == b""
    assert "space/copy:1" in names(client)
    client.copy("space/copy:1", "copy-of-copy")
    assert client.generate("copy-of-copy", "x", options={"num_predict": 1}).done
    assert client.delete("space/copy:1").status == "success"
    assert names(client) & {"space/copy:1", "copy-of-copy:latest"} == {"copy-of-copy:latest"}
    answer = server.request("DELETE", "/api/delete", {"model": "copy-of-copy"})
    assert answer.status == 200 and answer.body == b""
    assert (models / "two.gguf").exists()
    for method, path, body in (("POST", "/api/copy", {"source": "none", "destination": "x"}),
                               ("DELETE", "/api/delete", {"name": "none"})):
        answer = server.request(method, path, body)
        assert answer.status == 404 and answer.json["error"] == "model 'none' not found"
    assert server.request("POST", "/api/copy", {"source": "two"}).json["error"] == "destination is required"
    assert server.request("POST", "/api/copy", {"source": "two", "destination": "a/../b"}).status == 400


def test_what_belongs_to_others_is_not_deleted(client, server, home):
    answer = server.request("DELETE", "/api/delete", {"model": "foreign"})
    assert answer.status == 400 and "belongs to Ollama" in answer.json["error"] and "ollama rm" in answer.json["error"]
    assert "foreign:latest" in names(client)


def test_deleting_a_loaded_model_unloads_it(client, models):
    make_model(models / "gone.gguf", layers=1, format="Q8_0", seed=3)
    client.generate("gone", "x", keep_alive=-1, options={"num_predict": 1})
    assert "gone" in running(client)
    client.delete("gone")
    wait_until(lambda: "gone" not in running(client))
    assert "gone" not in names(client) and not (models / "gone.gguf").exists()
    with pytest.raises(ollama.ResponseError, match="not found"):
        client.generate("gone", "x")


def test_a_file_that_others_are_made_of_outlives_its_name(client, models):
    make_model(models / "base.gguf", layers=1, format="Q8_0", seed=4)
    client.copy("base", "derived")
    assert len([p for p in blobs(models).iterdir() if p.is_symlink()]) >= 1
    client.delete("base")
    assert not (models / "base.gguf").exists() and "base" not in names(client)
    assert client.generate("derived", "x", options={"num_predict": 1}).done
    client.delete("derived")
    assert names(client) & {"base", "derived:latest"} == set()


# --- blobs ---


def test_a_blob_is_there_or_not(server):
    data = os.urandom(3_000_000)
    path = f"/api/blobs/{digest(data)}"
    assert server.request("HEAD", path).status == 404
    assert server.request("POST", path, data).status == 201
    assert server.request("HEAD", path).status == 200
    assert server.request("POST", path, data).status == 200  # it is there already
    for bad in ("sha256:xyz", "md5:" + "0" * 64, "sha256:" + "A" * 64, "..%2f..%2fx"):
        assert server.request("HEAD", f"/api/blobs/{bad}").status == 400
        assert server.request("POST", f"/api/blobs/{bad}", b"x").status == 400
    assert server.request("GET", path).status == 405


def test_a_blob_larger_than_a_body_may_be_and_in_chunks(server, models):
    data = os.urandom(1 << 20) * 40
    head = f"POST /api/blobs/{digest(data)} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n" \
           "Connection: close\r\n\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (1 << 20, data[i:i + (1 << 20)]) for i in range(0, len(data), 1 << 20))
    assert b" 201 " in server.exchange(head.encode() + chunks + b"0\r\n\r\n").split(b"\r\n")[0]
    assert (blobs(models) / digest(data).replace(":", "-")).read_bytes() == data


def test_a_blob_that_is_not_what_it_says(server, models):
    before = set(os.listdir(blobs(models)))
    answer = server.request("POST", f"/api/blobs/{digest(b'right')}", b"wrong")
    assert answer.status == 400 and "digest mismatch" in answer.json["error"]
    answer = server.request("POST", f"/api/blobs/{digest(b'empty')}", b"")
    assert answer.status == 400
    assert set(os.listdir(blobs(models))) == before
    assert server.request("POST", f"/api/blobs/{digest(b'')}", b"").status == 201


def test_a_client_that_leaves_leaves_nothing(server, models):
    before = set(os.listdir(blobs(models)))
    data = os.urandom(2_000_000)
    with server.connect() as connection:
        connection.sendall(b"POST /api/blobs/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n%s"
                           % (digest(data).encode(), data))
        wait_until(lambda: any(name.startswith("upload-") for name in os.listdir(blobs(models))))
    wait_until(lambda: set(os.listdir(blobs(models))) == before)


def test_a_file_that_does_not_fit_is_refused_before_it_comes(server, models):
    with server.connect() as connection:
        connection.sendall(b"POST /api/blobs/sha256:%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                           % (b"0" * 64, (1 << 40) - 1))
        answer = connection.recv(65536)
    assert b" 507 " in answer.split(b"\r\n")[0] and b"GiB free" in answer
    head = b"POST /api/blobs/sha256:%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    assert b" 413 " in server.exchange(head % (b"0" * 64, 1 << 50))
    wait_until(lambda: not any(name.startswith("upload-") for name in os.listdir(blobs(models))))


def test_only_so_many_uploads_at_once(server):
    connections = []
    for i in range(5):
        connection = socket.create_connection(("127.0.0.1", server.port), 30)
        name = hashlib.sha256(bytes([i])).hexdigest().encode()
        connection.sendall(b"POST /api/blobs/sha256:%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
                           % name)
        connections.append(connection)
        time.sleep(0.05)
    assert b" 503 " in connections[-1].recv(65536)
    for connection in connections:
        connection.close()
    wait_until(lambda: server.request("POST", f"/api/blobs/{digest(b'now')}", b"now").status in (200, 201))


# --- what a kill leaves behind ---


def test_what_a_killed_server_had_half_received_is_swept_away(mistral, tmp_path):
    folder = tmp_path / ".local/share/mistral/models"
    folder.mkdir(parents=True)
    make_model(folder / "one.gguf", layers=1, format="Q8_0")
    server = RealServer(mistral, str(folder / "one.gguf"), home=tmp_path)
    connection = server.connect()
    connection.sendall(b"POST /api/blobs/sha256:%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n%s"
                       % (b"0" * 64, b"x" * 400_000))
    wait_until(lambda: blobs(folder).is_dir() and os.listdir(blobs(folder)))
    server.process.kill()
    server.stop(expected=-9)
    connection.close()
    left = os.listdir(blobs(folder))
    assert len(left) == 1
    server = RealServer(mistral, str(folder / "one.gguf"), home=tmp_path)
    try:
        assert server.request("POST", f"/api/blobs/{digest(b'a')}", b"a").status == 201
        assert os.listdir(blobs(folder)) == [digest(b"a").replace(":", "-")]
        listed = json.loads(server.request("GET", "/api/tags").body)["models"]
        assert [model["name"] for model in listed] == ["one"]
    finally:
        server.stop()
