"""The ``gcs`` artifact store: a bucket of Google Cloud Storage. Configured by tests, never run against the service by them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.errors import ConfigError

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class GcsArtifactStore(ObjectArtifactStore):
    """Versioned, content-addressed artifacts in a bucket of Google Cloud Storage.

    Attributes:
        credentials: Path of a service account's key file; None takes the machine's application default credentials.
        bucket: The bucket.
        prefix: What all keys begin with, without a slash at either end.
    """

    flavor: ClassVar[str] = "gcs"
    provides: ClassVar[frozenset[str]] = frozenset({"network"})
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$")] = Field(description="Name of the bucket.")
    prefix: Annotated[str, Field(pattern=r"^([\w.!*'()-]+(/[\w.!*'()-]+)*)?$")] = Field(default="", description="Prefix of all keys.")
    compression: Literal["auto", "none"] = Field(default="auto", description="Whether chunks are compressed where it pays.")

    @property
    def place(self) -> str:
        """The bucket and prefix."""
        return f"gs://{self.bucket}/{self.prefix}".rstrip("/")

    def open(self) -> ObjectStore:
        """Open the bucket.

        Raises:
            ConfigError: The key file cannot be used.
        """
        from obstore.exceptions import BaseError  # noqa: PLC0415 - loads a Rust library that parsing a DAG does not need
        from obstore.store import GCSStore  # noqa: PLC0415 - as above

        settings: dict[str, Any] = {"application_credentials": str(Path(self.credentials).expanduser())} if self.credentials else {}
        try:
            return GCSStore(self.bucket, prefix=self.prefix or None, **settings)
        except BaseError as refused:
            why = str(refused).splitlines()[0]
            raise ConfigError("The bucket's credentials cannot be used", where=f"credentials {self.credentials!r}", why=why) from refused
