"""A stand-in for Hugging Face: the model API, /resolve/ redirects to a second host, ranges, and faults on request."""

import hashlib
import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def model_bytes(size, seed=1):
    return random.Random(seed).randbytes(size)


class Repository:
    """Files by path, and how the server is to misbehave when asked for them."""

    def __init__(self, files):
        self.files = files
        self.sizes = {}  # path: the size the API announces instead of the true one
        self.checksums = {}  # path: the same for the SHA-256; None leaves it out
        self.listing = None  # raw bytes of the API's answer, in place of the true one
        self.api_answers = []  # (status, headers, body) given, in turn, before the API answers properly
        self.file_answers = []  # the same for the files
        self.cut_after = []  # bytes after which each transfer, in turn, is cut
        self.pause_after = None  # bytes after which a transfer stands still until `released` is set
        self.ignores_ranges = False
        self.wrong_range = False
        self.extra_bytes = b""  # sent behind the file
        self.redirect_to = None  # a Location in place of the second host's
        self.released = threading.Event()
        self.sent = 0  # bytes of files


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass  # a client that leaves is what some tests are about


class FakeHub:
    """Two servers: the hub itself, and the host that its redirects lead to."""

    def __init__(self):
        self.repositories = {}
        self.requests = []  # (host: "hub" or "cdn", path, headers)
        self.lock = threading.Lock()
        self.hub = self.start("hub")
        self.cdn = self.start("cdn")
        self.url = f"http://127.0.0.1:{self.hub.server_port}"

    def handler(self):
        return HubHandler

    def start(self, host):
        handler = type("Handler", (self.handler(),), {"fake": self, "host": host})
        server = QuietServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def close(self):
        for repository in self.repositories.values():
            repository.released.set()
        for server in (self.hub, self.cdn):
            server.shutdown()
            server.server_close()

    def add(self, name, files):
        self.repositories[name] = Repository(files)
        return self.repositories[name]

    def file_requests(self):
        return [headers for host, _, headers in self.requests if host == "cdn"]

    def ranges(self):
        return [headers.get("Range") for headers in self.file_requests()]


class HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        with self.fake.lock:
            self.fake.requests.append((self.host, self.path, dict(self.headers)))
        parts = path.strip("/").split("/")
        if self.host == "hub" and parts[:2] == ["api", "models"]:
            self.answer_api("/".join(parts[2:]))
        elif self.host == "hub" and parts[2:4] == ["resolve", "main"]:
            self.answer_resolve("/".join(parts[:2]), "/".join(parts[4:]))
        elif self.host == "cdn":
            self.send_file("/".join(parts[:2]), "/".join(parts[2:]))
        else:
            self.answer(404, {}, b"Not Found")

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_api(self, name):
        repository = self.fake.repositories.get(name)
        if repository is None:  # as the hub answers those without a token
            self.answer(401, {"X-Error-Code": "RepoNotFound"}, b'{"error":"Repository not found"}')
        elif repository.api_answers:
            self.answer(*repository.api_answers.pop(0))
        elif repository.listing is not None:
            self.answer(200, {"Content-Type": "application/json"}, repository.listing)
        else:
            siblings = [{"rfilename": ".gitattributes", "size": 3}, {"rfilename": "README.md", "size": 5}]
            for path, content in repository.files.items():
                size = repository.sizes.get(path, len(content))
                checksum = repository.checksums.get(path, hashlib.sha256(content).hexdigest())
                entry = {"rfilename": path, "size": size}
                if checksum is not None:
                    entry["lfs"] = {"sha256": checksum, "size": size, "pointerSize": 130}
                siblings.append(entry)
            body = json.dumps({"id": name, "sha": "0" * 40, "siblings": siblings}).encode()
            self.answer(200, {"Content-Type": "application/json"}, body)

    def answer_resolve(self, name, path):
        repository = self.fake.repositories.get(name)
        if repository is None or path not in repository.files:
            self.answer(404, {"X-Error-Code": "EntryNotFound"}, b"Entry not found")
        elif repository.file_answers:
            self.answer(*repository.file_answers.pop(0))
        else:
            location = repository.redirect_to or f"http://127.0.0.1:{self.fake.cdn.server_port}/{name}/{path}"
            self.answer(302, {"Location": location, "X-Linked-Size": "1"}, b"Found")

    def send_file(self, name, path):
        repository = self.fake.repositories[name]
        content = repository.files[path]
        start, end = 0, len(content)
        wanted = self.headers.get("Range")
        if wanted is not None and not repository.ignores_ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first)
            end = int(last) + 1 if last else end
            if start >= len(content):
                self.answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                return
            self.send_response(206)
            told = start + 1 if repository.wrong_range else start
            self.send_header("Content-Range", f"bytes {told}-{end - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:end] + repository.extra_bytes
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"etag"')
        self.end_headers()
        self.send_body(repository, body)

    def send_body(self, repository, body):
        with self.fake.lock:
            cut = repository.cut_after.pop(0) if repository.cut_after else None
        try:
            sent = 0
            while sent < len(body):
                if repository.pause_after is not None and sent >= repository.pause_after:
                    if not repository.released.wait(20):
                        return
                piece = body[sent : min(sent + 16384, cut or len(body))]
                self.wfile.write(piece)
                sent += len(piece)
                repository.sent += len(piece)
                if cut is not None and sent >= cut:
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
        except OSError:
            pass  # the client has gone, as some tests want
