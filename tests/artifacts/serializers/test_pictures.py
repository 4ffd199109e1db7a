"""Figures and images, without a store."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackgraft.artifacts.serializers import named
from stackgraft.errors import ArtifactError

Trip = Callable[..., Any]
Library = Callable[[str], Any]
ContentOf = Callable[[object], bytes]


def figure(library: Library) -> Any:
    drawn = library("matplotlib.figure").Figure(figsize=(2, 1), dpi=50)
    drawn.subplots().plot([1, 3, 2])
    return drawn


def test_a_figure_comes_back_as_a_picture_and_equal_ones_have_equal_bytes(content_of: ContentOf, trip: Trip, library: Library) -> None:
    image = library("PIL.Image")
    loaded = trip(figure(library))
    assert isinstance(loaded, image.Image)
    assert loaded.size == (100, 50)
    assert content_of(figure(library)) == content_of(figure(library))
    assert b"Software" not in content_of(figure(library))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_comes_back_pixel_by_pixel(trip: Trip, library: Library, mode: str) -> None:
    image = library("PIL.Image").new(mode, (3, 2))
    loaded = trip(image)
    assert (loaded.mode, loaded.size, loaded.tobytes()) == (mode, (3, 2), image.tobytes())


def test_an_image_that_png_cannot_hold_is_refused(library: Library, tmp_path: Path) -> None:
    image = library("PIL.Image")
    with pytest.raises(ArtifactError, match="mode CMYK"):
        named("png").dump(image.new("CMYK", (1, 1)))
    image.new("L", (1, 1)).save(tmp_path / "two.gif", save_all=True, append_images=[image.new("L", (1, 1), 255)])
    with image.open(tmp_path / "two.gif") as moving, pytest.raises(ArtifactError, match="several frames"):
        named("png").dump(moving)


def test_a_picture_without_pillow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ArtifactError, match="pip install pillow"):
        named("png").load(memoryview(b""), {})
