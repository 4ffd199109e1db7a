"""Metaflow's own content-addressed store on its local storage: SHA-1 and gzip, over the pickle that its task datastore makes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaflow.datastore.content_addressed_store import ContentAddressedStore
from metaflow.plugins.datastores.local_storage import LocalStorage
from timing import Operation, answer
from values import checked, made

PROTOCOL = 4
"""As in metaflow.datastore.task_datastore."""


def _store(request: Mapping[str, Any]) -> ContentAddressedStore:
    return ContentAddressedStore("data", LocalStorage(request["folder"]))


def save(request: Mapping[str, Any]) -> Operation:
    """Keep a value."""
    value, store = made(request), _store(request)

    def kept() -> str:
        [saved] = store.save_blobs(iter([pickle.dumps(value, protocol=PROTOCOL)]))
        return str(saved.key)

    return kept


def load(request: Mapping[str, Any]) -> Operation:
    """Return the value, and the bytes that it took."""
    store, stored = _store(request), sum(path.stat().st_size for path in Path(request["folder"]).rglob("*") if path.is_file())

    def loaded() -> int:
        [(_, blob)] = store.load_blobs([request["saved"]])
        return checked(request, pickle.loads(blob), stored)  # noqa: S301 - written a moment ago

    return loaded


if __name__ == "__main__":
    answer({"save": save, "load": load})
