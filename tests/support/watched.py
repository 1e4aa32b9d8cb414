"""An array that tells what was computed from it, so that a wider temporary cannot hide."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

FLOAT32 = np.dtype(np.float32)


class Watched(np.ndarray):
    """An array that notes the dtype of everything computed from it, temporaries included."""

    seen: ClassVar[set[np.dtype]] = set()

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if out is not None:
            options["out"] = tuple(map(plain, out))
        result = getattr(ufunc, method)(*map(plain, inputs), **options)
        self.seen.add(np.asarray(result).dtype)
        return result.view(Watched) if isinstance(result, np.ndarray) else result


def plain(x):
    return x.view(np.ndarray) if isinstance(x, Watched) else x


def watched(array):
    Watched.seen.clear()
    return array.view(Watched)
