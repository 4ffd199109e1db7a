"""The example is a project of its own, which its image puts on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "investor_signals"))
