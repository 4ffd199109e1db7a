"""ZenML's materializer for data frames (parquet) on its local artifact store; no server, no step.

It compresses by gzip unless told otherwise; the goal is about snappy, which is the faster, so that is measured too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from timing import Operation, answer
from values import FEW_BYTES, checked, made
from zenml.artifact_stores.local_artifact_store import LocalArtifactStore, LocalArtifactStoreConfig
from zenml.enums import StackComponentType
from zenml.integrations.pandas.materializers import pandas_materializer


def _materializer(request: Mapping[str, Any], part: str = "frame") -> pandas_materializer.PandasMaterializer:
    folder = request["folder"]
    pandas_materializer.COMPRESSION_TYPE = request.get("compression", pandas_materializer.COMPRESSION_TYPE)
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
    uri = f"{folder}/{part}"
    Path(uri).mkdir(exist_ok=True)
    return pandas_materializer.PandasMaterializer(uri=uri, artifact_store=store)


def save(request: Mapping[str, Any]) -> Operation:
    """Keep a frame."""
    value, materializer = made(request), _materializer(request)
    _warm(request)
    return lambda: materializer.save(value)


def load(request: Mapping[str, Any]) -> Operation:
    """Return the frame, and the bytes that it took."""
    import pandas as pd  # noqa: PLC0415 - beside ZenML alone

    materializer, stored = _materializer(request), sum(path.stat().st_size for path in Path(request["folder"], "frame").rglob("*"))
    _warm(request)
    return lambda: checked(request, materializer.load(pd.DataFrame), stored)


def _warm(request: Mapping[str, Any]) -> None:
    """Save and load a few rows, so that what is imported on first use is not counted."""
    import pandas as pd  # noqa: PLC0415 - as above

    materializer = _materializer(request, "warm")
    materializer.save(made({**request, "bytes": FEW_BYTES}))
    materializer.load(pd.DataFrame)


if __name__ == "__main__":
    answer({"save": save, "load": load})
