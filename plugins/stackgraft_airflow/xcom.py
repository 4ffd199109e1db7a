"""The XCom backend: what TaskFlow tasks return becomes artifacts, without a change to any DAG.

``[core] xcom_backend = stackgraft_airflow.xcom.ArtifactXComBackend`` turns it on. Small JSON stays in Airflow's database;
whatever is larger, or of a type that has a serializer of its own, goes to the stack's artifact store, and Airflow holds a
reference of some hundred bytes. A missing or damaged artifact fails the task that reads it.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk.bases.xcom import BaseXCom

from stackgraft.artifacts import ArtifactRef
from stackgraft.artifacts.passing import INLINE_BYTES, artifact_name, keep, restore
from stackgraft_airflow.compat import conf
from stackgraft_airflow.hook import SECTION, default_stack
from stackgraft_airflow.lineage import made, used


class ArtifactXComBackend(BaseXCom):
    """XComs as artifacts of the stack that ``[stackgraft] stack`` or ``stack_conn_id`` names, or else of the active one."""

    @staticmethod
    def serialize_value(
        value: Any,
        *,
        key: str | None = None,
        task_id: str | None = None,
        dag_id: str | None = None,
        run_id: str | None = None,
        map_index: int | None = None,
    ) -> Any:
        """Return what Airflow keeps: the value itself, or a reference to the artifact that it became."""
        parts = [part for part in (dag_id, task_id, key) if part and part != BaseXCom.XCOM_RETURN_KEY]
        limit = conf.getint(SECTION, "xcom_inline_bytes", fallback=INLINE_BYTES)
        kept = keep(value, artifact_name(*parts), _save, inline_bytes=limit)
        made(kept)
        where = {"key": key, "task_id": task_id, "dag_id": dag_id, "run_id": run_id, "map_index": map_index}
        return BaseXCom.serialize_value(kept, **where)  # type: ignore[arg-type]

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        """Return the value.

        Raises:
            ArtifactNotFoundError, ArtifactCorruptedError, UntrustedArtifactError: It cannot be had.
        """
        kept = BaseXCom.deserialize_value(result)
        used(kept)
        return restore(kept, _load)


def _save(name: str, value: object) -> ArtifactRef:
    return default_stack().artifact_store.save(name, value)  # the stack is looked for only where an artifact is met


def _load(ref: ArtifactRef) -> Any:
    return default_stack().artifact_store.load(ref)
