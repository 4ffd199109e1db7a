"""DAGs whose jobs are scripted: the run's conf names the stack."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, task

from stackgraft_airflow.operators import DeployServiceOperator, RunStepOperator

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
def deployed() -> None:
    DeployServiceOperator(task_id="work", service="signals", image=IMAGE, stack=STACK)


@dag(schedule=None)
def function() -> None:
    @task.stack_step(image=IMAGE, artifact="answer", stack=STACK, env={"MODE": "fast"}, deferrable=True)
    def work(numbers: list[int]) -> dict[str, int]:
        return {"sum": sum(numbers)}

    work([1, 2])


@dag(schedule=None)
def leaning() -> None:
    @task.stack_step(image=IMAGE, stack=STACK, retries=2)
    def work() -> str:
        return STACK

    work()


for one in (direct, deferred, retried, retried_deferred, limited, limited_deferred, mapped, connected, deployed, function, leaning):
    one()
