"""The artifact store over any object storage that obstore speaks to: flavors say only how to open it.

Layout, all objects immutable but tags::

    cas/sha256/ab/HEX            a chunk, or a manifest, named by its content
    refs/NAME/0000000001         a version: one create-only put is the publication
    tags/NAME/TAG                a movable name for a version

Readers see nothing before the ref. A crash leaves at most chunks that nothing names.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from pydantic import Field

from stackgraft.artifacts import serializers
from stackgraft.artifacts.content import FORMAT, Entry, manifest_of, read_pieces, read_tree, write_bytes, write_tree
from stackgraft.artifacts.ref import ArtifactRef, check_name
from stackgraft.components import Component
from stackgraft.errors import ArtifactCorruptedError, ArtifactError, ArtifactNotFoundError, BackendError, UntrustedArtifactError, nearest
from stackgraft.model import AnchoredPath

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class ObjectArtifactStore(Component):
    """Versioned, content-addressed artifacts in an object storage.

    Attributes:
        cache: Where files and folders are laid for reading, by digest.
        trust_pickle: Whether pickled artifacts of this store may be read, which runs their code.
    """

    role: ClassVar[str] = "artifact_store"
    cache: AnchoredPath = Field(
        default=Path("~/.cache/stackgraft/artifacts"), validate_default=True, description="Folder of the read cache."
    )
    trust_pickle: bool = Field(default=False, description="Whether pickled artifacts may be read.")

    def open(self) -> ObjectStore:
        """Return the object storage."""
        raise NotImplementedError

    def save(self, name: str, value: object, *, serializer: str | None = None) -> ArtifactRef:
        """Store a value as the artifact's next version; content equal to the newest version is that version."""
        check_name(name)
        kind, entries, meta = self._written(value, serializer)
        manifest = manifest_of(kind, entries, meta)
        digest = hashlib.sha256(manifest).hexdigest()
        self._put(digest, manifest)
        return self._published(name, f"sha256:{digest}", kind, sum(entry.size for entry in entries))

    def load(self, reference: ArtifactRef | str) -> Any:
        """Return the value, with every byte verified; a file or folder comes back as a path into the read-only cache."""
        found = self.resolve(reference) if isinstance(reference, str) else reference
        manifest = self._manifest(found)
        entries = [Entry.from_json(entry) for entry in manifest["entries"]]
        if found.type in {"file", "directory"}:
            return self._laid(found, entries, manifest["meta"])
        if found.type == serializers.PICKLE and not self.trust_pickle:
            raise UntrustedArtifactError(
                "Reading a pickled artifact would run its code",
                where=str(found),
                next_step="set trust_pickle = true on the store if you trust all who write to it",
            )
        content = b"".join(read_pieces(entries[0], self._get))
        return serializers.for_value(None, found.type).load(content, manifest["meta"])

    def resolve(self, reference: str) -> ArtifactRef:
        """Return the artifact that ``name``, ``name@VERSION`` or ``name@TAG`` means now."""
        name, _, label = reference.partition("@")
        check_name(name)
        if not label:
            versions = self.versions(name)
            if not versions:
                raise self._absent(name)
            return self._ref(name, versions[-1])
        return self._ref(name, int(label)) if label.isdecimal() else self._tagged(name, label)

    def versions(self, name: str) -> Sequence[int]:
        """Return the versions, oldest first."""
        return sorted(int(leaf) for leaf in self._list(f"refs/{check_name(name)}") if leaf.isdecimal())

    def tag(self, reference: ArtifactRef, tag: str) -> None:
        """Let ``name@TAG`` mean that version from now on."""
        if check_name(tag).isdecimal():
            raise ArtifactError("A tag cannot look like a version", where=f"tag {tag!r}")
        with _translated(f"tag {reference.name}@{tag}"):
            obstore.put(self._objects, f"tags/{reference.name}/{tag}", str(reference.version).encode())

    @property
    def _objects(self) -> ObjectStore:
        return _opened(self)

    def _written(self, value: object, serializer: str | None) -> tuple[str, list[Entry], dict[str, Any]]:
        if isinstance(value, Path) and serializer is None:
            if not value.exists():
                raise ArtifactError("There is no such file or folder", where=str(value))
            return "directory" if value.is_dir() else "file", write_tree(value, self._put), {} if value.is_dir() else {"name": value.name}
        chosen = serializers.for_value(value, serializer)
        content, meta = chosen.dump(value)
        return chosen.name, write_bytes(content, self._put), dict(meta)

    def _published(self, name: str, digest: str, kind: str, size: int) -> ArtifactRef:
        while True:
            versions = self.versions(name)
            if versions and (newest := self._ref(name, versions[-1])).digest == digest:
                return newest
            ref = ArtifactRef(name=name, version=versions[-1] + 1 if versions else 1, digest=digest, type=kind, size=size)
            try:
                with _translated(f"artifact {ref}"):
                    obstore.put(self._objects, _ref_key(name, ref.version), json.dumps(ref.to_json()).encode(), mode="create")
            except AlreadyExistsError:
                continue  # another writer took that version: read again and take the next
            return ref

    def _ref(self, name: str, version: int) -> ArtifactRef:
        try:
            return ArtifactRef.from_json(json.loads(self._read(_ref_key(name, version))))
        except FileNotFoundError:
            raise self._absent(name, version) from None

    def _tagged(self, name: str, tag: str) -> ArtifactRef:
        try:
            return self._ref(name, int(self._read(f"tags/{name}/{tag}")))
        except FileNotFoundError:
            hint = nearest(tag, self._list(f"tags/{name}"))
            raise ArtifactNotFoundError("There is no such tag", where=f"{name}@{tag} in {self.flavor} store", next_step=hint) from None

    def _absent(self, name: str, version: int | None = None) -> ArtifactNotFoundError:
        versions = self.versions(name)
        if versions and version is not None:
            close = min(versions, key=lambda known: abs(known - version))
            return ArtifactNotFoundError("There is no such version", where=f"{name}@{version}", next_step=f"the nearest is {name}@{close}")
        return ArtifactNotFoundError(
            "There is no such artifact", where=f"{name} in {self.flavor} store", next_step=nearest(name, self._list("refs"))
        )

    def _manifest(self, ref: ArtifactRef) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self._get(ref.digest.partition(":")[2]))
        if manifest["format"] > FORMAT:
            raise ArtifactError(
                "The artifact was written by a newer stackgraft", where=str(ref), next_step="pip install --upgrade stackgraft"
            )
        return manifest

    def _laid(self, ref: ArtifactRef, entries: Sequence[Entry], meta: dict[str, Any]) -> Path:
        folder = self.cache / ref.digest.partition(":")[2]
        if not folder.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.cache, prefix=".laying-") as draft:
                laid = Path(draft, "laid")
                laid.mkdir()
                read_tree(entries, laid / meta["name"] if meta else laid, lru_cache(maxsize=2)(self._get))
                _renamed(laid, folder)
        return folder / meta["name"] if meta else folder

    def _put(self, digest: str, content: bytes) -> None:
        with _translated(f"chunk sha256:{digest}"):
            try:
                obstore.put(self._objects, _chunk_key(digest), content, mode="create")
            except AlreadyExistsError:
                return  # content-addressed: what is there is what we would write

    def _get(self, digest: str) -> bytes:
        try:
            content = self._read(_chunk_key(digest))
        except FileNotFoundError:
            raise ArtifactCorruptedError("A chunk is missing", where=f"chunk sha256:{digest}") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise ArtifactCorruptedError("A chunk does not match its digest and was refused", where=f"chunk sha256:{digest}")
        return content

    def _read(self, key: str) -> bytes:
        with _translated(key):
            return bytes(obstore.get(self._objects, key).bytes())

    def _list(self, prefix: str) -> list[str]:
        with _translated(prefix):
            listing = obstore.list_with_delimiter(self._objects, prefix)
        paths = [*(item["path"] for item in listing["objects"]), *listing["common_prefixes"]]
        return [path.removeprefix(f"{prefix}/") for path in paths]


@lru_cache(maxsize=16)
def _opened(store: ObjectArtifactStore) -> ObjectStore:
    return store.open()


def _renamed(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not folder.exists():
            raise  # not another reader that was faster


def _ref_key(name: str, version: int) -> str:
    return f"refs/{name}/{version:010}"


def _chunk_key(digest: str) -> str:
    return f"cas/sha256/{digest[:2]}/{digest}"


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Translate obstore's errors in one place; what callers decide about passes through."""
    try:
        yield
    except (AlreadyExistsError, FileNotFoundError):
        raise
    except (BaseError, OSError) as refused:
        why = str(refused).splitlines()[0]
        raise BackendError("The artifact store refused", transient="timed out" in why, where=where, why=why) from refused
