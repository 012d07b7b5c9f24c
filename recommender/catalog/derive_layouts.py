"""What each model's architecture gives: its shape, and its bytes in GGUF file types.

Models are taken some hundred at a time: enough for NumPy to be quick, and no more architectures in memory than that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommender.errors import BadInputError
from recommender.estimate.architecture import Architecture, ShapeRefused, architecture_from_row, merge_rows
from recommender.estimate.layouts import group_tensors
from recommender.estimate.tensors import kv_shape, live_width, rough_layout
from recommender.types import Floats

Records = list[dict[str, str]]
Mask = NDArray[np.bool_]
SIZES = (
    "file_bytes", "tensor_bytes", "input_embedding_bytes", "output_bytes", "read_bytes_per_token", "bits_per_weight",
    "repack_x86_bytes", "repack_arm_bytes",
)  # fmt: skip
_AT_ONCE = 500


@dataclass
class Laid:
    """Shapes and bytes of m models; ``sizes`` are those of a Layout, shape (m, file types), NaN where not wanted."""

    sizes: dict[str, Floats]
    exact: Mask  # (m,) the architecture is complete
    refused: Mask  # (m,) llama.cpp does not load a model of this shape
    shapes: list[dict[str, Any]] = field(default_factory=list)  # rows of the table, one per model


def lay_out(models: Records, own: Mapping[str, Mapping[str, str]], types: Sequence[str], wanted: Mask) -> Laid:
    """Shapes of all models and their bytes in some file types: exact, or rough where the architecture is incomplete.

    Args:
        models: rows of models.csv.
        own: rows of architectures.csv by model.
        types: GGUF file types, the t columns of the result.
        wanted: (models, t) which of them.
    """
    nothing = np.zeros(len(models), dtype=np.bool_)
    laid = Laid({name: np.full(wanted.shape, np.nan) for name in SIZES}, nothing.copy(), nothing.copy())
    for start in range(0, len(models), _AT_ONCE):
        alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
        archs: list[Architecture] = []
        for index in range(start, min(start + _AT_ONCE, len(models))):
            arch = _shape(laid, index, merge_rows(models[index], own.get(models[index]["model_id"])))
            if arch is None:
                _rough(laid, index, models[index], types, wanted)
                continue
            # Fine-tunes of one network differ in name and trained context only, which no byte count depends on.
            same = alike[tuple((vars(arch) | {"model_id": "", "context_train": 0}).values())]
            if not same:
                archs.append(arch)
            same.append(index)
        if archs:
            _exact(laid, archs, list(alike.values()), types, wanted)
    return laid


def parameters_of(model: Mapping[str, str]) -> tuple[float, float]:
    """Total and active parameters of a row of models.csv."""
    total = float(model["params_total"])
    return total, float(model["params_active"] or total)


def _shape(laid: Laid, index: int, model: Mapping[str, str]) -> Architecture | None:
    """Add the model's row; its architecture when the numbers are complete."""
    row: dict[str, Any] = {"model_id": model["model_id"], "architecture": model["architecture"] or None}
    laid.shapes.append(row)
    try:
        arch = architecture_from_row(model)
        cache = kv_shape(arch)
    except BadInputError as error:
        row.update(complete=False, reason=str(error))
        laid.refused[index] = isinstance(error, ShapeRefused)
        return None
    laid.exact[index] = True
    row.update(vars(cache), complete=True, reason="", n_layer=arch.n_layer, n_embd=arch.n_embd)
    row.update(n_vocab=arch.n_vocab, n_head=max(arch.n_head), n_ff_live=live_width(arch))
    return arch


def _rough(laid: Laid, index: int, model: Mapping[str, str], types: Sequence[str], wanted: Mask) -> None:
    for place in np.flatnonzero(wanted[index]).tolist():
        rough = rough_layout(*parameters_of(model), types[place])
        for name, values in laid.sizes.items():
            values[index, place] = getattr(rough, name)


def _exact(
    laid: Laid, archs: Sequence[Architecture], alike: Sequence[Sequence[int]], types: Sequence[str], wanted: Mask
) -> None:
    """``alike``: the models of each architecture."""
    tensors = group_tensors(archs)
    rows = np.concatenate(alike)
    of_arch = np.repeat(np.arange(len(archs)), [len(same) for same in alike])
    for place in np.flatnonzero(wanted[rows].any(axis=0)).tolist():
        for name, values in tensors.under(types[place]).items():
            laid.sizes[name][rows, place] = values[of_arch]
