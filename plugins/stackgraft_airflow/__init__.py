"""The stack model for Airflow: operators, ``@task.stack_step``, a hook, one trigger and links."""
