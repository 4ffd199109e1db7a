"""NumPy arrays and scalars in NumPy's own ``.npy`` format, never pickled."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackgraft.artifacts.serializers.protocol import Buffer, Serializer, is_kind, loaded_class, needed, refused
from stackgraft.errors import ArtifactError

if TYPE_CHECKING:
    from numpy import ndarray

_HEADER = 2**20  # bytes: thousands of fields; NumPy's own limit of 10 kB is for files of unknown origin


class NumpySerializer(Serializer):
    """Arrays, which come back read-only and from a file are memory-mapped, and scalars.

    Subclasses of arrays are not taken, since their masks or units would be lost.
    """

    name = "numpy"
    mapped = True

    def accepts(self, kind: type) -> bool:
        """Tell whether the type is an array or a scalar."""
        return is_kind(kind, "numpy.ndarray", "numpy.memmap") or _is_scalar(kind)

    def dump(self, value: Any) -> tuple[Sequence[Buffer], Mapping[str, Any]]:
        """Return the header, and the array's own memory; only a strided array is copied."""
        array = needed("numpy").asarray(value)
        _check(array.dtype)
        return _npy(array), {"scalar": True} if _is_scalar(type(value)) else {}

    def load(self, content: memoryview, meta: Mapping[str, Any]) -> Any:
        """Return the array over these very bytes."""
        array = _viewed(content)
        array.flags.writeable = False
        return array[()] if meta.get("scalar") else array

    def load_file(self, path: Path, meta: Mapping[str, Any]) -> Any:
        """Return the array over a read-only mapping of the file."""
        array = needed("numpy").load(path, mmap_mode="r", allow_pickle=False, max_header_size=_HEADER)
        return array[()] if meta.get("scalar") else array


def _is_scalar(kind: type) -> bool:
    generic = loaded_class("numpy.generic")
    return generic is not None and issubclass(kind, generic)


def _check(dtype: Any) -> None:
    why = f"its dtype is {dtype}"
    for place in _objects(dtype, "value"):
        next_step = "give it a dtype, as astype(str) does, or ask for pickle by name"
        raise refused("an array of Python objects", where=place, why=why, next_step=next_step)
    npy = needed("numpy.lib.format")
    try:
        lossless = npy.descr_to_dtype(npy.dtype_to_descr(dtype)) == dtype
    except ValueError:  # fields that overlap or are out of order
        lossless = False
    if not lossless:
        next_step = "numpy.lib.recfunctions.repack_fields mends a selection of fields; else view it as a dtype of NumPy's own"
        raise refused("an array whose dtype .npy cannot hold", where="value", why=why, next_step=next_step)


def _objects(dtype: Any, where: str) -> Iterator[str]:
    if dtype.fields:
        for name, (field, *_) in dtype.fields.items():
            yield from _objects(field, f"{where}[{name!r}]")
    elif dtype.hasobject:
        yield where


def _npy(array: ndarray[Any, Any]) -> Sequence[Buffer]:
    np, npy = needed("numpy"), needed("numpy.lib.format")
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = np.array(array, order="C")
    written = io.BytesIO()
    try:
        npy.write_array_header_1_0(written, npy.header_data_from_array_1_0(array))
    except ValueError:  # so many fields, or names so far from Latin, that NumPy must choose a newer format
        np.save(written, array, allow_pickle=False)
        return [written.getbuffer()]
    return [written.getvalue(), *_memory(array)]


def _memory(array: ndarray[Any, Any]) -> Iterator[memoryview]:
    if array.nbytes:
        rows = array if array.flags.c_contiguous else array.T
        yield rows.reshape(-1).view("u1").data


def _viewed(content: memoryview) -> ndarray[Any, Any]:
    np, npy = needed("numpy"), needed("numpy.lib.format")
    head = io.BytesIO(content[:_HEADER])
    if npy.read_magic(head) != (1, 0):
        loaded: ndarray[Any, Any] = np.load(io.BytesIO(content), allow_pickle=False, max_header_size=_HEADER)
        return loaded
    shape, fortran, dtype = npy.read_array_header_1_0(head, max_header_size=_HEADER)
    if dtype.hasobject:
        raise ArtifactError("The array claims to hold Python objects", why="its bytes would be taken for pointers")
    array: ndarray[Any, Any] = np.ndarray(shape, dtype, buffer=content, offset=head.tell(), order="F" if fortran else "C")
    return array
