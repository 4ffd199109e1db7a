"""Flows over the scripted step operator, as a user would write them; tests run them in processes of their own."""

from prefect import flow, serve

from stackgraft.stack import Stack
from stackgraft_prefect import run_step, run_step_async, stack_step

IMAGE = f"demo/app@sha256:{'0' * 64}"


def scripted_stack(folder: str, polls: int) -> Stack:
    """Return a stack whose steps succeed after that many polls; 0 means never."""
    script = [*["RUNNING"] * polls, "SUCCEEDED"] if polls else ["RUNNING"]
    store = {"flavor": "local", "path": f"{folder}/artifacts", "cache": f"{folder}/cache"}
    steps = {"flavor": "scripted", "folder": folder, "script": script}
    return Stack.from_config("scripted", {"step_operator": steps, "artifact_store": store})


@flow
def direct(folder: str, polls: int) -> str:
    return run_step("train", IMAGE, ["true"], stack=scripted_stack(folder, polls)).job


@flow
def submitted(folder: str, polls: int) -> str:
    return run_step.submit("train", IMAGE, ["true"], stack=scripted_stack(folder, polls)).result().job


@flow
async def awaited(folder: str, polls: int) -> str:
    return (await run_step_async("train", IMAGE, ["true"], stack=scripted_stack(folder, polls))).job


@flow
def mapped(folder: str, polls: int) -> None:
    @stack_step(image=IMAGE, stack=scripted_stack(folder, polls))
    def double(number: int) -> int:
        return 2 * number

    double.map([1, 2]).result()


if __name__ == "__main__":
    serve(*[one.to_deployment(one.name) for one in (direct, submitted, awaited)], pause_on_shutdown=False)
