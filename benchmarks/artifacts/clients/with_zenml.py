"""ZenML's materializer for data frames (parquet, snappy) on its local artifact store; no server, no step."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from timing import Operation, answer
from values import checked, made
from zenml.artifact_stores.local_artifact_store import LocalArtifactStore, LocalArtifactStoreConfig
from zenml.enums import StackComponentType
from zenml.integrations.pandas.materializers.pandas_materializer import PandasMaterializer


def _materializer(request: Mapping[str, Any]) -> PandasMaterializer:
    folder = request["folder"]
    now = datetime.now(UTC)
    store = LocalArtifactStore(
        name="local",
        id=uuid4(),
        config=LocalArtifactStoreConfig(path=folder),
        flavor="local",
        type=StackComponentType.ARTIFACT_STORE,
        user=None,
        created=now,
        updated=now,
    )  # fmt: skip - one call
    uri = f"{folder}/frame"
    Path(uri).mkdir(exist_ok=True)
    return PandasMaterializer(uri=uri, artifact_store=store)


def save(request: Mapping[str, Any]) -> Operation:
    """Keep a frame."""
    value, materializer = made(request), _materializer(request)
    return lambda: materializer.save(value)


def load(request: Mapping[str, Any]) -> Operation:
    """Return the frame, and the bytes that it took."""
    import pandas as pd  # noqa: PLC0415 - beside ZenML alone

    materializer, stored = _materializer(request), sum(path.stat().st_size for path in Path(request["folder"], "frame").rglob("*"))
    return lambda: checked(request, materializer.load(pd.DataFrame), stored)


if __name__ == "__main__":
    answer({"save": save, "load": load})
