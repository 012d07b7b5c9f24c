"""Byte counts of many models at once, all from their tensors.

Tensors of one model that every rule treats alike are counted as one: a model of three hundred has about thirty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender.estimate.architecture import Architecture
from recommender.estimate.gguf_header import FIXED_BYTES, metadata_bytes, tokenizer_bytes
from recommender.estimate.quantize import layer_groups, tensor_types, type_bytes, type_names
from recommender.estimate.tensor_table import KINDS, RULE, Ints, Mask, TensorTable, tensor_table
from recommender.types import Floats

__all__ = ["GroupedTensors", "group_tensors"]

ALIGNMENT = 32  # GGUF's default: each tensor starts at a multiple of it
# Types whose tensors llama.cpp copies into a layout of its own at load (ggml-cpu/repack.cpp), with the rows they need.
REPACKED_X86 = {"Q4_0": 8, "Q4_K": 8, "IQ4_NL": 8, "MXFP4": 8}
REPACKED_ARM = {"Q4_0": 4, "Q4_K": 8, "Q5_K": 8, "Q6_K": 8, "IQ4_NL": 4, "MXFP4": 4, "Q8_0": 4}


@dataclass(frozen=True)
class GroupedTensors:
    """The tensors of m models. Arrays of groups have shape (g,), those of models (m,)."""

    tensors: TensorTable  # one of each group, a model's groups side by side; then those before and after
    count: Ints  # tensors in each group
    starts: Ints  # each model's first group
    share: Floats  # of each group that is read for a token: the experts in use
    header_bytes: Ints  # of each model's file before its first tensor
    elements: Ints  # of each model: its parameters
    before: slice  # tensors before the first that no file type has repacked, outermost first
    after: slice  # tensors after the last of those, outermost first

    def under(self, quantization: str, imatrix: bool = True) -> dict[str, Floats]:
        """The numbers of :class:`~recommender.types.Layout` under a GGUF file type, each of shape (m,).

        Raises ``BadInputError`` for a file type without known rules.
        """
        types = tensor_types(self.tensors, quantization, imatrix)
        sizes = type_bytes(self.tensors, types)
        embedding, output = (self.tensors.kind == KINDS.index(kind) for kind in ("token_embd", "output"))
        inside = ~embedding & ~output & ~self.tensors.drafting
        tensor_bytes, output_bytes = self._total(sizes), self._total(sizes * self.tensors.is_head)
        return {
            "file_bytes": self.header_bytes + self._total(-(-sizes // ALIGNMENT) * ALIGNMENT),
            "tensor_bytes": tensor_bytes,
            "input_embedding_bytes": self._total(sizes * embedding),
            "output_bytes": output_bytes,
            "read_bytes_per_token": self._total(sizes * inside, self.share) + output_bytes,
            "bits_per_weight": 8.0 * tensor_bytes / self.elements,
            "repack_x86_bytes": self._repacked(types, sizes, REPACKED_X86),
            "repack_arm_bytes": self._repacked(types, sizes, REPACKED_ARM),
        }

    def _total(self, values: Ints, share: Floats | float = 1.0) -> Floats:
        """Sums per model over all tensors of its groups."""
        return np.asarray(np.add.reduceat(values[: len(self.count)] * share * self.count, self.starts))

    def _repacked(self, types: Ints, sizes: Ints, wanted: dict[str, int]) -> Floats:
        """Bytes that weights take beyond the tensors themselves, as a CPU build copies some into its own layout."""
        table = self.tensors
        rows = np.array([wanted.get(name, 0) for name in type_names()])[types]
        fits = (rows > 0) & (table.rows % np.maximum(rows, 1) == 0) & ~table.drafting
        copied = fits & ((table.kind != KINDS.index("token_embd")) | table.is_head)
        # What lies before the first and after the last tensor that stays in the file's pages is not mapped at all.
        unmapped = np.zeros(len(self.starts))
        for edge in (self.before, self.after):
            model, stays = table.model[edge], ~fits[edge]
            seen = np.cumsum(stays)
            outside: Mask = seen == (seen - stays)[np.searchsorted(model, model)]
            unmapped += np.bincount(model, sizes[edge] * outside, len(unmapped))
        return self._total(sizes * copied) - unmapped


def group_tensors(archs: Sequence[Architecture]) -> GroupedTensors:
    """The tensors of some models, alike ones together."""
    table = tensor_table(archs)
    layers = layer_groups(table)
    code = table.part * (layers.max() + 1) + layers
    _, rows, count = np.unique(code, return_index=True, return_counts=True)
    begins = np.searchsorted(table.model, np.arange(len(archs)))
    before, after = _edges(table, begins)
    tensors = table.take(np.concatenate([rows, before, after]))
    used = np.array([arch.n_expert_used / max(arch.n_expert, 1) for arch in archs])
    of_groups, n_inside = tensors.model[: len(rows)], len(rows) + len(before)
    return GroupedTensors(
        tensors=tensors,
        count=count,
        starts=np.searchsorted(of_groups, np.arange(len(archs))),
        share=np.where(tensors.is_expert[: len(rows)], used[of_groups], 1.0),
        header_bytes=_header_bytes(archs, np.add.reduceat(table.entry_bytes, begins)),
        elements=np.add.reduceat(table.elements, begins),
        before=slice(len(rows), n_inside),
        after=slice(n_inside, len(tensors)),
    )


def _edges(table: TensorTable, begins: Ints) -> tuple[Ints, Ints]:
    """Tensors before the first and after the last one that stays in the file whatever its type, outermost first."""
    stays = np.flatnonzero((table.policy != RULE) | table.drafting | (table.kind == KINDS.index("token_embd")))
    runs = np.searchsorted(table.model[stays], np.arange(len(begins)))
    position = np.arange(len(table))
    first, last = stays[runs], stays[np.append(runs[1:], len(stays)) - 1]
    before, after = np.flatnonzero(position < first[table.model]), np.flatnonzero(position > last[table.model])
    return before, after[np.lexsort((-after, table.model[after]))]


def _header_bytes(archs: Sequence[Architecture], list_bytes: Ints) -> Ints:
    """Bytes before the first tensor's data, padded, when the list of tensors takes ``list_bytes``."""
    tokenizers = [tokenizer_bytes(arch.tokenizer or arch.features.tokenizer, arch.n_vocab) for arch in archs]
    size = FIXED_BYTES + metadata_bytes() + np.array(tokenizers, dtype=np.int64) + list_bytes
    return -(-size // ALIGNMENT) * ALIGNMENT
