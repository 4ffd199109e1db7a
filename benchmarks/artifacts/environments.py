"""The peers' environments: each pinned with hashes in ``benchmarks/requirements``, made once by uv, kept until that changes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent
PEERS = {"boto3": "transfer", "s3fs": "transfer", "prefect": "", "metaflow": "metaflow", "zenml": "zenml"}
"""The environment of each peer; none is ours, where Prefect is in any case."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A client to compare with.

    Attributes:
        name: Its name.
        python: The interpreter of its environment; None where it could not be made.
        why: What went wrong.
    """

    name: str
    python: Path | None
    why: str = ""

    def row(self) -> dict[str, str]:
        """Return what is reported."""
        return {"name": self.name, "state": "installed" if self.python else "not installed", "why": self.why}


def peers(folder: Path) -> dict[str, Peer]:
    """Return all peers, installing those that are not yet."""
    made = {name: _made(folder / name, BENCHMARKS / "requirements" / f"{name}.txt") for name in {*PEERS.values()} - {""}}
    made[""] = (Path(sys.executable), "")
    return {peer: Peer(peer, *made[environment]) for peer, environment in PEERS.items()}


def _made(folder: Path, requirements: Path) -> tuple[Path | None, str]:
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    if stamp.exists() and stamp.read_bytes() == requirements.read_bytes():
        return python, ""
    uv = [sys.executable, "-m", "uv"]
    steps = [
        [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder],
        [*uv, "pip", "sync", "--quiet", "--require-hashes", "--python", folder, requirements],
    ]
    for step in steps:
        done = subprocess.run(step, check=False, capture_output=True, text=True, timeout=900)
        if done.returncode:
            return None, done.stderr.strip() or f"uv ended with {done.returncode}"
    stamp.write_bytes(requirements.read_bytes())
    return python, ""
