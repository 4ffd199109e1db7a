"""The ``oci-layout`` registry: one OCI image layout folder for each repository, which ``skopeo`` and others read."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from pydantic import Field

from stackgraft.components import Component
from stackgraft.errors import BackendError, SpecError
from stackgraft.model import AnchoredPath
from stackgraft.oci import INDEX_TYPE, MANIFEST_TYPE, blobs_of, descriptor, digest_of, is_digest
from stackgraft.specs import check_repository, split_reference

_TAG = "org.opencontainers.image.ref.name"
_TAG_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LAYOUT = {"blobs", "index.json", "oci-layout"}
"""What every layout's folder holds, so that no repository below another may be called so."""
_EMPTY_INDEX: dict[str, Any] = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}


class OciLayoutRegistry(Component):
    """A registry in a folder, safe for concurrent writers on one machine.

    Attributes:
        path: The folder; each repository is an OCI image layout below it.
    """

    role: ClassVar[str] = "container_registry"
    flavor: ClassVar[str] = "oci-layout"
    provides: ClassVar[frozenset[str]] = frozenset({"folder"})
    path: AnchoredPath = Field(default=Path(".stackgraft/registry"), validate_default=True, description="Folder of the registry.")

    def reference(self, repository: str, digest: str) -> str:
        """Return ``repository@sha256:…``."""
        return f"{check_repository(repository)}@{_checked(digest)}"

    def locate(self, reference: str) -> tuple[str, str]:
        """Split a pinned reference into repository and digest."""
        return split_reference(reference)

    def resolve(self, repository: str, tag: str) -> str | None:
        """Return the digest that the tag names now, or None."""
        named = [entry for entry in self._index(repository)["manifests"] if _tag_of(entry) == tag]
        return str(named[0]["digest"]) if named else None

    def tags(self, repository: str) -> Sequence[str]:
        """Return the repository's tags, sorted."""
        return sorted(tag for entry in self._index(repository)["manifests"] if (tag := _tag_of(entry)))

    def tag(self, repository: str, digest: str, tag: str) -> None:
        """Let the tag name that digest from now on."""
        with self._changing(repository) as index:
            index["manifests"] = _entered(index["manifests"], self.read_manifest(repository, digest), tag)

    def delete(self, repository: str, digest: str) -> None:
        """Remove the manifest and all its tags; blobs that others may share stay."""
        if not self.has_blob(repository, digest):
            return
        with self._changing(repository) as index:
            index["manifests"] = [entry for entry in index["manifests"] if entry["digest"] != digest]
            self._blob(repository, digest).unlink(missing_ok=True)

    def read_manifest(self, repository: str, digest: str) -> bytes:
        """Return the manifest's bytes, checked against the digest."""
        with self.open_blob(repository, digest) as blob:
            content = blob.read()
        if digest_of(content) != digest:
            raise BackendError(
                "A stored manifest is damaged", where=str(self._blob(repository, digest)), next_step="delete it and build again"
            )
        return content

    def write_manifest(self, repository: str, manifest: bytes, *, tag: str | None = None) -> str:
        """Store a manifest whose blobs are all there, name it by the tag, and return its digest."""
        digest = digest_of(manifest)
        with self._changing(repository) as index:
            missing = [blob["digest"] for blob in blobs_of(json.loads(manifest)) if not self.has_blob(repository, blob["digest"])]
            if missing:
                raise BackendError("A manifest names blobs that are not there", where=f"{repository}: {', '.join(missing)}")
            self.write_blob(repository, digest, manifest)
            index["manifests"] = _entered(index["manifests"], manifest, tag)
        return digest

    def has_blob(self, repository: str, digest: str) -> bool:
        """Tell whether the blob is there."""
        return self._blob(repository, digest).is_file()

    def write_blob(self, repository: str, digest: str, content: Path | bytes) -> None:
        """Store a blob, refusing content that does not match the digest."""
        target = self._blob(repository, digest)
        if target.exists():
            return
        with self._storing(repository), tempfile.NamedTemporaryFile(dir=target.parent, prefix=".upload-", delete=False) as upload:
            try:
                self._copy(content, upload, digest)
                Path(upload.name).chmod(0o644)
                Path(upload.name).replace(target)
            finally:
                Path(upload.name).unlink(missing_ok=True)

    def open_blob(self, repository: str, digest: str) -> BinaryIO:
        """Open a blob for reading."""
        try:
            return self._blob(repository, digest).open("rb")
        except FileNotFoundError as absent:
            raise BackendError("There is no such blob", where=f"{repository}@{digest} in {self.path}") from absent
        except OSError as unreadable:
            raise _unreadable(unreadable) from unreadable

    def _copy(self, content: Path | bytes, upload: Any, digest: str) -> None:
        found = hashlib.sha256()
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source:
            while chunk := source.read(1 << 20):
                found.update(chunk)
                upload.write(chunk)
        if f"sha256:{found.hexdigest()}" != digest:
            raise BackendError("The content does not match its digest", where=digest, why=f"it has sha256:{found.hexdigest()}")
        upload.flush()

    def _index(self, repository: str) -> dict[str, Any]:
        file = self._folder(repository) / "index.json"
        try:
            index: dict[str, Any] = json.loads(file.read_bytes())
            for entry in index["manifests"]:
                _checked(entry["digest"])
        except FileNotFoundError:
            return {**_EMPTY_INDEX}
        except OSError as unreadable:
            raise _unreadable(unreadable) from unreadable
        except (ValueError, LookupError, TypeError, SpecError) as broken:
            advice = "restore it, or delete the repository's folder and build again"
            raise BackendError("A repository's index is broken", where=str(file), why=str(broken), next_step=advice) from broken
        return index

    @contextmanager
    def _changing(self, repository: str) -> Iterator[dict[str, Any]]:
        """Read the index under the repository's lock, let the caller change it, and replace it in one step."""
        with self._storing(repository) as folder, (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            index = self._index(repository)
            yield index
            draft = folder / ".index.json"
            draft.write_text(json.dumps(index, sort_keys=True))
            draft.replace(folder / "index.json")

    @contextmanager
    def _storing(self, repository: str) -> Iterator[Path]:
        folder = self._folder(repository)
        try:
            (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            if not (folder / "oci-layout").exists():
                (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
            yield folder
        except OSError as refused:
            free = shutil.disk_usage(self.path if self.path.exists() else "/").free
            raise BackendError(
                "The registry's folder cannot be written", where=str(folder), why=f"{refused.strerror}; {free >> 20} MiB are free"
            ) from refused

    def _folder(self, repository: str) -> Path:
        if reserved := _LAYOUT.intersection(repository.split("/")):
            raise SpecError(
                "No repository of a layout may be called so",
                where=f"repository {repository!r}",
                why=f"{reserved.pop()!r} is a file of the layout",
            )
        return self.path / check_repository(repository)

    def _blob(self, repository: str, digest: str) -> Path:
        return self._folder(repository) / "blobs" / "sha256" / _checked(digest).partition(":")[2]


def _unreadable(refused: OSError) -> BackendError:
    advice = "let this user read it, or correct the registry's path"
    return BackendError("The registry cannot be read", where=str(refused.filename), why=refused.strerror or "", next_step=advice)


def _checked(digest: str) -> str:
    if not is_digest(digest):
        raise SpecError("That is not a digest", where=repr(digest), next_step="pass sha256: and 64 hexadecimal digits")
    return digest


def _entered(entries: list[dict[str, Any]], manifest: bytes, tag: str | None) -> list[dict[str, Any]]:
    """Return an index's entries with a manifest under a tag, or without one where it has none yet."""
    digest, media_type = digest_of(manifest), json.loads(manifest).get("mediaType", MANIFEST_TYPE)
    entry = descriptor(media_type, digest, len(manifest))
    if tag is None:
        return entries if any(other["digest"] == digest for other in entries) else [*entries, entry]
    if not _TAG_NAME.fullmatch(tag):
        raise SpecError("No registry takes a tag of that name", where=f"tag {tag!r}", next_step="use letters, digits, _ . and -")
    others = [other for other in entries if _tag_of(other) != tag and (_tag_of(other) or other["digest"] != digest)]
    return [*others, {**entry, "annotations": {_TAG: tag}}]


def _tag_of(entry: dict[str, Any]) -> str | None:
    tag: str | None = entry.get("annotations", {}).get(_TAG)
    return tag
