"""Results as artifacts: a serializer that keeps a reference in Prefect's record, and a storage for the records.

``PREFECT_RESULTS_DEFAULT_SERIALIZER=artifact`` and ``PREFECT_RESULTS_PERSIST_BY_DEFAULT=true`` turn it on; flows that do not
import this package need ``PREFECT_PLUGINS_ENABLED=true``, by which Prefect finds it. Prefect's record is then some hundred bytes, whatever storage it lies in, and nothing is pickled.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from prefect._internal.compatibility.async_dispatch import async_dispatch
from prefect.context import FlowRunContext, TaskRunContext
from prefect.filesystems import WritableFileSystem
from prefect.serializers import Serializer
from pydantic import Field

from stackgraft.artifacts import ArtifactRef
from stackgraft.artifacts.passing import artifact_name, keep, restore
from stackgraft_prefect.blocks import StackBlock, StackgraftBlock
from stackgraft_prefect.lineage import found, made
from stackgraft_prefect.runs import resolve

if TYPE_CHECKING:
    from stackgraft.artifacts.objects import Objects
    from stackgraft.artifacts.store import ObjectArtifactStore


class ArtifactSerializer(Serializer):  # its generic form would be registered, too, without a name
    """Keeps small JSON as it is and makes everything else an artifact of the stack's store.

    Attributes:
        stack: The stack's name; None takes the active one.
    """

    type: str = Field(default="artifact", frozen=True)
    stack: str | None = None

    def dumps(self, obj: Any) -> bytes:
        """Return the value's JSON, or the reference to the artifact that it became.

        Raises:
            ArtifactError: No serializer takes the value.
        """
        stack = resolve(self.stack)
        kept = keep(obj, _name(), stack.artifact_store.save)
        made(kept, stack, str(obj) if isinstance(obj, BaseException) else None)
        return json.dumps(kept).encode()

    def loads(self, blob: bytes) -> Any:
        """Return the value.

        Raises:
            ArtifactNotFoundError, ArtifactCorruptedError, UntrustedArtifactError: It cannot be had.
        """
        kept = json.loads(blob)
        found(kept)
        return restore(kept, self._load)

    def _load(self, ref: ArtifactRef) -> Any:
        return resolve(self.stack).artifact_store.load(ref)  # the stack is looked for only where an artifact is met


class ArtifactResultStorage(StackgraftBlock, WritableFileSystem):
    """Prefect's result records, beside the artifacts that they refer to.

    Example:
        ```python
        from stackgraft_prefect import ArtifactResultStorage

        storage = ArtifactResultStorage.load("BLOCK_NAME")
        ```
    """

    stack: StackBlock | str | None = Field(default=None, description="The stack whose artifact store is used; empty takes the active one.")

    async def aread_path(self, path: str) -> bytes:
        """Return a record."""
        return await asyncio.to_thread(self._read, path)

    @async_dispatch(aread_path)
    def read_path(self, path: str) -> bytes:  # type: ignore[override] # async_dispatch
        """Return a record.

        Raises:
            FileNotFoundError: There is none, which Prefect takes as a miss.
        """
        return self._read(path)

    async def awrite_path(self, path: str, content: bytes) -> None:
        """Store a record."""
        await asyncio.to_thread(self._write, path, content)

    @async_dispatch(awrite_path)
    def write_path(self, path: str, content: bytes) -> None:  # type: ignore[override] # async_dispatch
        """Store a record, in place of what was there."""
        self._write(path, content)

    def exists(self, path: str) -> bool:
        """Tell whether there is a record, without reading it."""
        return self._objects().modified(self._key(path)) is not None

    def _read(self, path: str) -> bytes:
        return bytes(self._objects().read(self._key(path)))

    def _write(self, path: str, content: bytes) -> None:
        self._objects().replace(self._key(path), content)

    def _objects(self) -> Objects:
        return cast("ObjectArtifactStore", resolve(self.stack).artifact_store).objects

    @staticmethod
    def _key(path: str) -> str:
        return f"prefect/{PurePosixPath(path.lstrip('/'))}"


def _name() -> str:
    flow, run = FlowRunContext.get(), TaskRunContext.get()
    parts = [flow.flow.name if flow and flow.flow else "", run.task.name if run else "result"]
    return artifact_name(*filter(None, parts))
