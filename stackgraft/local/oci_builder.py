"""The ``oci`` image builder: composes an OCI image in this process, without a daemon and without root.

An image is base layers, a layer of packages, and a layer of the project's code. The slow ones are kept by content, so a
change of code writes only the last.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from pydantic import Field

from stackgraft.components import ContainerRegistry, LauncherComponent
from stackgraft.job import JobState, JobStatus, LogLine
from stackgraft.local.base_image import Base, find_base
from stackgraft.local.build_context import ContextFile, context_files
from stackgraft.local.build_record import LATEST, SCHEME, Ingredients, content_key, differences, newest_record, write_record
from stackgraft.local.git_labels import git_labels
from stackgraft.local.image_layers import Compression, Layer, byte_compile, cached, key_of, pack
from stackgraft.local.site_packages import install, runtime_requirements, runtime_sources, write_runtime
from stackgraft.model import AnchoredPath
from stackgraft.oci import CONFIG_TYPE, PYTHON_LABEL, canonical_json, descriptor, digest_of, manifest
from stackgraft.outcomes import BuiltImage
from stackgraft.specs import BuildSpec

KEY_LABEL = "org.stackgraft.key"
SITE, RUNTIME = PurePosixPath("/opt/site-packages"), PurePosixPath("/opt/stackgraft")

log = logging.getLogger(__name__)


class OciImageBuilder(LauncherComponent):
    """Builds images in process from a folder, its requirements and a base.

    Attributes:
        cache: Where layers of packages are kept, by content.
        compression: Of new layers.
    """

    role: ClassVar[str] = "image_builder"
    flavor: ClassVar[str] = "oci"
    cache: AnchoredPath = Field(default=Path("~/.cache/stackgraft/layers"), validate_default=True, description="Folder of kept layers.")
    compression: Compression = Field(default="gzip", description="Compression of new layers.")

    def content_key(self, spec: BuildSpec) -> str:
        """Return the tag made from everything that decides the image."""
        return content_key(
            self._ingredients(spec, context_files(spec.context), find_base(spec.base, spec.platform, self.container_registry))
        )

    def submit(self, spec: BuildSpec, *, name: str) -> str:
        """Build the image, or find it under its content key; return the outcome, which is also the handle."""
        del name  # an image is named by its content
        started, registry, files, base = (
            time.monotonic(),
            self.container_registry(),
            context_files(spec.context),
            find_base(spec.base, spec.platform, self.container_registry),
        )
        ingredients = self._ingredients(spec, files, base)
        key = content_key(ingredients)
        digest = registry.resolve(spec.repository, key)
        why = [f"{spec.repository}:{key} is in the registry, made from the same content"]
        if reused := digest is not None:
            registry.tag(spec.repository, digest, LATEST)
        else:
            why = differences(newest_record(registry, spec.repository), ingredients)
            digest = self._built(spec, files, base, registry, ingredients)
        reference = registry.reference(spec.repository, digest)
        seconds = round(time.monotonic() - started, 3)
        return BuiltImage(reference=reference, digest=digest, key=key, reused=reused, why=tuple(why), seconds=seconds).model_dump_json()

    def poll(self, handle: str) -> JobStatus:
        """Return the outcome that the handle holds: the build ended when it was submitted."""
        return JobStatus(state=JobState.SUCCEEDED, output=json.loads(handle))

    def cancel(self, handle: str) -> None:
        """Do nothing: the build has ended."""

    def logs(self, handle: str, cursor: str | None = None) -> tuple[Sequence[LogLine], str | None]:
        """Return why the image was built or reused."""
        outcome = json.loads(handle)
        verb = "reused" if outcome["reused"] else "built"
        lines = [f"{verb} {outcome['reference']} in {outcome['seconds']} s", *outcome["why"]]
        return ([] if cursor else [LogLine(line) for line in lines]), "end"

    def _ingredients(self, spec: BuildSpec, files: Sequence[ContextFile], base: Base) -> dict[str, str]:
        """Return everything that decides the image, as one short text for each thing."""
        settings = spec.model_dump(mode="json", include={"python", "platform", "env", "entrypoint", "command", "workdir", "labels"})
        ingredients = {f"setting {name}": canonical_json(value).decode() for name, value in settings.items()}
        ingredients |= {"scheme": str(SCHEME), "base image": base.digest, "compression": self.compression}
        if spec.requirements:
            ingredients["requirements"] = _hash(spec.context / spec.requirements)
        if spec.step_runtime:
            ingredients["stackgraft's core"] = key_of([f"{name} {_hash(path)}" for name, path in runtime_sources()])
        return ingredients | {f"file {file.path}": file.fingerprint for file in files}

    def _built(
        self, spec: BuildSpec, files: Sequence[ContextFile], base: Base, registry: ContainerRegistry, ingredients: Ingredients
    ) -> str:
        with tempfile.TemporaryDirectory(prefix="stackgraft-build-") as draft:
            layers = [*self._kept_layers(spec), self._code_layer(spec, files, Path(draft))]
            base.copy_to(registry, spec.repository)
            for layer in layers:
                registry.write_blob(spec.repository, layer.digest, layer.path)
        config = canonical_json(self._config(spec, base, layers, content_key(ingredients)))
        registry.write_blob(spec.repository, digest_of(config), config)
        described = descriptor(CONFIG_TYPE, digest_of(config), len(config))
        image = manifest(described, [*base.layers, *(layer.descriptor for layer in layers)])
        digest = registry.write_manifest(spec.repository, image)
        write_record(registry, spec.repository, image, ingredients)
        for tag in (content_key(ingredients), LATEST):
            registry.tag(spec.repository, digest, tag)
        return digest

    def _kept_layers(self, spec: BuildSpec) -> list[Layer]:
        """Return the layers that change seldom: packages, and stackgraft's core where steps are to run."""
        extra = runtime_requirements() if spec.step_runtime else []
        layers = []
        if spec.requirements or extra:
            pinned = _hash(spec.context / spec.requirements) if spec.requirements else ""
            key = key_of(["site", pinned, *extra, spec.python, spec.platform, self.compression, str(SCHEME)])
            layers.append(cached(self.cache, key, partial(self._site_layer, spec, extra)))
        if spec.step_runtime:
            key = key_of(
                ["core", spec.python, self.compression, str(SCHEME), *(f"{name} {_hash(path)}" for name, path in runtime_sources())]
            )
            layers.append(cached(self.cache, key, partial(self._core_layer, spec)))
        return layers

    def _site_layer(self, spec: BuildSpec, extra: Sequence[str], blob: Path) -> Layer:
        log.info("resolving %s for Python %s on %s", spec.requirements or ", ".join(extra), spec.python, spec.platform)
        target = blob.with_name("site-packages")
        requirements = spec.context / spec.requirements if spec.requirements else None
        install(target, requirements, extra, python=spec.python, platform=spec.platform)
        return self._packed(spec, target, SITE, blob)

    def _core_layer(self, spec: BuildSpec, blob: Path) -> Layer:
        target = blob.with_name("core")
        write_runtime(target)
        return self._packed(spec, target, RUNTIME, blob)

    def _code_layer(self, spec: BuildSpec, files: Sequence[ContextFile], draft: Path) -> Layer:
        target = draft / "code"
        target.mkdir()
        for file in files:
            copy = target / file.path
            copy.parent.mkdir(parents=True, exist_ok=True)
            if file.target is not None:
                copy.symlink_to(file.target)
            else:
                shutil.copyfile(file.source, copy)
                copy.chmod(0o755 if file.executable else 0o644)
        return self._packed(spec, target, spec.workdir, draft / "code.tar")

    def _packed(self, spec: BuildSpec, folder: Path, prefix: PurePosixPath, blob: Path) -> Layer:
        byte_compile(folder, prefix, spec.python)
        return pack(folder, prefix, blob, self.compression)

    def _config(self, spec: BuildSpec, base: Base, layers: Sequence[Layer], key: str) -> dict[str, Any]:
        inherited = dict(base.config.get("config", {}))
        env = dict(variable.split("=", 1) for variable in inherited.get("Env", []))
        env |= {"PYTHONPATH": ":".join(map(str, (spec.workdir, SITE, RUNTIME))), **spec.env}
        labels = {**inherited.get("Labels", {}), **git_labels(spec.context), PYTHON_LABEL: spec.python, KEY_LABEL: key, **spec.labels}
        program = {"Entrypoint": list(spec.entrypoint), "Cmd": list(spec.command)} if spec.entrypoint or spec.command else {}
        settings = {
            **inherited,
            "Env": [f"{name}={value}" for name, value in sorted(env.items())],
            "Labels": labels,
            "WorkingDir": str(spec.workdir),
        }
        system, _, architecture = spec.platform.partition("/")
        diff_ids = [*base.config.get("rootfs", {}).get("diff_ids", []), *(layer.diff_id for layer in layers)]
        return {
            "os": system,
            "architecture": architecture,
            "config": settings | program,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
