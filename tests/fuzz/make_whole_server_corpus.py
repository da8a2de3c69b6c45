"""Writes the seeds in corpus/server, and the model that fuzz_server.c serves, server.gguf: a request for each route, with
no allocation failing and with one.

Needs the gguf package (tests/requirements.txt). Run by hand when routes are added:
    PYTHONPATH=tests/tools:tests/python python tests/fuzz/make_whole_server_corpus.py
"""

from pathlib import Path

from make_model import make_model
from server_harness import make_request
from test_faults import REQUESTS, TEMPLATE

HERE = Path(__file__).parent
FOLDER = HERE / "corpus" / "server"


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    make_model(HERE / "server.gguf", layers=1, width=32, heads=2, kv_heads=1, head_dim=16, feed_forward=32,
               vocabulary=352, context=128, format="Q8_0", chat_template=TEMPLATE)
    for at, (name, method, path, body) in enumerate(REQUESTS):
        request = make_request(method, path, body, keep_alive=True)
        file_name = name.replace(" ", "-")
        (FOLDER / file_name).write_bytes(bytes(2) + request)
        (FOLDER / f"{file_name}-short").write_bytes((7 * at + 3).to_bytes(2, "little") + request)
    (FOLDER / "pull").write_bytes(bytes(2) + make_request("POST", "/api/pull", {"model": "x", "stream": False}))
    (FOLDER / "blob").write_bytes(bytes(2) + make_request("POST", "/api/blobs/sha256:" + "0" * 64, b"no such thing"))
    (FOLDER / "two").write_bytes(bytes(2) + 2 * make_request("GET", "/v1/models", keep_alive=True))


if __name__ == "__main__":
    main()
