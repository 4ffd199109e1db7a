"""Small real images for the process flavors, made by the real builder."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from stackgraft.local.oci_builder import OciImageBuilder
from stackgraft.local.oci_layout import OciLayoutRegistry
from stackgraft.outcomes import BuiltImage
from stackgraft.specs import BuildSpec
from stackgraft.testing import run

SERVICE = """
import http.server, os, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/slow"):
            time.sleep(1.0)
        self.answer({answer!r}.encode() if self.path != "/health" else b"ok")

    def do_POST(self):
        size = int(self.headers.get("Content-Length", 0))
        self.answer(str(len(self.rfile.read(size))).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        print("asked for", self.path, flush=True)

http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> OciLayoutRegistry:
    return OciLayoutRegistry(path=tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="session")
def make_image(registry: OciLayoutRegistry, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return a function that builds an image of some files and gives its reference."""
    builder = OciImageBuilder(registry=registry.claim(), cache=tmp_path_factory.mktemp("layers"))

    def make(files: dict[str, str], **settings: object) -> str:
        context = tmp_path_factory.mktemp("project")
        for name, text in files.items():
            (context / name).write_text(textwrap.dedent(text))
        spec = BuildSpec.model_validate({"repository": "app", "context": context, **settings})
        return BuiltImage.model_validate(run(builder, spec).unwrap()).reference

    return make


@pytest.fixture(scope="session")
def image(make_image: Callable[..., str]) -> str:
    return make_image({"here.txt": "here\n"})


@pytest.fixture(scope="session")
def images(make_image: Callable[..., str]) -> list[str]:
    return [
        make_image({"serve.py": SERVICE.replace("{answer!r}", repr(answer))}, command=("python", "serve.py")) for answer in ("one", "two")
    ]


@pytest.fixture(scope="session")
def broken_image(make_image: Callable[..., str]) -> str:
    return make_image({"serve.py": "raise SystemExit('no model to serve')"}, command=("python", "serve.py"))
