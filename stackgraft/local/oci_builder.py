"""The ``oci`` image builder: composes an OCI image in this process, without a daemon and without root.

An image is base layers, a layer of packages, and a layer of the project's code. The slow ones are kept by content, so a
change of code writes only the last.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import ClassVar, NamedTuple

from pydantic import Field

from stackgraft.components import ContainerRegistry, LauncherComponent
from stackgraft.job import JobState, JobStatus, LogLine
from stackgraft.local.base_image import Base, find_base
from stackgraft.local.build_context import ContextFile, context_files, ignore_rules
from stackgraft.local.build_record import LATEST, SCHEME, Ingredients, content_key, differences, newest_record, write_record
from stackgraft.local.git_labels import git_labels
from stackgraft.local.image_config import RUNTIME, SITE, image_config
from stackgraft.local.image_layers import Compression, Layer, byte_code, byte_compile, cached, key_of, pack
from stackgraft.local.site_packages import install, requirements_hash, runtime_hash, runtime_pins, runtime_requirements, write_runtime
from stackgraft.model import AnchoredPath
from stackgraft.oci import CONFIG_TYPE, canonical_json, descriptor, digest_of, manifest
from stackgraft.outcomes import BuiltImage
from stackgraft.specs import BuildSpec

_SETTINGS = {"python", "platform", "env", "entrypoint", "command", "workdir", "labels"}

log = logging.getLogger(__name__)


class Plan(NamedTuple):
    """A build that was looked at but not begun: what goes in, and what decides the image."""

    spec: BuildSpec
    files: Sequence[ContextFile]
    base: Base
    ingredients: Ingredients


class OciImageBuilder(LauncherComponent):
    """Builds images in process from a folder, its requirements and a base.

    Requirements are resolved once for their content: pin them, or use a lock, where another machine must get the same digest.

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
        return content_key(self._plan(spec).ingredients)

    def submit(self, spec: BuildSpec, *, name: str) -> str:
        """Build the image, or find it under its content key; return the outcome, which is also the handle."""
        del name  # an image is named by its content
        started, registry, plan = time.monotonic(), self.container_registry(), self._plan(spec)
        key = content_key(plan.ingredients)
        if found := registry.resolve(spec.repository, key):
            digest, why = found, [f"{spec.repository}:{key} is in the registry, made from the same content"]
        else:
            why = differences(newest_record(registry, spec.repository), plan.ingredients)
            digest = self._built(plan, registry, key)
        registry.tag(spec.repository, digest, LATEST)
        reference, seconds = registry.reference(spec.repository, digest), round(time.monotonic() - started, 3)
        image = BuiltImage(reference=reference, digest=digest, key=key, reused=found is not None, why=tuple(why), seconds=seconds)
        return image.model_dump_json()

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

    def _plan(self, spec: BuildSpec) -> Plan:
        files, base = context_files(spec.context), find_base(spec.base, spec.platform, self.container_registry)
        settings = spec.model_dump(mode="json", include=_SETTINGS)
        ingredients = {f"setting {name}": canonical_json(value).decode() for name, value in settings.items()}
        ingredients |= {"scheme": str(SCHEME), "base image": base.digest, "compression": self.compression}
        ingredients |= {"requirements": requirements_hash(spec.context, spec.requirements)}
        ingredients |= {"stackgraft's core": runtime_hash() if spec.step_runtime else ""}
        ingredients |= {"the core's packages": " ".join(runtime_pins(spec.context, spec.requirements)) if spec.step_runtime else ""}
        ingredients |= {"byte code": byte_code(spec.python)}
        return Plan(spec, files, base, ingredients | {f"file {file.path}": file.fingerprint for file in files})

    def _built(self, plan: Plan, registry: ContainerRegistry, key: str) -> str:
        repository = plan.spec.repository
        with tempfile.TemporaryDirectory(prefix="stackgraft-build-") as draft:
            layers = [*self._kept_layers(plan), self._code_layer(plan, Path(draft))]
            plan.base.copy_to(registry, repository)
            for layer in layers:
                registry.write_blob(repository, layer.digest, layer.path)
        config = self._config(plan, layers, key)
        registry.write_blob(repository, digest_of(config), config)
        described = descriptor(CONFIG_TYPE, digest_of(config), len(config))
        image = manifest(described, [*plan.base.layers, *(layer.descriptor for layer in layers)])
        write_record(registry, repository, image, plan.ingredients)
        return registry.write_manifest(repository, image, tag=key)

    def _config(self, plan: Plan, layers: Sequence[Layer], key: str) -> bytes:
        document, ignored = plan.base.config, ignore_rules(plan.spec.context)
        provenance = git_labels(plan.spec.context, lambda path: not ignored.match_file(path))
        diff_ids = [*document.get("rootfs", {}).get("diff_ids", []), *(layer.diff_id for layer in layers)]
        return canonical_json(image_config(plan.spec, document.get("config") or {}, diff_ids, provenance=provenance, key=key))

    def _kept_layers(self, plan: Plan) -> list[Layer]:
        """Return the layers that change seldom: packages, and stackgraft's core where steps are to run."""
        spec, common = plan.spec, [plan.spec.python, plan.spec.platform, self.compression, str(SCHEME), plan.ingredients["byte code"]]
        extra, pins = runtime_requirements() if spec.step_runtime else [], plan.ingredients["the core's packages"].split()
        layers = []
        if spec.requirements or extra:
            key = key_of(["site", plan.ingredients["requirements"], *extra, *pins, *common])
            layers.append(cached(self.cache, key, partial(self._packed, spec, SITE, partial(_resolve, spec, extra, pins))))
        if spec.step_runtime:
            key = key_of(["core", plan.ingredients["stackgraft's core"], *common])
            layers.append(cached(self.cache, key, partial(self._packed, spec, RUNTIME, write_runtime)))
        return layers

    def _code_layer(self, plan: Plan, draft: Path) -> Layer:
        def copy(folder: Path) -> None:
            for file in plan.files:
                file.copy_below(folder)

        return self._packed(plan.spec, plan.spec.workdir, copy, draft / "code")

    def _packed(self, spec: BuildSpec, prefix: PurePosixPath, fill: Callable[[Path], None], blob: Path) -> Layer:
        """Fill a folder beside the blob and pack it; it will lie at `prefix`."""
        folder = blob.with_name("content")
        folder.mkdir()
        fill(folder)
        byte_compile(folder, prefix, spec.python)
        return pack(folder, prefix, blob, self.compression)


def _resolve(spec: BuildSpec, extra: Sequence[str], pins: Sequence[str], folder: Path) -> None:
    log.info("resolving %s for Python %s on %s", spec.requirements or ", ".join(extra), spec.python, spec.platform)
    install(folder, spec.context, spec.requirements, extra, pins, python=spec.python, platform=spec.platform)
