"""Which artifacts there are: names, versions and tags, without their content."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from stackgraft.artifacts.content import Manifest
from stackgraft.artifacts.objects import Objects
from stackgraft.artifacts.ref import ArtifactRef, check_name
from stackgraft.artifacts.versions import Series, folder_of, name_of
from stackgraft.errors import ArtifactError, ArtifactNotFoundError, nearest


@dataclass(frozen=True, slots=True)
class Catalog:
    """The names, versions and tags of a store.

    Attributes:
        objects: Where they are.
    """

    objects: Objects

    def names(self) -> Sequence[str]:
        """Return the names of all artifacts, sorted."""
        return sorted(map(name_of, self.objects.folders("refs")))

    def versions(self, name: str) -> Sequence[int]:
        """Return the versions, oldest first."""
        return self._versions(name).numbers()

    def newest(self, name: str) -> ArtifactRef | None:
        """Return the newest version; None where there is none, or it was deleted."""
        series = self._versions(name)
        number = series.newest()
        return _parsed(series.read(number)) if number else None

    def find(self, name: str, version: int) -> ArtifactRef | None:
        """Return a version, or None."""
        return _parsed(self._versions(name).read(version)) if version else None

    def resolve(self, reference: str) -> ArtifactRef:
        """Return what ``name``, ``name@VERSION`` or ``name@TAG`` means now.

        Raises:
            ArtifactNotFoundError: There is none; the error names the nearest.
        """
        name, _, label = reference.partition("@")
        check_name(name)
        if label:
            version = int(label) if label.isdecimal() else self._tagged(name, label)
            found = self.find(name, version)
        else:  # where the newest was deleted, the one before it
            version = 0
            found = self.newest(name) or self.find(name, max(self.versions(name), default=0))
        if found is None:
            raise self._absent(name, version)
        return found

    def publish(self, name: str, digest: str, manifest: Manifest) -> ArtifactRef:
        """Let content be the artifact's next version, unless it is the newest already; however many others publish."""
        series = self._versions(name)
        while True:
            number = series.newest()
            held = _parsed(series.read(number)) if number else None
            if held is not None and held.digest == digest:
                return held
            ref = ArtifactRef(name=name, version=number + 1, digest=digest, type=manifest.type, size=manifest.size)
            if series.take(ref.version, json.dumps(ref.to_json()).encode()):
                return ref

    def delete(self, reference: ArtifactRef) -> None:
        """Let a version be no more; its number is never given again, and `gc` collects its bytes after a day."""
        self.objects.create(f"deleted/{reference.digest.partition(':')[2]}.{secrets.token_hex(8)}", b"")  # its age is that of this deletion
        self._versions(reference.name).empty(reference.version)

    def tag(self, reference: ArtifactRef, tag: str, *, instead_of: int | None) -> None:
        """Let ``name@TAG`` mean that version; see `ObjectArtifactStore.tag`."""
        if check_name(tag).isdecimal():
            raise ArtifactError("A tag cannot look like a version", where=f"tag {tag!r}")
        series, content = self._tags(reference.name, tag), str(reference.version).encode()
        while True:
            number = series.newest()
            found = int(series.read(number) or 0) if number else 0
            if instead_of not in {None, found}:
                why = f"it points to version {found}, not {instead_of}"
                raise ArtifactError("The tag was not moved", where=f"{reference.name}@{tag}", why=why)
            if found == reference.version or series.take(number + 1, content):
                return

    def _tagged(self, name: str, tag: str) -> int:
        series = self._tags(name, check_name(tag))
        number = series.newest()
        if not number:
            hint = nearest(tag, self.objects.folders(f"tags/{folder_of(name)}"))
            raise ArtifactNotFoundError("There is no such tag", where=f"{name}@{tag} in {self.objects.place}", next_step=hint)
        return int(series.read(number) or 0)

    def _absent(self, name: str, version: int) -> ArtifactNotFoundError:
        versions = self.versions(name)
        if versions and version:
            close = min(versions, key=lambda known: abs(known - version))
            return ArtifactNotFoundError("There is no such version", where=f"{name}@{version}", next_step=f"the nearest is {name}@{close}")
        where = f"{name} in {self.objects.place}"
        return ArtifactNotFoundError("There is no such artifact", where=where, next_step=nearest(name, self.names()))

    def _versions(self, name: str) -> Series:
        return Series(self.objects, f"refs/{folder_of(name)}")

    def _tags(self, name: str, tag: str) -> Series:
        return Series(self.objects, f"tags/{folder_of(name)}/{folder_of(tag)}")


def _parsed(content: bytes | None) -> ArtifactRef | None:
    return ArtifactRef.from_json(json.loads(content)) if content else None
