"""DAGs whose jobs are scripted: the run's conf names the stack."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task

from stackgraft_airflow.operators import BuildImageOperator, DeployServiceOperator, RemoveServiceOperator, RunStepOperator

IMAGE = f"app@sha256:{'0' * 64}"
STACK = "{{ dag_run.conf['stack'] }}"


def step(task_id: str, **settings: object) -> RunStepOperator:
    return RunStepOperator(task_id=task_id, image=IMAGE, command=["train", "{{ run_id }}"], **{"stack": STACK, **settings})


@dag(schedule=None)
def direct() -> None:
    step("work")


@dag(schedule=None)
def deferred() -> None:
    step("work", deferrable=True)


@dag(schedule=None)
def retried() -> None:
    step("work", retries=2, retry_delay=timedelta(0))


@dag(schedule=None)
def retried_deferred() -> None:
    step("work", retries=2, retry_delay=timedelta(0), deferrable=True)


@dag(schedule=None)
def limited() -> None:
    step("work", execution_timeout=timedelta(seconds=2))


@dag(schedule=None)
def limited_deferred() -> None:
    step("work", execution_timeout=timedelta(seconds=2), deferrable=True)


@dag(schedule=None)
def mapped() -> None:
    RunStepOperator.partial(task_id="work", image=IMAGE, stack=STACK).expand(command=[["a"], ["b"], ["c"]])


@dag(schedule=None)
def connected() -> None:
    RunStepOperator(task_id="work", image={"reference": IMAGE}, command=["train"], stack_conn_id="scripted_stack")


@dag(schedule=None)
def pipeline() -> None:
    local = {"stack": STACK, "deferrable": True}
    image = BuildImageOperator(
        task_id="build",
        repository="demo/app",
        context="{{ dag_run.conf['context'] }}",
        step_runtime=True,
        command=["python", "serve.py"],
        stack=STACK,
    ).output

    @task.stack_step(image=image, artifact="prices", **local)
    def ingest(days: int) -> list[int]:
        return list(range(days))

    @task.stack_step(image=image, artifact="model", env={"RATE": "3"}, **local)
    def train(prices: list[int]) -> dict[str, int]:
        import os

        return {"weight": sum(prices) * int(os.environ["RATE"])}

    service = DeployServiceOperator(
        task_id="deploy", service="demo-app", image=image, env={"MODEL": train(ingest(5))}, health_path="/", **local
    )

    @task
    def work(deployed: dict[str, str]) -> str:
        from urllib.request import urlopen

        return str(urlopen(deployed["url"]).read().decode())

    work(service.output) >> RemoveServiceOperator(task_id="remove", service="demo-app", trigger_rule="all_done", **local)


for one in (direct, deferred, retried, retried_deferred, limited, limited_deferred, mapped, connected, pipeline):
    one()
