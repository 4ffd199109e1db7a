"""What an image says about itself: how its programs start, in which environment, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from stackgraft.oci import PYTHON_LABEL
from stackgraft.specs import BuildSpec

KEY_LABEL = "org.stackgraft.key"
SITE, RUNTIME = PurePosixPath("/opt/site-packages"), PurePosixPath("/opt/stackgraft")


def image_config(
    spec: BuildSpec, inherited: Mapping[str, Any], diff_ids: Sequence[str], *, provenance: Mapping[str, str], key: str
) -> dict[str, Any]:
    """Return the configuration document of an image.

    Args:
        spec: What is built; it wins over the base, but for ``org.stackgraft.*`` labels, which other components trust.
        inherited: The ``config`` part of the base's document; tools write null for what is empty.
        diff_ids: Of all layers, the base's first.
        provenance: Labels that say where the code comes from.
        key: The content key.
    """
    base = {name: value for name, value in inherited.items() if value is not None}
    ours = {PYTHON_LABEL: spec.python, KEY_LABEL: key}
    settings = {
        **base,
        "Env": [f"{name}={value}" for name, value in sorted(_environment(spec, base.get("Env", [])).items())],
        "Labels": {**base.get("Labels", {}), **provenance, **spec.labels, **ours},
        "WorkingDir": str(spec.workdir),
    }
    system, _, architecture = spec.platform.partition("/")
    rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
    return {"os": system, "architecture": architecture, "config": settings | _program(spec), "rootfs": rootfs}


def _environment(spec: BuildSpec, inherited: Sequence[str]) -> dict[str, str]:
    variables = (variable.partition("=") for variable in inherited)
    packages = {"PYTHONPATH": ":".join(map(str, (spec.workdir, SITE, RUNTIME)))}
    return {name: value for name, _, value in variables} | packages | dict(spec.env)


def _program(spec: BuildSpec) -> dict[str, list[str]]:
    """Return what starts: an entry point voids the base's command, and a command keeps the base's entry point."""
    if spec.entrypoint:
        return {"Entrypoint": list(spec.entrypoint), "Cmd": list(spec.command)}
    return {"Cmd": list(spec.command)} if spec.command else {}
