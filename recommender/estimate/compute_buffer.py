"""The compute and output buffers that llama.cpp reserves for its largest step.

What is live at once in a step follows from the graphs of ``src/models/*.cpp`` and the allocator of ggml-org/llama.cpp
(``ggml/src/ggml-alloc.c``); the counts below were checked against the load log (``catalog/load_log_grid.csv``):

* in the widest layer, ``3 × n_ff + 5 × n_embd`` floats per token, where ``n_ff`` is the live width that
  ``tensors.live_width`` gives for the architecture;
* without flash attention, the scores of all heads, and about ``7 × n_embd`` floats per token beside them;
* at the end, the logits of the tokens that are put out, and ``2 × n_embd`` floats per token;
* with latent attention (keys but no values are kept), the queries and results of all heads in latent space instead
  of the last two: three rows without flash attention, two at the end;
* all along, the masks: one number per token and cell of each kind of cache, 2 bytes with flash attention, else 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recommender.types import Floats, SettingsColumns, VariantColumns

__all__ = ["llama_cpp", "output_bytes"]

FLOAT_BYTES = 4.0
WIDE, BESIDE_WIDE = 3.0, 5.0
BESIDE_SCORES = 7.0
BESIDE_LOGITS = 2.0
LATENT_BESIDE_SCORES, LATENT_BESIDE_LOGITS = 3.0, 2.0
CELL_PADDING = 256.0


def llama_cpp(
    variants: VariantColumns,
    settings: SettingsColumns,
    whole_batch: NDArray[np.bool_],
    full_window: NDArray[np.bool_],
) -> Floats:
    """Compute and output buffer of one context, bytes, shape (n,).

    ``whole_batch``: logits of every token of a step are reserved, not only each sequence's last;
    ``full_window``: windowed layers keep the whole context.
    """
    cells = _padded(settings.context_tokens)
    tokens = np.minimum(settings.ubatch_tokens, cells * settings.parallel)
    windowed = variants.k_window_elements_per_token > 0
    window = np.minimum(cells, _padded(variants.window_tokens + settings.ubatch_tokens))
    window = np.where(full_window, cells, window)
    attended = np.where(variants.k_full_elements_per_token > 0, cells, 0.0) + np.where(windowed, window, 0.0)
    masks = attended * tokens * np.where(settings.flash_attn, 2.0, FLOAT_BYTES)
    wide = (WIDE * variants.n_ff + BESIDE_WIDE * variants.n_embd) * tokens * FLOAT_BYTES
    largest = np.where(variants.k_full_elements_per_token > 0, cells, window)
    latent = (variants.k_full_elements_per_token > 0) & (variants.v_full_elements_per_token == 0)
    rows = variants.n_head * variants.k_full_elements_per_token / variants.n_layer
    beside_scores = np.where(
        latent, LATENT_BESIDE_SCORES * rows + 1.5 * variants.n_embd, BESIDE_SCORES * variants.n_embd
    )
    scores = (variants.n_head * largest + beside_scores) * tokens * FLOAT_BYTES
    wide = np.where(settings.flash_attn, wide, np.maximum(wide, scores))
    outputs = np.where(whole_batch, tokens, np.minimum(settings.parallel, tokens))
    beside_logits = np.where(
        latent & whole_batch, LATENT_BESIDE_LOGITS * rows + variants.n_embd, BESIDE_LOGITS * variants.n_embd
    )
    last = (variants.n_vocab * outputs + beside_logits * tokens) * FLOAT_BYTES
    step = np.maximum(wide + masks, last)
    return np.asarray(step + output_bytes(variants, settings), dtype=np.float64)


def output_bytes(variants: VariantColumns, settings: SettingsColumns) -> Floats:
    """The logits handed to the caller: one row per sequence, bytes."""
    return np.asarray(variants.n_vocab * settings.parallel * FLOAT_BYTES, dtype=np.float64)


def _padded(tokens: Floats) -> Floats:
    return np.asarray(np.ceil(tokens / CELL_PADDING) * CELL_PADDING, dtype=np.float64)
