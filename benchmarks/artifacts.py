"""How fast artifacts are moved and kept, beside boto3, s3fs, Prefect, Metaflow and ZenML; and which goals are met.

``python benchmarks/artifacts.py [--json] [--only NAME ...] [--scale 0.02]``

Each operation runs in a process of its own; clients take turns within each round; a goal is the median over the rounds of
the ratio within a round. Servers are on loopback: nullsrv.c, a sink that costs nothing and keeps nothing, and SeaweedFS.
Peers live in pinned environments of their own, which the first run installs into ``.venv-benchmarks``. What is not measured
here: TLS, the latency of a real network, and what a step of an engine costs. A full run takes about ten minutes on two idle
cores; goals mean little on busy ones, or at another scale.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from artifacts import goals, keeping, moving
from artifacts.bench import ROOT, Bench, scratch
from artifacts.environments import peers
from artifacts.servers import UnavailableError

FAMILIES: dict[str, tuple[str, Callable[[Bench], None]]] = {
    "sink-large": ("2 GiB, sink", moving.large_on_sink),
    "server-large": ("512 MiB, SeaweedFS", moving.large_on_server),
    "sink-small": ("10,000 x 4 KiB, sink", moving.small_on_sink),
    "server-small": ("1,000 x 64 KiB, SeaweedFS", moving.small_on_server),
    "again": (moving.AGAIN, moving.again),
    "array": ("500 MB array", keeping.array),
    "frame": ("187 MB frame", keeping.frame),
}
NEEDED = 6 << 30
"""Bytes of files, and of what SeaweedFS stores of them, at full scale."""


def measured(names: list[str], scale: float, environments: Path) -> dict[str, Any]:
    """Run families and return the report."""
    found, impossible = peers(environments), {}
    with scratch(int(NEEDED * scale)) as folder:
        bench = Bench(folder, scale, found)
        for name in names:
            case, family = FAMILIES[name]
            sys.stderr.write(f"{case}\n")
            try:
                family(bench)
            except UnavailableError as absent:
                impossible[case] = str(absent)
        rows = [*bench.rows(), *({"case": case, "failure": why} for case, why in impossible.items())]
        outcomes = goals.outcomes(bench, frozenset(FAMILIES[name][0] for name in names))
        return {"goals": outcomes, "rows": rows, "peers": [peer.row() for peer in found.values()], "machine": _machine(scale, folder)}


def _machine(scale: float, folder: Path) -> dict[str, Any]:
    where = "memory" if folder.is_relative_to("/dev/shm") else "disk"  # noqa: S108 - only asked about
    load = os.getloadavg()[0]
    facts = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count(), "kernel": platform.release()}
    return {**facts, "load": load, "files": where, "scale": scale}


def _table(report: dict[str, Any]) -> str:
    lines = [f"{'case':<26} {'operation':<22} {'client':<20} {'wall s':>9} {'CPU s':>9} {'peak MiB':>9}"]
    for row in report["rows"]:
        name = f"{row['case']:<26} {row.get('operation', ''):<22} {row.get('client', ''):<20}"
        figures = f" {row['wall_s']:9.3f} {row['cpu_s']:9.3f} {row['peak_mib']:9.0f}" if "wall_s" in row else ""
        lines.append(f"{name}{figures} {row.get('failure', '')}".rstrip())
    for goal in report["goals"]:
        value = "not measured" if goal["measured"] is None else f"{goal['measured']:.2f}"
        lines.append(f"{'met   ' if goal['met'] else 'MISSED'} {goal['name']}: {value} (goal {goal['goal']})")
    lines += [f"peer {peer['name']}: {peer['state']} {peer['why']}".rstrip() for peer in report["peers"]]
    return "\n".join([*lines, f"machine: {json.dumps(report['machine'])}"]) + "\n"


def main() -> None:
    """Measure, and print a table or JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", action="store_true", help="print JSON")
    options.add_argument("--only", nargs="+", choices=list(FAMILIES), default=list(FAMILIES), metavar="NAME", help=", ".join(FAMILIES))
    options.add_argument("--scale", type=float, default=1.0, help="multiply sizes and counts, to try the benchmark itself")
    options.add_argument("--environments", type=Path, default=ROOT / ".venv-benchmarks", help="where peers are installed")
    chosen = options.parse_args()
    report = measured(chosen.only, chosen.scale, chosen.environments.absolute())
    sys.stdout.write(json.dumps(report) + "\n" if chosen.json else _table(report))


if __name__ == "__main__":
    main()
