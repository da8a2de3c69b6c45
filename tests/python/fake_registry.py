"""A stand-in for Ollama's registry: manifests, blobs that redirect to a second host, and tokens."""

import hashlib
import json
from urllib.parse import parse_qs, unquote, urlsplit

from fake_hub import FakeHub, HubHandler

TYPE = "application/vnd.ollama.image."


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class FakeRegistry(FakeHub):
    """Misbehaviour of transfers is that of fake_hub.Repository, one for each model."""

    def __init__(self):
        self.token = None  # that it asks for
        self.realm = None  # in place of its own
        self.token_requests = []
        super().__init__()

    def handler(self):
        return RegistryHandler

    def add(self, name, tag, weights, texts=None, config=None, **changes):
        """A model of these layers; `changes` replace members of its manifest."""
        repository = self.repositories.get(name) or super().add(name, {})
        layers = []
        for kind, data in {"model": weights, **(texts or {})}.items():
            data = data.encode() if isinstance(data, str) else data
            repository.files[digest(data)] = data
            layers.append({"mediaType": TYPE + kind, "digest": digest(data), "size": len(data)})
        config = config or b'{"model_format":"gguf"}'
        repository.files[digest(config)] = config
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                    "config": {"mediaType": "application/vnd.docker.container.image.v1+json",
                               "digest": digest(config), "size": len(config)}, "layers": layers, **changes}
        if not hasattr(repository, "manifests"):
            repository.manifests = {}
        repository.manifests[tag] = json.dumps(manifest).encode()
        return repository


class RegistryHandler(HubHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        path = unquote(url.path)
        with self.fake.lock:
            self.fake.requests.append((self.host, self.path, dict(self.headers)))
        parts = path.strip("/").split("/")
        name = "/".join(parts[1:-2])
        if self.host == "cdn":
            self.send_file("/".join(parts[:-1]), parts[-1])
        elif path == "/token":
            self.fake.token_requests.append(parse_qs(url.query))
            self.answer(200, {"Content-Type": "application/json"}, json.dumps({"token": self.fake.token}).encode())
        elif self.fake.token and self.headers.get("Authorization") != f"Bearer {self.fake.token}":
            realm = self.fake.realm or f"{self.fake.url}/token"
            challenge = f'Bearer realm="{realm}",service="registry",scope="repository:{name}:pull"'
            self.answer(401, {"WWW-Authenticate": challenge}, b'{"errors":[{"code":"UNAUTHORIZED"}]}')
        elif parts[0] == "v2" and parts[-2] == "manifests":
            self.answer_manifest(name, parts[-1])
        elif parts[0] == "v2" and parts[-2] == "blobs":
            self.answer_blob(name, parts[-1])
        else:
            self.answer(404, {}, b"404 page not found")

    def answer_manifest(self, name, tag):
        repository = self.fake.repositories.get(name)
        if repository is not None and repository.api_answers:
            self.answer(*repository.api_answers.pop(0))
        elif repository is None or tag not in repository.manifests:
            self.answer(404, {}, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        else:
            self.answer(200, {"Content-Type": "application/json"}, repository.manifests[tag])

    def answer_blob(self, name, blob):
        repository = self.fake.repositories.get(name)
        if repository is None or blob not in repository.files:
            self.answer(404, {}, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}')
        elif repository.file_answers:
            self.answer(*repository.file_answers.pop(0))
        else:
            location = f"http://127.0.0.1:{self.fake.cdn.server_port}/{name}/{blob}"
            self.answer(307, {"Location": location}, b"")
