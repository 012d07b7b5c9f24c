"""Shapes of models whose architecture numbers are not complete: from their size, and labelled rough wherever shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recommender.estimate.speed_tables import speed_tables
from recommender.types import Floats, VariantColumns

# A transformer block has about 12·n_embd² weights: 4 in attention, 8 in a feed-forward of 4·n_embd
# (Kaplan et al. 2020, "Scaling Laws for Neural Language Models", table 1).
_BLOCK_WEIGHTS_PER_EMBD_SQUARED = 12.0
_FF_PER_EMBD = 4.0


def with_rough_shapes(variants: VariantColumns) -> VariantColumns:
    """The same rows with unknown shapes filled from the number of parameters; known ones and managed rows are kept.

    Layers, cached elements and embedding follow from laws fitted on the models whose shapes are known
    (``catalog/size_laws.csv``). Everything cached is taken to be cached in full: too much rather than too little.
    """
    unknown = np.isnan(variants.n_layer) & ~np.isnan(variants.tensor_bytes)
    if not unknown.any():
        return variants
    tables = speed_tables()
    size = np.where(unknown, variants.params_total, np.nan)
    layers = np.round(tables.size_law("n_layer", size))
    cached = tables.size_law("kv_elements_per_token", size)
    embedding = np.sqrt(np.maximum(size, 1.0) / (_BLOCK_WEIGHTS_PER_EMBD_SQUARED * layers))
    vocabulary = tables.size_law("embedding_elements", size) / embedding

    def filled(known: Floats, rough: Floats | float) -> Floats:
        return np.where(unknown & np.isnan(known), rough, known)

    return replace(
        variants,
        n_layer=filled(variants.n_layer, layers),
        n_embd=filled(variants.n_embd, embedding),
        n_ff=filled(variants.n_ff, _FF_PER_EMBD * embedding),
        n_vocab=filled(variants.n_vocab, vocabulary),
        n_head=filled(variants.n_head, np.maximum(np.round(embedding / 128.0), 1.0)),
        k_full_elements_per_token=filled(variants.k_full_elements_per_token, cached / 2),
        v_full_elements_per_token=filled(variants.v_full_elements_per_token, cached / 2),
        k_window_elements_per_token=filled(variants.k_window_elements_per_token, 0.0),
        v_window_elements_per_token=filled(variants.v_window_elements_per_token, 0.0),
        window_tokens=filled(variants.window_tokens, 0.0),
        state_bytes=filled(variants.state_bytes, 0.0),
        input_embedding_bytes=filled(variants.input_embedding_bytes, 0.0),
        output_bytes=filled(variants.output_bytes, 0.0),
    )
