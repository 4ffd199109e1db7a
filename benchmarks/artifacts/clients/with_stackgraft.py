"""The artifact store that all others are compared with: on the sink, on an S3 server, or in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timing import Operation, answer

from stackgraft.artifacts.content import Manifest
from stackgraft.artifacts.objects import Objects, chunk_key
from stackgraft.artifacts.ref import ArtifactRef
from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.aws.s3 import S3ArtifactStore
from stackgraft.local.filesystem_store import FilesystemArtifactStore

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]  # Python 3.12; a type alone


class SinkObjects(Objects):
    """The sink's objects. It serves a pattern, so each chunk is hashed as ever and the comparison's outcome is ignored."""

    def check(self, digest: str, found: str) -> None:
        """Let any bytes pass, once they are hashed."""

    def put_chunk(self, digest: str, content: Buffer, *, plain: bool = False) -> None:
        """Store a chunk; keep the manifest, the one that is stored plain, beside the cache, since the sink cannot give it back."""
        super().put_chunk(digest, content, plain=plain)
        if plain:
            _manifests[0].write_bytes(content)


class SinkStore(S3ArtifactStore):
    """A store on the sink, which ignores conditions and forgets contents; all else is the `s3` flavor unchanged."""

    @property
    def objects(self) -> Objects:
        """The sink's objects."""
        real = super().objects
        return SinkObjects(real.storage, real.place, real.workers, real.ordered, real.streamed, real.compress)

    def manifest(self, reference: ArtifactRef) -> Manifest:
        """Ask the sink for the manifest like any other chunk, and read the one that was kept."""
        super().objects.read(chunk_key(reference.digest.partition(":")[2]))
        return Manifest.from_bytes(_manifests[0].read_bytes())


_manifests: list[Path] = []
"""Where the sink's one manifest is kept: a list, since stores are frozen and take no further field."""


def _store(request: Mapping[str, Any]) -> ObjectArtifactStore:
    cache = Path(request["cache"])
    if "endpoint" not in request:
        store: ObjectArtifactStore = FilesystemArtifactStore(path=Path(request["folder"]), cache=cache)
    else:
        _manifests[:] = [cache.with_suffix(".manifest")]
        flavor = SinkStore if request["sink"] else S3ArtifactStore
        where = {"bucket": request["bucket"], "region": "us-east-1", "endpoint": request["endpoint"]}
        store = flavor(**where, prefix=request["key"], cache=cache, unchecked_writes=request["sink"])
    _ = store.objects  # opened before the clock starts, as the peers' clients are
    return store


def put(request: Mapping[str, Any]) -> Operation:
    """Save a file or folder."""
    store = _store(request)
    return lambda: store.save("bench", Path(request["source"])).to_json()


def get(request: Mapping[str, Any]) -> Operation:
    """Load a file or folder into the cache."""
    store, saved = _store(request), ArtifactRef.from_json(request["saved"])
    return lambda: str(store.load(saved))


def save(request: Mapping[str, Any]) -> Operation:
    """Save a value."""
    from values import made  # noqa: PLC0415 - so that files are moved without NumPy in memory

    store, value = _store(request), made(request)
    _warm(store, request)
    return lambda: store.save("bench", value).to_json()


def load(request: Mapping[str, Any]) -> Operation:
    """Load a value."""
    from values import checked  # noqa: PLC0415 - as above

    store, saved = _store(request), ArtifactRef.from_json(request["saved"])
    _warm(store, request)
    return lambda: checked(request, store.load(saved), saved.size)


def _warm(store: ObjectArtifactStore, request: Mapping[str, Any]) -> None:
    """Save and load a few bytes, so that what is imported on first use is not counted, as for the peers."""
    from values import FEW_BYTES, made  # noqa: PLC0415 - as above

    store.load(store.save("warm", made({**request, "bytes": FEW_BYTES})))


if __name__ == "__main__":
    answer({"put": put, "get": get, "put_many": put, "get_many": get, "save": save, "load": load})
