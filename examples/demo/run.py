"""The demo: one pipeline on Airflow and on Prefect, on the embedded local stack; then one table of what happened.

``python examples/demo/run.py`` runs it, ``python examples/demo/run.py stop`` stops the service that it leaves running.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from stackgraft import lifecycle
from stackgraft.errors import StackError
from stackgraft.specs import RemovalSpec
from stackgraft.stack import Stack

ROOT = Path(__file__).parents[2]
BUILD = Path(os.environ.get("DEMO_BUILD", ROOT / "build" / "demo"))
CONFIG = Path(os.environ.get("STACKGRAFT_CONFIG", ROOT / "stacks.toml"))
ENGINES = ("airflow", "prefect")
SERVICE = "investor-signals"


def environment() -> dict[str, str]:
    """Return an environment in which both engines live below ``build/demo`` and send nothing anywhere."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PREFECT_", "STACKGRAFT_"))}
    return inherited | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "STACKGRAFT_CONFIG": str(CONFIG),
        "AIRFLOW_HOME": str(BUILD / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "PREFECT_HOME": str(BUILD / "prefect"),
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_MEMO_STORE_PATH": str(BUILD / "prefect" / "memo_store.toml"),  # or each start registers all blocks again
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "DO_NOT_TRACK": "1",
    }


@contextmanager
def starting(engine: str) -> Iterator[subprocess.Popen[str]]:
    """Start the process that runs the pipeline on an engine once it is told to: loading an engine takes longer than its steps."""
    command = [sys.executable, str(Path(__file__).with_name(f"on_{engine}.py"))]
    with (BUILD / f"{engine}.log").open("w") as errors, (BUILD / f"{engine}.json").open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=output, stderr=errors, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def run(engine: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    """Run the pipeline on one engine, with a progress line, and return its facts.

    Raises:
        SystemExit: The run failed; the end of its log, or the states of its tasks, are shown.
    """
    started, log = time.monotonic(), BUILD / f"{engine}.log"
    if process.stdin and process.poll() is None:
        process.stdin.close()  # it waits for that
    show_progress(process, f"{engine:8} investor_signals", log)
    lines = (BUILD / f"{engine}.json").read_text().splitlines()
    if process.returncode or not lines:
        tail = "\n".join(log.read_text().splitlines()[-30:])
        raise SystemExit(f"{tail}\n\n{engine}: the run ended with exit code {process.returncode}; the whole log is {log}")
    facts = json.loads(lines[-1])
    if facts["state"] != "success":
        states = ", ".join(f"{step['step']} {step['state']}" for step in facts["steps"])
        raise SystemExit(f"{engine}: the run failed ({states}); see {log}")
    return {**facts, "seconds": round(time.monotonic() - started, 1)}


def show_progress(process: subprocess.Popen[str], label: str, log: Path) -> None:
    """Show a line with the seconds while a process runs; on a terminal it is rewritten, elsewhere it comes seldom."""
    started, live = time.monotonic(), sys.stderr.isatty()
    pause = 0.5 if live else 15.0
    while True:
        try:
            process.wait(timeout=pause)
        except subprocess.TimeoutExpired:
            line = f"{label} … {time.monotonic() - started:3.0f} s  (log: {os.path.relpath(log)})"
            sys.stderr.write(f"\r{line}" if live else f"{line}\n")
        else:
            sys.stderr.write("\r\x1b[K" if live else "")
            return
        sys.stderr.flush()


def summarize(engines: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the facts in the shape of ``build/demo/summary.json``."""
    outputs = {engine: {step["step"]: step["output"] for step in run["steps"]} for engine, run in engines.items()}
    last = outputs[ENGINES[-1]]
    image, service, smoke = last["build_image"], last["deploy_service"], last["smoke_test"]
    return {
        "engines": engines,
        "image": {"reference": image["reference"], "digest": image["digest"]},
        "service": {"url": service["url"], **smoke},
        "reused": list(reused(*outputs.values())),
    }


def reused(first: dict[str, Any], second: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield what the second engine found instead of making it, and why."""
    for step, output in second.items():
        if not isinstance(output, dict):
            continue
        if output.get("reused"):
            yield {"step": step, "why": "; ".join(output["why"])}
        elif "$artifact" in output and output == first.get(step):
            yield {"step": step, "why": f"equal content: {output['$artifact']} was not stored again"}


def identity(output: Any) -> tuple[str, str]:
    """Return the name and the digest by which a task's output is known."""
    if not isinstance(output, dict):
        return "", ""
    name = output.get("$artifact") or output.get("service") or output.get("reference", "").partition("@")[0]
    digest = output.get("digest") or output.get("image", "").rpartition("@")[2]
    return name, digest[: len("sha256:") + 12]


def show(summary: dict[str, Any]) -> None:
    """Print the table and what follows from it."""
    rows = [("step", "engine", "artifact", "digest", "seconds")]
    for engine, facts in summary["engines"].items():
        rows += [(step["step"], engine, *identity(step["output"]), f"{step['seconds'] or 0:.1f}") for step in facts["steps"]]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:4], widths[:4], strict=True)]
        say("  ".join([*cells, row[4].rjust(widths[4])]))
    say("", *(f"{engine}: {facts['state']} in {facts['seconds']} s" for engine, facts in summary["engines"].items()))
    say("", f"image    {summary['image']['reference']}  (the same on both engines)")
    say("reused on the second engine:", *(f"  {item['step']}: {item['why']}" for item in summary["reused"]))
    sample = json.dumps(summary["service"]["sample"])
    say("", f"service  {summary['service']['url']}   GET /signals/AAPL answers", f"  {sample}", "", "`make demo-stop` stops the service.")


def say(*lines: str) -> None:
    """Print lines."""
    sys.stdout.write("\n".join(lines) + "\n")


def check(summary: dict[str, Any]) -> None:
    """Fail the demo where a run failed or the engines disagree.

    Raises:
        SystemExit: They did.
    """
    states = {engine: facts["state"] for engine, facts in summary["engines"].items()}
    digests = {
        step["output"]["digest"] for facts in summary["engines"].values() for step in facts["steps"] if step["step"] == "build_image"
    }
    if set(states.values()) != {"success"} or len(digests) != 1:
        raise SystemExit(f"The demo failed: {states}, image digests {sorted(digests)}; see {BUILD}/*.log")


def stop(stack: Stack, seconds: float) -> None:
    """Stop the service that the demo left running.

    Args:
        stack: Where it runs.
        seconds: How long that may take.

    Raises:
        SystemExit: It could not be stopped in that time.
    """
    removal = RemovalSpec(service=SERVICE)
    deployer = stack.launcher(removal)
    try:
        removed = lifecycle.run(deployer, removal, pace=replace(deployer.pace, deadline=seconds)).unwrap()["removed"]
    except StackError as error:
        raise SystemExit(f"{SERVICE} could not be stopped\n{error}") from error
    say(f"stopped {SERVICE}" if removed else f"{SERVICE} was not running")


def main() -> None:
    """Run the demo."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        processes = {engine: stack.enter_context(starting(engine)) for engine in ENGINES}
        summary = summarize({engine: run(engine, process) for engine, process in processes.items()})
    (BUILD / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    show(summary)
    check(summary)


if __name__ == "__main__":
    stop(Stack.load(path=CONFIG), seconds=60) if sys.argv[1:] == ["stop"] else main()
