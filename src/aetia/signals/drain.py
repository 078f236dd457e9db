"""Log templates: groups log bodies by their constant text, on distinct shapes only."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aetia.signals.frames import I8, I32, Template


def mine(bodies: pa.ChunkedArray | pa.Array, severity: I8 | None = None) -> tuple[I32, tuple[Template, ...]]:
    """Template code per body, shape (n,), and the templates, sorted by text."""
    shaped = pc.replace_substring_regex(pc.fill_null(pc.cast(bodies, pa.string()), ""), r"\d+", "<*>")
    if isinstance(shaped, pa.ChunkedArray):
        shaped = shaped.combine_chunks()
    encoded = pc.dictionary_encode(shaped)
    texts: list[str] = encoded.dictionary.to_pylist()
    order = sorted(range(len(texts)), key=texts.__getitem__)
    rank = np.empty(len(texts), np.int32)
    rank[order] = np.arange(len(texts), dtype=np.int32)
    codes = rank[encoded.indices.to_numpy(zero_copy_only=False)] if len(encoded) else np.zeros(0, np.int32)
    worst = np.zeros(len(texts), np.int64)
    if severity is not None:
        np.maximum.at(worst, codes, severity)
    return codes, tuple(Template(texts[i], int(worst[k]), None, None) for k, i in enumerate(order))
