"""AWS credentials by name: a profile of the machine that the component runs on."""

from __future__ import annotations

import boto3
from botocore.exceptions import BotoCoreError, ProfileNotFound

from stackgraft.errors import ConfigError, nearest


def open_session(credentials: str | None, region: str | None = None) -> boto3.Session:
    """Return a session with credentials that refresh themselves.

    Args:
        credentials: A profile's name; None takes boto3's own chain: environment, profile ``default``, role of the machine.
        region: The region; None takes the profile's.

    Raises:
        ConfigError: There is no such profile, or no credentials are found.
    """
    try:
        session = boto3.Session(profile_name=credentials, region_name=region)
        found = session.get_credentials()
    except ProfileNotFound as absent:
        hint = nearest(credentials or "", boto3.Session().available_profiles)
        raise ConfigError("There is no such AWS profile", where=f"credentials {credentials!r}", why=str(absent), next_step=hint) from absent
    except BotoCoreError as refused:
        raise ConfigError("AWS credentials cannot be read", where=f"credentials {credentials!r}", why=str(refused)) from refused
    if found is None:
        raise ConfigError(
            "There are no AWS credentials",
            where=f"credentials {credentials!r}",
            next_step="run aws configure, set AWS_PROFILE, or name a profile as the component's credentials",
        )
    return session
