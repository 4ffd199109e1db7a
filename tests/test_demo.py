"""The demo, whole: both engines, the table, the summary, the live service, and its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DEMO = [sys.executable, str(ROOT / "examples" / "demo" / "run.py")]


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_the_demo_runs_the_same_pipeline_on_both_engines_and_leaves_a_service_that_its_end_stops(tmp_path: Path) -> None:
    (tmp_path / "stacks.toml").write_text((ROOT / "stacks.toml").read_text())
    env = {**os.environ, "STACKGRAFT_CONFIG": str(tmp_path / "stacks.toml"), "DEMO_BUILD": str(tmp_path / "demo")}
    done = subprocess.run(DEMO, env=env, capture_output=True, text=True, check=False)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
        steps = {engine: [step["step"] for step in facts["steps"]] for engine, facts in summary["engines"].items()}
        assert sorted(steps["airflow"]) == sorted(steps["prefect"])
        assert {facts["state"] for facts in summary["engines"].values()} == {"success"}
        assert summary["image"]["reference"].endswith(summary["image"]["digest"])
        assert {item["step"] for item in summary["reused"]} >= {"build_image", "train", "deploy_service"}
        with urllib.request.urlopen(summary["service"]["url"] + "/signals/AAPL", timeout=10) as answer:  # noqa: S310 - our own service
            assert json.load(answer) == summary["service"]["sample"]
        assert summary["service"]["sample"]["model"]["artifact"] == "investor-model@1"
    finally:
        stopped = subprocess.run([*DEMO, "stop"], env=env, capture_output=True, text=True, check=False)
    assert stopped.stdout == "stopped investor-signals\n"
