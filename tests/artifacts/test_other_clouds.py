"""Stores that no server here can stand in for: their fields, and that they open as what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from obstore.store import AzureStore, GCSStore

from stackgraft.errors import ConfigError
from stackgraft.stack import Stack


def key_file(folder: Path) -> Path:
    """Write a service account's key file with a key that nobody else has."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "private_key": pem, "private_key_id": "1", "client_email": "a@b"}
    (folder / "key.json").write_text(json.dumps(account))
    return folder / "key.json"


def store(tmp_path: Path, **claim: Any) -> Any:
    return Stack.from_config("cloud", {"artifact_store": {"cache": tmp_path, **claim}}).component("artifact_store")


def test_gcs_opens_its_bucket_under_its_prefix(tmp_path: Path) -> None:
    made = store(tmp_path, flavor="gcs", bucket="team-artifacts", prefix="ml", credentials=str(key_file(tmp_path)))
    opened = made.open()
    assert isinstance(opened, GCSStore)
    assert (made.place, opened.prefix) == ("gs://team-artifacts/ml", "ml")


def test_a_key_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.json"):
        store(tmp_path, flavor="gcs", bucket="team-artifacts", credentials="absent.json").open()


def test_azure_opens_its_container_under_its_prefix(tmp_path: Path) -> None:
    made = store(tmp_path, flavor="azure-blob", account="team", container="artifacts", prefix="ml")
    opened = made.open()
    assert isinstance(opened, AzureStore)
    assert (made.place, opened.prefix) == ("az://team/artifacts/ml", "ml")


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        ({"flavor": "gcs", "bucket": "A"}, "bucket"),
        ({"flavor": "gcs", "bucket": "team-artifacts", "prefix": "/"}, "prefix"),
        ({"flavor": "azure-blob", "account": "a-b", "container": "artifacts"}, "account"),
        ({"flavor": "azure-blob", "account": "team", "container": "--"}, "container"),
    ],
)
def test_a_name_that_the_service_would_refuse_is_refused_here(tmp_path: Path, claim: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        store(tmp_path, **claim)
