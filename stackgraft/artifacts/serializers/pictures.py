"""Figures of matplotlib and images of Pillow as PNG; both come back as a Pillow image."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from stackgraft.artifacts.serializers.protocol import Buffer, Serializer, is_kind, loaded_class, needed, refused

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # what PNG holds without a loss


class PngSerializer(Serializer):
    """Pictures. A figure is drawn, so it does not come back as a figure; equal ones give equal bytes."""

    name = "png"

    def accepts(self, kind: type) -> bool:
        """Tell whether the type is a figure or an image."""
        image = loaded_class("PIL.Image.Image")
        return is_kind(kind, "matplotlib.figure.Figure") or (image is not None and issubclass(kind, image))

    def dump(self, value: Any) -> tuple[Sequence[Buffer], Mapping[str, Any]]:
        """Return the PNG."""
        drawn = io.BytesIO()
        if hasattr(value, "savefig"):
            value.savefig(drawn, format="png", metadata={"Software": None})  # else each release would draw other bytes
        else:
            _check(value)
            value.save(drawn, format="png")
        return [drawn.getbuffer()], {}

    def load(self, content: memoryview, meta: Mapping[str, Any]) -> Any:
        """Return the image."""
        del meta
        image = needed("PIL.Image", "pillow").open(io.BytesIO(content))
        image.load()
        return image


def _check(image: Any) -> None:
    if image.mode not in _MODES:
        why = f"PNG holds the modes {', '.join(_MODES)}"
        raise refused(f"an image of mode {image.mode}", why=why, next_step='image.convert("RGB"), or save a file and return its path')
    if getattr(image, "n_frames", 1) > 1:
        why = "only the first frame would come back"
        raise refused("an image of several frames", why=why, next_step="save a file and return its path")
