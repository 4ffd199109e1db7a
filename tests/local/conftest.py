"""Small real images, made by the real builder, and a look into them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stackgraft.local.oci_builder import OciImageBuilder
from stackgraft.local.oci_layout import OciLayoutRegistry
from stackgraft.local.process_deployer import ProcessDeployer
from stackgraft.outcomes import BuiltImage
from stackgraft.specs import BuildSpec, RemovalSpec
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


@dataclass
class Oci:
    """A builder with a registry and a project of its own, and a look into what it builds."""

    builder: OciImageBuilder
    registry: OciLayoutRegistry
    project: Path

    def build(self, **settings: Any) -> BuiltImage:
        return BuiltImage.model_validate(run(self.builder, self.spec(**settings)).unwrap())

    def spec(self, **settings: Any) -> BuildSpec:
        return BuildSpec.model_validate({"repository": "app", "context": self.project, **settings})

    def manifest(self, image: BuiltImage) -> dict[str, Any]:
        return dict(json.loads(self.registry.read_manifest("app", image.digest)))

    def config(self, image: BuiltImage) -> dict[str, Any]:
        with self.registry.open_blob("app", self.manifest(image)["config"]["digest"]) as config:
            return dict(json.load(config))

    def layers(self, image: BuiltImage) -> list[bytes]:
        """Return the tar streams of all layers, without compression."""
        layers = self.manifest(image)["layers"]
        return [self._content(layer["digest"], compressed=layer["mediaType"].endswith("+gzip")) for layer in layers]

    def files(self, image: BuiltImage) -> dict[str, tarfile.TarInfo]:
        """Return the entries of all layers by path."""
        found: dict[str, tarfile.TarInfo] = {}
        for layer in self.layers(image):
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                found |= {entry.name: entry for entry in tar}
        return found

    def _content(self, digest: str, *, compressed: bool) -> bytes:
        with self.registry.open_blob("app", digest) as blob:
            return gzip.decompress(blob.read()) if compressed else blob.read()


@pytest.fixture
def oci(tmp_path: Path) -> Oci:
    registry = OciLayoutRegistry(path=tmp_path / "registry")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "app.py").write_text("print('hi')\n")
    return Oci(OciImageBuilder(registry=registry.claim(), cache=tmp_path / "cache"), registry, tmp_path / "project")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of wheels that stands in for the package index and holds one small package."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny/__init__.py", "value = 42\n")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/entry_points.txt", "[console_scripts]\ntiny = tiny:value\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    return folder


@pytest.fixture
def deployer(tmp_path: Path, registry: OciLayoutRegistry) -> Iterator[ProcessDeployer]:
    deployer = ProcessDeployer(state=tmp_path / "state", registry=registry.claim())
    yield deployer
    run(deployer, RemovalSpec(service="web"))
