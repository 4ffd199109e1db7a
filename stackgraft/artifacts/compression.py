"""Chunks as zstd frames, where a probe says that it pays. A chunk's name is the digest of its plain bytes either way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zstandard

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined,unused-ignore]  # Python 3.12; a type alone

LEVEL = 1
PROBE_SIZE = 64 << 10
"""Bytes from the middle of a chunk that the probe compresses."""
LEAST_GAIN = 1.2
"""How many times smaller the probe must become; numbers and media stay plain, at the price of the probe."""


def packed(content: Buffer) -> Buffer:
    """Return the content as a zstd frame, or as it is where that does not pay."""
    plain = memoryview(content)
    middle = max(0, len(plain) - PROBE_SIZE) // 2
    probe = plain[middle : middle + PROBE_SIZE]
    if len(_frame(probe)) * LEAST_GAIN > len(probe):
        return content
    frame = _frame(plain)
    return frame if len(frame) < len(plain) else content


def unpacked(frame: Buffer, size: int) -> memoryview:
    """Return the plain bytes of a frame that says it has `size`; of anything else, that itself: its digest tells."""
    try:
        if zstandard.frame_content_size(frame) == size:
            return memoryview(zstandard.ZstdDecompressor().decompress(frame))
    except zstandard.ZstdError:
        pass  # damaged, which the caller finds by the digest
    return memoryview(frame)


def _frame(content: memoryview) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL).compress(content)
