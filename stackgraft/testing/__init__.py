"""What we test flavors with, for authors of flavors and for users: contract suites, `ScriptedLauncher`, `MemoryJournal`.

A flavor runs the suite of its role as a subclass that gives the fixtures::

    class TestProcessStepOperator(StepOperatorContract):
        @pytest.fixture
        def operator(self, tmp_path): return ProcessStepOperator(state=tmp_path, registry=...)

The suite is the definition of the role. A flavor that deviates overrides the test, with the reason as its docstring.
"""

import pytest

from stackgraft.job import MemoryJournal

for _suite in ("artifacts", "builds", "component", "services", "steps"):
    pytest.register_assert_rewrite(f"{__name__}.{_suite}")

from stackgraft.testing.artifacts import ArtifactStoreContract  # noqa: E402 - pytest rewrites what is imported after this
from stackgraft.testing.builds import ContainerRegistryContract, ImageBuilderContract  # noqa: E402
from stackgraft.testing.scripted import QUICK, ScriptedLauncher, log_text, run  # noqa: E402
from stackgraft.testing.services import DeployerContract  # noqa: E402
from stackgraft.testing.steps import StepOperatorContract  # noqa: E402

__all__ = [
    "QUICK",
    "ArtifactStoreContract",
    "ContainerRegistryContract",
    "DeployerContract",
    "ImageBuilderContract",
    "MemoryJournal",
    "ScriptedLauncher",
    "StepOperatorContract",
    "log_text",
    "run",
]
