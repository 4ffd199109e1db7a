"""Artifacts as OpenLineage datasets, for the events that Airflow's OpenLineage provider sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openlineage.client.event_v2 import Dataset
from openlineage.client.facet_v2 import dataset_version_dataset

from stackgraft_airflow.hook import default_stack
from stackgraft_airflow.lineage import ASSET_PREFIX

if TYPE_CHECKING:
    from airflow.sdk import Asset


def to_dataset(asset: Asset, lineage_context: Any) -> Dataset:  # noqa: ARG001 - Airflow passes it
    """Return the dataset of an artifact: named as in `stackgraft lineage`, with its version."""
    version = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=str((asset.extra or {}).get("version", "")))
    store: Any = default_stack().artifact_store
    return Dataset(namespace=store.place, name=asset.uri.removeprefix(ASSET_PREFIX), facets={"version": version})
