"""Numbered, create-only objects: how versions appear, how tags move, and how many writers agree on the next number.

The newest lies first: its key counts down, so that one page of a listing finds it however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stackgraft.artifacts.objects import Objects

if TYPE_CHECKING:
    from obstore import ObjectMeta

_LAST = 9_999_999_999
_SLASH = "!"
"""Stands for a slash in a name, so that every name is one folder."""


def folder_of(name: str) -> str:
    """Return the folder of an artifact's or tag's name."""
    return name.replace("/", _SLASH)


def name_of(folder: str) -> str:
    """Return the name that `folder_of` was given."""
    return folder.replace(_SLASH, "/")


@dataclass(frozen=True, slots=True)
class Series:
    """The numbers 1, 2, 3 and so on below a prefix; a number is taken by one create-only put and never given twice.

    Attributes:
        objects: Where they are.
        prefix: What their keys begin with.
    """

    objects: Objects
    prefix: str

    def newest(self) -> int:
        """Return the highest number that was taken, or 0."""
        found = self.objects.first(self.prefix)
        return _number(found) if found else 0

    def numbers(self) -> Sequence[int]:
        """Return the numbers that hold something, lowest first."""
        return sorted(_number(found) for found in self.objects.walk(self.prefix) if found["size"])

    def read(self, number: int) -> bytes | None:
        """Return what a number holds; None where it was never taken, or was emptied."""
        try:
            return bytes(self.objects.read(self._key(number))) or None
        except FileNotFoundError:
            return None

    def take(self, number: int, content: bytes) -> bool:
        """Take a number; tell whether nobody was faster."""
        return self.objects.create(self._key(number), content)

    def empty(self, number: int) -> None:
        """Let a number hold nothing from now on; it stays taken."""
        self.objects.replace(self._key(number), b"")

    def _key(self, number: int) -> str:
        return f"{self.prefix}/{_LAST - number:010}"


def references(objects: Objects) -> Iterator[tuple[str, int]]:
    """Yield the name and number of each version that holds something, in any order."""
    for found in objects.walk("refs"):
        if found["size"]:
            yield name_of(found["path"].split("/")[1]), _number(found)


def _number(found: ObjectMeta) -> int:
    return _LAST - int(found["path"].rpartition("/")[2])
