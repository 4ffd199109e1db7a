"""Images that were changed or damaged where they lie are refused, and what tools leave out of an image is borne."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from stackgraft import oci
from stackgraft.errors import BackendError, SpecError
from stackgraft.local.base_image import find_base
from stackgraft.local.oci_layout import OciLayoutRegistry
from stackgraft.local.process_image import UnpackedImage, unpack
from stackgraft.specs import host_platform


@pytest.fixture
def layout(tmp_path: Path) -> OciLayoutRegistry:
    return OciLayoutRegistry(path=tmp_path / "registry")


def layer(**files: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"app/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return stream.getvalue()


def push(layout: OciLayoutRegistry, content: bytes, blob: bytes | None = None, **config: Any) -> str:
    """Store an image of one layer, whose stored blob may be another than its content's; return its reference."""
    compressed = gzip.compress(content) if blob is None else blob
    system, architecture = host_platform().split("/")
    rootfs = {"type": "layers", "diff_ids": [oci.digest_of(content)]}
    document = json.dumps({"os": system, "architecture": architecture, "config": config, "rootfs": rootfs}).encode()
    for written in (compressed, document):
        layout.write_blob("app", oci.digest_of(written), written)
    entries = [oci.descriptor(f"{oci.LAYER_TYPE}+gzip", oci.digest_of(compressed), len(compressed))]
    manifest = oci.manifest(oci.descriptor(oci.CONFIG_TYPE, oci.digest_of(document), len(document)), entries)
    return layout.reference("app", layout.write_manifest("app", manifest, tag="it"))


def unpacked(layout: OciLayoutRegistry, reference: str) -> UnpackedImage:
    return unpack(layout, reference, layout.path.parent / "state", layout.path.parent / "root")


def change_config(layout: OciLayoutRegistry, reference: str) -> None:
    manifest = json.loads(layout.read_manifest(*layout.locate(reference)))
    blob = layout.path / "app" / "blobs" / "sha256" / manifest["config"]["digest"][7:]
    blob.write_bytes(blob.read_bytes().replace(b"good", b"evil"))


def test_a_configuration_that_was_changed_is_refused(layout: OciLayoutRegistry) -> None:
    reference = push(layout, layer(a="x"), Cmd=["good"], WorkingDir="/app")
    assert unpacked(layout, reference).program((), {}).argv == ["good"]
    change_config(layout, reference)
    with pytest.raises(BackendError, match="does not match its digest"):
        unpacked(layout, reference)


def test_a_base_whose_configuration_was_changed_is_refused(layout: OciLayoutRegistry) -> None:
    reference = push(layout, layer(a="x"), Cmd=["good"])
    assert find_base(reference, host_platform(), lambda: layout).config["config"]["Cmd"] == ["good"]
    change_config(layout, reference)
    with pytest.raises(SpecError, match="does not match its digest"):
        find_base(reference, host_platform(), lambda: layout)


WHOLE = layer(a="x" * 100_000, b=hashlib.sha256().hexdigest())
FILE_BELOW_A_FILE = layer(a="x", **{"a/b/c": "x"})


@pytest.mark.parametrize(
    ("content", "blob"),
    [
        (WHOLE, gzip.compress(WHOLE)[:-20]),
        (WHOLE, gzip.compress(WHOLE)[:-8] + bytes(8)),
        (WHOLE, gzip.compress(WHOLE)[:200] + b"damaged" + gzip.compress(WHOLE)[207:]),
        (WHOLE, b"not gzip at all"),
        (WHOLE, b""),
        (WHOLE, gzip.compress(b"not a tar" * 200)),
        (WHOLE, gzip.compress(WHOLE[:700])),
        (WHOLE, gzip.compress(layer(a="another"))),
        (FILE_BELOW_A_FILE, gzip.compress(FILE_BELOW_A_FILE)),
    ],
    ids=["cut", "checksum", "changed", "no gzip", "empty", "no tar", "cut tar", "another layer", "a file below a file"],
)
def test_a_damaged_layer_is_a_backends_error_and_leaves_nothing(layout: OciLayoutRegistry, content: bytes, blob: bytes) -> None:
    with pytest.raises(BackendError, match="layer"):
        unpacked(layout, push(layout, content, blob, WorkingDir="/app"))
    assert list((layout.path.parent / "state" / "layers").iterdir()) == []


def test_what_tools_write_null_for_is_empty(layout: OciLayoutRegistry) -> None:
    image = unpacked(layout, push(layout, layer(a="x"), Entrypoint=None, Cmd=["good"], Env=None, Labels=None))
    assert image.program((), {}).argv == ["good"]


@pytest.mark.parametrize("workdir", ["/absent", "/app/a", "/etc"])
def test_an_image_whose_programs_start_where_it_has_no_folder_is_refused(layout: OciLayoutRegistry, workdir: str) -> None:
    with pytest.raises(SpecError, match="no such folder to start in"):
        unpacked(layout, push(layout, layer(a="x"), WorkingDir=workdir))


def test_a_workdir_that_is_a_link_out_of_the_image_is_refused(layout: OciLayoutRegistry, tmp_path: Path) -> None:
    image = unpacked(layout, push(layout, layer(a="x")))
    (image.files / "out").symlink_to(tmp_path)
    with pytest.raises(SpecError, match="no such folder to start in"):
        image.starting_in(PurePosixPath("/out"))


@pytest.mark.parametrize("workdir", ["/", "", "app", "//app", "/app/", "/app/..", "../.."])
def test_the_job_of_any_workdir_has_files_of_its_own(layout: OciLayoutRegistry, workdir: str) -> None:
    image = unpacked(layout, push(layout, layer(a="x"), WorkingDir=workdir, Cmd=["/app/a"]))
    program = image.program((), {})
    image.lay_out()
    own = Path(program.argv[0])
    assert own.is_relative_to(layout.path.parent / "root")
    own.write_text("changed")
    assert (image.files / "app" / "a").read_text() == "x"
    assert Path(program.cwd).is_dir()
