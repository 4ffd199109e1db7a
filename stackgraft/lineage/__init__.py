"""What made this, and what did it make: a record of each task's try, kept beside the artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stackgraft.errors import IncompatibleStackError
from stackgraft.lineage.record import LineageRecord, refs_in
from stackgraft.lineage.trace import Trace, revision

if TYPE_CHECKING:
    from stackgraft.components import ArtifactStore
    from stackgraft.lineage.log import LineageLog

__all__ = ["LineageRecord", "Trace", "log_of", "refs_in", "revision"]


def log_of(store: ArtifactStore) -> LineageLog:
    """Return the lineage log that lies in an artifact store.

    Raises:
        IncompatibleStackError: The store is another package's and has no objects to keep records in.
    """
    from stackgraft.artifacts.store import ObjectArtifactStore  # noqa: PLC0415 - loads a Rust library that parsing a DAG does not need
    from stackgraft.lineage.log import LineageLog  # noqa: PLC0415 - as above

    if not isinstance(store, ObjectArtifactStore):
        raise IncompatibleStackError(
            "The artifact store keeps no lineage", where=type(store).__name__, next_step="choose a store of stackgraft's"
        )
    return LineageLog(store.objects)
