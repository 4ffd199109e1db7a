"""Keeping a store: collect what nothing names, and check what is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from stackgraft.artifacts.content import Manifest
from stackgraft.artifacts.objects import SPARED, Objects
from stackgraft.artifacts.ref import ArtifactRef
from stackgraft.artifacts.versions import Series, folder_of, references
from stackgraft.errors import ArtifactError, BackendError

if TYPE_CHECKING:
    from obstore import ObjectMeta

_CAS = "cas/sha256"
_CLOCK_TOLERANCE = timedelta(minutes=5)
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class GcReport:
    """What a collection found.

    Attributes:
        kept: Objects that a version names, or that are young.
        deleted: Objects that nothing names; only counted in a dry run.
        bytes: How much the deleted ones held.
    """

    kept: int
    deleted: int
    bytes: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a check found.

    Attributes:
        versions: How many versions were read.
        chunks: How many different chunks and manifests were read.
        damaged: What is wrong: a line for each damaged or missing chunk, and the versions that need it.
    """

    versions: int
    chunks: int
    damaged: tuple[str, ...]


def collect(objects: Objects, *, dry_run: bool) -> GcReport:
    """Delete what no version names, but for what is younger than a day.

    Refs are listed before deletions, so that a version that is deleted meanwhile is seen as one or the other.

    Raises:
        BackendError: An object is from the storage's future, so its clock cannot be trusted; nothing was deleted.
    """
    now = objects.now()
    roots = {ref.digest.partition(":")[2] for ref in _refs(objects)}
    deleted = list(objects.walk("deleted"))
    roots |= {_leaf(found).partition(".")[0] for found in deleted if now - found["last_modified"] < SPARED}
    marked = _marked(objects, roots)
    garbage, kept = [], 0
    for found in objects.walk(_CAS):
        _check_clock(found, now - found["last_modified"], objects)
        if _leaf(found) in marked or now - found["last_modified"] < SPARED:
            kept += 1
        else:
            garbage.append(found)
    if not dry_run:
        forgotten = [found["path"] for found in deleted if now - found["last_modified"] >= SPARED]
        garbage = [found for found in garbage if not _renewed(found, objects)]
        for page in _pages([found["path"] for found in garbage] + forgotten):
            objects.delete(page)
    return GcReport(kept, len(garbage), sum(found["size"] for found in garbage))


def verify(objects: Objects) -> VerifyReport:
    """Read every version's manifest and chunks and compare them with their digests."""
    refs = list(_refs(objects))
    users: dict[tuple[str, int | None], list[str]] = {}
    damaged = []
    for ref in refs:
        try:
            manifest = _manifest(objects, ref.digest.partition(":")[2])
        except ArtifactError as error:
            damaged.append(f"{error.what}: {error.where}, needed by {ref}")
            continue
        users.setdefault((ref.digest.partition(":")[2], None), []).append(str(ref))
        for chunk in manifest.chunks:
            users.setdefault((chunk.digest, chunk.size), []).append(str(ref))

    def checked(item: tuple[tuple[str, int | None], list[str]]) -> str | None:
        (digest, size), needed_by = item
        try:
            if size is not None:
                objects.get_chunk(digest, size)
        except ArtifactError as error:
            return f"{error.what}: {error.where}, needed by {', '.join(needed_by)}"
        return None

    damaged += [found for found in objects.each(checked, users.items()) if found]
    return VerifyReport(len(refs), len(users), tuple(damaged))


def _refs(objects: Objects) -> Iterator[ArtifactRef]:
    contents = objects.each(lambda found: Series(objects, f"refs/{folder_of(found[0])}").read(found[1]), references(objects))
    return (ArtifactRef.from_json(json.loads(content)) for content in contents if content)


def _marked(objects: Objects, roots: Iterable[str]) -> set[str]:
    marked = set(roots)
    for manifest in objects.each(lambda root: _manifest(objects, root), sorted(marked)):
        marked |= {chunk.digest for chunk in manifest.chunks}
    return marked


def _manifest(objects: Objects, digest: str) -> Manifest:
    return Manifest.from_bytes(bytes(objects.get_chunk(digest)))


def _check_clock(found: ObjectMeta, age: timedelta, objects: Objects) -> None:
    if age < -_CLOCK_TOLERANCE:
        raise BackendError(
            "The storage's clock cannot be trusted",
            where=f"{found['path']} in {objects.place}",
            why=f"it was written {-age} after the storage's now",
            next_step="mend the clock; nothing was deleted",
        )


def _renewed(found: ObjectMeta, objects: Objects) -> bool:
    """Tell whether a writer has met the chunk since it was listed, and is about to name it."""
    return objects.modified(found["path"]) != found["last_modified"]


def _leaf(found: ObjectMeta) -> str:
    return found["path"].rpartition("/")[2]


def _pages(paths: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(paths), _PAGE):
        yield paths[start : start + _PAGE]
