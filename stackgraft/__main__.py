"""The command ``stackgraft``, also as ``python -m stackgraft``; it says what to install where that is missing."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from stackgraft.cli import run  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        sys.stderr.write(
            f"The command line needs a package that is not installed\n  why: {missing}\n  next: pip install 'stackgraft[cli]'\n"
        )
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
