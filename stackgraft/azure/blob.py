"""The ``azure-blob`` artifact store: a container of Azure Blob Storage. Configured by tests, never run against the service by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from stackgraft.artifacts.store import ObjectArtifactStore

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class AzureBlobArtifactStore(ObjectArtifactStore):
    """Versioned, content-addressed artifacts in a container of Azure Blob Storage.

    Who may use it is read from the environment (``AZURE_CLIENT_ID`` and the like) or the machine's managed identity.

    Attributes:
        account: The storage account.
        container: The container.
        prefix: What all keys begin with, without a slash at either end.
    """

    flavor: ClassVar[str] = "azure-blob"
    provides: ClassVar[frozenset[str]] = frozenset({"network"})
    account: Annotated[str, Field(pattern=r"^[a-z0-9]{3,24}$")] = Field(description="Name of the storage account.")
    container: Annotated[str, Field(pattern=r"^[a-z0-9](-?[a-z0-9]){2,62}$")] = Field(description="Name of the container.")
    prefix: Annotated[str, Field(pattern=r"^([\w.!*'()-]+(/[\w.!*'()-]+)*)?$")] = Field(default="", description="Prefix of all keys.")
    compression: Literal["auto", "none"] = Field(default="auto", description="Whether chunks are compressed where it pays.")

    @property
    def place(self) -> str:
        """The account, container and prefix."""
        return f"az://{self.account}/{self.container}/{self.prefix}".rstrip("/")

    def open(self) -> ObjectStore:
        """Open the container."""
        from obstore.store import AzureStore  # noqa: PLC0415 - loads a Rust library that parsing a DAG does not need

        return AzureStore(self.container, prefix=self.prefix or None, account_name=self.account)
