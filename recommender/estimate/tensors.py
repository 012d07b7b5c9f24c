"""A model's tensors as llama.cpp's GGUF has them, and from that one list every byte count."""

from __future__ import annotations

import csv
from functools import lru_cache

from recommender.errors import BadInputError
from recommender.estimate.architecture import Architecture
from recommender.estimate.blocks import Tensor, draft_parts, layer_parts, parts_outside
from recommender.estimate.kv import kv_shape
from recommender.estimate.layouts import GroupedTensors, group_tensors
from recommender.estimate.quantize import base_bits, file_types
from recommender.estimate.tensor_table import TensorTable, tensor_table
from recommender.paths import catalog_dir
from recommender.types import Layout

__all__ = [
    "Tensor",
    "file_types",
    "kv_shape",
    "layout",
    "live_width",
    "parameters",
    "rough_bits",
    "rough_layout",
    "table",
    "tensors",
]


@lru_cache(maxsize=1024)
def tensors(arch: Architecture) -> tuple[Tensor, ...]:
    """Every tensor of the model's GGUF file: name and shape, row length first."""
    found = [Tensor(*part) for part in parts_outside(arch)]
    for i in range(arch.n_layer):
        found += [Tensor(f"blk.{i}.{name}", shape) for name, shape in layer_parts(arch, i)]
    for i in range(arch.n_layer, arch.n_layer + arch.draft_layers):
        found += [Tensor(f"blk.{i}.{name}", shape) for name, shape in draft_parts(arch)]
    return tuple(found)


@lru_cache(maxsize=1024)
def table(arch: Architecture) -> TensorTable:
    """The tensor list as columns, for the mixing rules."""
    return tensor_table([arch])


def parameters(arch: Architecture) -> int:
    """Elements of all tensors: the model's parameter count."""
    return int(table(arch).elements.sum())


def live_width(arch: Architecture) -> float:
    """The feed-forward width that is live for one token in the widest layer of a step, as compute buffers see it.

    llama.cpp then holds ``3 × width + 5 × n_embd`` floats per token: gate, up and their product beside five rows of
    the model's own width. Parts of another form are expressed by the width that holds as much (see
    ``compute_buffer``): a feed-forward part without a gate, experts whose results need room of their own, state-space
    mixers, and embeddings per layer.
    """
    share = 1.0 / 3.0 if arch.features.ffn == "plain" else 1.0
    widths = [width * share for width in arch.n_ff]
    if arch.n_expert:
        routed = share * arch.n_ff_expert * arch.n_expert_used
        # The experts' results fit where gate and up were unless the model is wider than both.
        wider = arch.n_embd > 2 * arch.n_ff_expert
        widths.append(routed + (arch.n_embd * arch.n_expert_used / 3.0 if wider else 0.0))
    widths.append(_mixer_floats(arch) / 3.0)
    return max(widths) + _beside_layers(arch) / 3.0


def _mixer_floats(arch: Architecture) -> float:
    """Floats per token that a recurrent mixer holds at once beside five rows of the model's width; 0 without one.

    A state-space mixer holds its whole input projection, its result, and the convolution's input and output; a gated
    delta-net the convolution's input and output.
    """
    convolved = arch.ssm_inner + 2 * arch.ssm_groups * arch.ssm_state
    if arch.features.recurrent == "gated_delta":
        return 2.0 * convolved
    if arch.ssm_inner:
        return float(arch.ssm_inner + convolved + arch.ssm_heads) + arch.ssm_inner + 2.0 * convolved
    return 0.0


def _beside_layers(arch: Architecture) -> float:
    """Floats per token that live through all layers: embeddings per layer and the streams of alternating updates."""
    per_layer = float(arch.n_embd_per_layer * arch.n_layer)
    if arch.n_altup:  # the streams and their predictions
        return per_layer + 2.0 * arch.n_altup * arch.n_embd
    return 2.0 * per_layer


def layout(arch: Architecture, quantization: str, imatrix: bool = True) -> Layout:
    """Exact bytes of the model under a GGUF file type.

    ``imatrix``: made with an importance matrix, as most published files are; a few rules differ by it.
    ``read_bytes_per_token`` counts the experts in use and the whole output head, and no embedding look-up.
    Raises ``BadInputError`` for a file type without known rules.
    """
    found = _tensors_at(arch).under(quantization, imatrix)
    return Layout(**{name: float(values[0]) for name, values in found.items()}, exact=True)


@lru_cache(maxsize=1024)
def _tensors_at(arch: Architecture) -> GroupedTensors:
    return group_tensors([arch])


def rough_layout(params_total: float, params_active: float | None, quantization: str) -> Layout:
    """Bytes from parameters × bits, for a model whose architecture is not complete (``exact=False``).

    The bits are the file type's base type: embeddings, head and norms weigh more in small models, so a file may
    be a few percent larger. ``params_active`` None or 0: all of them are read.
    """
    if not params_total > 0:
        raise BadInputError(f"The number of parameters must be positive, not {params_total}.")
    bits = rough_bits(quantization)
    tensor_bytes = params_total * bits / 8
    read = (params_active or params_total) * bits / 8
    # The share of a typical embedding, so that a look-up is not counted as read: unknown, so none.
    return Layout(tensor_bytes, tensor_bytes, 0.0, 0.0, min(read, tensor_bytes), bits, exact=False)


def rough_bits(quantization: str) -> float:
    """Bits per weight of a quantization in a typical model; ``BadInputError`` when nothing is known of it.

    For GGUF file types as measured on Llama 3.1 8B (``quant_types.csv``), else the base type's own; for the other
    formats what ``quant_loss_types.csv`` states.
    """
    bits = _rough_bits().get(quantization)
    if bits is None:
        raise BadInputError(f"{quantization!r} is not a quantization with known bits per weight.")
    return bits


@lru_cache(maxsize=1)
def _rough_bits() -> dict[str, float]:
    bits = {row["quantization"]: float(row["bits_per_weight"]) for row in _rows("quant_loss_types.csv")}
    bits |= {name: base_bits(name) for name in file_types()}
    for row in _rows("quant_types.csv"):
        if row["kind"] == "file_mix" and row["bpw_llama31_8b"]:
            bits[row["name"]] = float(row["bpw_llama31_8b"])
    return bits


def _rows(name: str) -> list[dict[str, str]]:
    with open(catalog_dir() / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
