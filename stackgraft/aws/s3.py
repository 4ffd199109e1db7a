"""The ``s3`` artifact store: a bucket on AWS, or on any server that speaks S3 and honors ``If-None-Match``."""

from __future__ import annotations

import re
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from stackgraft.artifacts.store import ObjectArtifactStore
from stackgraft.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

if find_spec("boto3") is None:
    raise ImportError("boto3 is not installed")  # told when the stack is read, though it is loaded only when a bucket is opened
_AWS_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_RETRIES: Any = {"max_retries": 8, "retry_timeout": timedelta(minutes=2)}


class S3ArtifactStore(ObjectArtifactStore):
    """Versioned, content-addressed artifacts in an S3 bucket.

    Attributes:
        bucket: The bucket.
        prefix: What all keys begin with, without a slash at either end.
        region: The bucket's region; None takes the profile's.
        endpoint: Another server than AWS, with scheme.
        path_style: Whether the bucket stands in the URL's path; None does that at an endpoint.
        server_side_encryption: ``AES256``, ``aws:kms`` or ``aws:kms:dsse``; None takes the bucket's default.
        kms_key_id: The key for ``aws:kms``.
        expected_owner: The account that must own the bucket, asked once before anything is read or written.
        checksum: What the server checks each upload with. Reads verify SHA-256 whatever it is.
        concurrency: Requests at once, each with 8 MiB in memory.
    """

    flavor: ClassVar[str] = "s3"
    provides: ClassVar[frozenset[str]] = frozenset({"network"})
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = Field(description="Name of the bucket.")
    prefix: Annotated[str, Field(pattern=r"^([\w.!*'()-]+(/[\w.!*'()-]+)*)?$")] = Field(default="", description="Prefix of all keys.")
    region: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")] | None = Field(default=None, description="Region of the bucket.")
    endpoint: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = Field(default=None, description="Server, where it is not AWS.")
    path_style: bool | None = Field(default=None, description="Whether the bucket stands in the path.")
    server_side_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(default=None, description="Encryption at rest.")
    kms_key_id: str | None = Field(default=None, description="Key for encryption by KMS.")
    expected_owner: Annotated[str, Field(pattern=r"^\d{12}$")] | None = Field(default=None, description="Account that must own the bucket.")
    checksum: Literal["crc64nvme", "sha256", "none"] = Field(default="crc64nvme", description="Checksum that the server checks.")
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(default=6, description="Requests at once.")
    compression: Literal["auto", "none"] = Field(default="auto", description="Whether chunks are compressed where it pays.")

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        if self.kms_key_id and not (self.server_side_encryption or "").startswith("aws:kms"):
            raise ConfigError(
                "A KMS key needs encryption by KMS", where="field 'kms_key_id'", next_step='set server_side_encryption = "aws:kms"'
            )
        if self.endpoint is None and self.region is not None and not _AWS_REGION.fullmatch(self.region):
            raise ConfigError(
                "AWS has no region of that form", where=f"field 'region', {self.region!r}", next_step="use one such as eu-north-1"
            )
        return self

    @property
    def place(self) -> str:
        """The bucket and prefix."""
        where = f" at {self.endpoint}" if self.endpoint else ""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + where

    @property
    def workers(self) -> int:
        """Requests at once."""
        return self.concurrency

    def open(self) -> ObjectStore:
        """Open the bucket.

        Raises:
            ConfigError: There are no credentials, or no region.
            BackendError: The bucket is another account's, or out of reach.
        """
        from botocore.config import Config  # noqa: PLC0415 - loads boto3
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415 - loads boto3
        from obstore.store import S3Store  # noqa: PLC0415 - loads a Rust library that parsing a DAG does not need

        from stackgraft.aws.session import open_session  # noqa: PLC0415 - loads boto3

        session = open_session(self.credentials, self.region)
        if self.expected_owner:
            self.check_owner(session.client("s3", endpoint_url=self.endpoint, config=Config(retries={"mode": "standard"})))
        return S3Store(
            self.bucket,
            prefix=self.prefix or None,
            config=self.settings(session.region_name),
            client_options={"allow_http": (self.endpoint or "").startswith("http://")},
            retry_config=_RETRIES,
            credential_provider=Boto3CredentialProvider(session),
        )

    def settings(self, region: str | None) -> Any:
        """Return what the client is told about the bucket.

        Raises:
            ConfigError: No region is known.
        """
        if region is None and self.endpoint is None:
            raise ConfigError("The bucket's region is not known", where=self.place, next_step="set region on the store, or in the profile")
        path_style = self.endpoint is not None if self.path_style is None else self.path_style
        asked = {
            "region": region or "us-east-1",
            "endpoint": self.endpoint,
            "virtual_hosted_style_request": not path_style,
            "server_side_encryption": self.server_side_encryption,
            "sse_kms_key_id": self.kms_key_id,
            "checksum_algorithm": None if self.checksum == "none" else self.checksum.upper(),
            "unsigned_payload": True,  # signing would hash each body once more
        }
        return {name: value for name, value in asked.items() if value is not None}

    def check_owner(self, client: Any) -> None:
        """Refuse a bucket of another account: whoever takes an abandoned name would get the data.

        Raises:
            BackendError: It is not the expected account's, or could not be asked.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - loads boto3

        try:
            client.head_bucket(Bucket=self.bucket, ExpectedBucketOwner=self.expected_owner)
        except ClientError as refused:
            why = f"HeadBucket for owner {self.expected_owner} answered {refused.response['Error']['Code']}"
            step = "correct expected_owner or bucket, or ask for s3:ListBucket on it"
            raise BackendError("The bucket is not the expected account's", where=self.place, why=why, next_step=step) from refused
        except BotoCoreError as unreachable:
            raise BackendError("The bucket cannot be reached", transient=True, where=self.place, why=str(unreachable)) from unreachable
