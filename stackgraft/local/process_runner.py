"""The supervisor of one step: ``python -m stackgraft.local.process_runner FOLDER``."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from stackgraft.local.detached import StartError, detach, ending, last_line, read_json, spawn, stop, wait_for, write_json


def main(folder: Path) -> None:
    """Run the folder's request to its end and write its status, unless somebody does or has."""
    lock = detach(folder)
    if lock is None or (folder / "started").exists():
        return
    request = read_json(folder / "request.json")
    (folder / "started").touch()  # from here on the step is never started again: a killed runner is a failed job
    status = run(folder, request)
    shutil.rmtree(folder / "root", ignore_errors=True)  # its own copy of the image's files
    write_json(folder / "status.json", status)


def run(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Run the step and return its status as JSON."""
    started, log = time.monotonic(), folder / "log"
    try:
        process = spawn(request["argv"], request["env"], request["cwd"], log)
    except StartError as refused:
        return {"state": "FAILED", "reason": str(refused)}
    timeout = request["timeout_seconds"]

    def reason_to_stop() -> str | None:
        if (folder / "cancel").exists():
            return "cancelled"
        late = timeout is not None and time.monotonic() - started > timeout
        return f"timed out after {timeout:g} s" if late else None

    reason = wait_for(process, reason_to_stop)
    stop(process, request["grace_seconds"])  # also ends what the step left behind in its group
    if reason == "cancelled":
        return {"state": "CANCELLED", "reason": reason}
    if reason is None and process.returncode == 0:
        seconds = round(time.monotonic() - started, 3)
        return {"state": "SUCCEEDED", "output": {"job": folder.name, "image": request["image"], "exit_code": 0, "seconds": seconds}}
    said = last_line(log)
    return {"state": "FAILED", "reason": (reason or ending(process.returncode)) + (f": {said}" if said else "")}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
