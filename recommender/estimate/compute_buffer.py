"""The compute and output buffers that llama.cpp reserves for its largest step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recommender.types import Floats, SettingsColumns, VariantColumns

__all__ = ["llama_cpp"]

FLOAT_BYTES = 4.0


def llama_cpp(variants: VariantColumns, settings: SettingsColumns, whole_batch: NDArray[np.bool_]) -> Floats:
    """Compute and output buffer of one context, bytes, shape (n,).

    ``whole_batch``: logits of every token of a step are reserved, not only each sequence's last.
    """
    context = settings.context_tokens * settings.parallel
    tokens = np.minimum(settings.ubatch_tokens, context)
    outputs = np.where(whole_batch, np.minimum(settings.batch_tokens, tokens), settings.parallel)
    mask = context * tokens / settings.parallel * np.where(settings.flash_attn, 2.0, FLOAT_BYTES)
    scores = np.where(settings.flash_attn, 0.0, variants.n_head * context * tokens * FLOAT_BYTES)
    live = (3.0 * variants.n_embd + 3.0 * variants.n_ff) * tokens * FLOAT_BYTES
    logits = variants.n_vocab * outputs * FLOAT_BYTES
    step = np.maximum(live, np.maximum(scores, logits + variants.n_embd * tokens * FLOAT_BYTES))
    return np.asarray(mask + step + variants.n_vocab * settings.parallel * FLOAT_BYTES, dtype=np.float64)
