"""What moved between Airflow 3.0 and 3.3, found in one place."""

try:
    from airflow.sdk import BaseHook, conf
    from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout
except ImportError:  # Airflow 3.0
    from airflow.configuration import conf  # type: ignore[assignment]
    from airflow.exceptions import AirflowFailException, AirflowTaskTimeout  # type: ignore[no-redef]
    from airflow.hooks.base import BaseHook  # type: ignore[attr-defined,no-redef]

__all__ = ["AirflowFailException", "AirflowTaskTimeout", "BaseHook", "conf"]
