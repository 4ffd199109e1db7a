"""What moved between Airflow 3.0 and 3.3, found in one place."""

from airflow.listeners import hookimpl

try:
    from airflow.sdk import BaseHook, conf
    from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout
    from airflow.sdk.lineage import get_hook_lineage_collector
except ImportError:  # Airflow 3.0
    from airflow.configuration import conf  # type: ignore[assignment]
    from airflow.exceptions import AirflowFailException, AirflowTaskTimeout  # type: ignore[no-redef]
    from airflow.hooks.base import BaseHook  # type: ignore[attr-defined,no-redef]
    from airflow.lineage.hook import get_hook_lineage_collector  # type: ignore[import-not-found,no-redef]

__all__ = ["AirflowFailException", "AirflowTaskTimeout", "BaseHook", "conf", "get_hook_lineage_collector", "hookimpl"]
