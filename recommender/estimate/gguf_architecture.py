"""The numbers of a model's architecture as its GGUF header has them: the inverse of writing one.

Key names as in ``src/llama-arch.cpp`` of ggml-org/llama.cpp. Where the list of tensors was read as well it is believed
before the metadata: a runtime loads the tensors. The result is a row as ``architecture_from_row`` takes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recommender.errors import BadInputError
from recommender.estimate.architecture import Architecture, Features, features, per_layer
from recommender.estimate.tensors import tensors

__all__ = ["architecture_row", "layers_text", "unlike"]

Shapes = Mapping[str, Sequence[int]]
Listed = Iterable[tuple[str, Sequence[int]]]
MOST_LAYERS, MOST_WIDTH, MOST_TOKENS, MOST_EXPERTS = 512, 2**20, 2**24, 2**14
_MOST = {"block_count": MOST_LAYERS, "nextn_predict_layers": MOST_LAYERS, "vocab_size": MOST_TOKENS,
         "expert_count": MOST_EXPERTS, "expert_used_count": MOST_EXPERTS, "context_length": 2**31 - 1}  # fmt: skip
ALTUP_STREAMS, LAUREL_RANK = 4, 64  # defaults of llama.cpp (src/llama-hparams.h); no header has the rank
_LAYER = re.compile(r"blk\.(\d+)\.(.+)")


def architecture_row(metadata: Mapping[str, Any], listed: Listed = ()) -> dict[str, str]:
    """Columns of models.csv and architectures.csv for ``architecture_from_row``.

    Args:
        metadata: the header's keys; a list of numbers as a tuple, a longer or other list as its length.
        listed: each tensor's name and shape, row length first; empty where the list was not read. Then whether the
            output head is tied stays open.

    Raises:
        BadInputError: the architecture has no row in architecture_features.csv, or a number is missing.
    """
    shapes = dict(listed)
    header = _Header(metadata, shapes)
    kind = header.kind
    draft = header.number("nextn_predict_layers")
    n_layer = header.number("block_count") - draft
    n_embd = header.number("embedding_length")
    if n_layer < 1 or n_embd < 1:
        raise BadInputError(
            f"The header of this {kind.architecture} says {n_layer} layers and a width of {n_embd}; no model has that."
        )
    row: dict[str, Any] = {
        "architecture": kind.architecture,
        "n_layer": n_layer,
        "n_embd": n_embd,
        "vocab_size": header.vocabulary(),
        "context_max": header.number("context_length"),
        "draft_layers": draft,
        "rope_dim": header.number("rope.dimension_count"),
        "tied_embeddings": _tied(kind, shapes),
        "n_embd_per_layer": header.number("embedding_length_per_layer_input"),
        "kv_shared_layers": header.number("attention.shared_kv_layers"),
        "conv_cache": header.number("shortconv.l_cache"),
        "tokenizer": _tokenizer(header),
    }
    if "altup" in kind.extras:
        row |= {"n_altup": header.number("altup.num_inputs", ALTUP_STREAMS), "laurel_rank": LAUREL_RANK}
    row |= _window(header, n_layer)
    row |= _attention(header, n_layer)
    row |= _feed_forward(header, n_layer)
    row |= _recurrent(header, n_layer)
    if shapes:
        row |= _from_tensors(header, n_layer)
    return {name: str(value) for name, value in row.items() if value not in ("", 0, None)}


def layers_text(values: Sequence[int]) -> str:
    """Values per layer as ``value*count;value…``; one number where all agree."""
    parts: list[list[int]] = []
    for value in values:
        if parts and parts[-1][0] == value:
            parts[-1][1] += 1
        else:
            parts.append([value, 1])
    if len(parts) == 1:
        return str(values[0])
    return ";".join(f"{value}*{count}" if count > 1 else str(value) for value, count in parts)


def unlike(arch: Architecture, listed: Listed) -> str:
    """How a file's tensors differ from what the architecture implies, in words; "" where they are the same."""
    found, expected = {name: tuple(shape) for name, shape in listed}, dict(tensors(arch))
    for name, shape in expected.items():
        if name not in found:
            return f"{name} is missing"
        if _plain(found[name]) != _plain(shape):
            return f"{name} is {_shown(found[name])}, not {_shown(shape)}"
    more = next((name for name in found if name not in expected), "")
    return f"{more} is one tensor more" if more else ""


def _plain(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without the ones at its end, which writers leave out or not."""
    kept = list(shape)
    while len(kept) > 1 and kept[-1] == 1:
        kept.pop()
    return tuple(kept)


def _shown(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _tied(kind: Features, shapes: Shapes) -> str:
    if kind.output != "either":
        return "yes" if kind.output == "tied" else "no"
    return "" if not shapes else "no" if "output.weight" in shapes else "yes"


def _tokenizer(header: _Header) -> str:
    """The tokenizer's kind, where it is known and not the architecture's usual one."""
    found = {"llama": "spm", "gpt2": "bpe"}.get(str(header.metadata.get("tokenizer.ggml.model")), "")
    return found if header.kind.tokenizer in ("spm", "bpe") and found != header.kind.tokenizer else ""


class _Header:
    """Metadata and tensors of one file, asked without the architecture's prefix."""

    def __init__(self, metadata: Mapping[str, Any], shapes: Shapes) -> None:
        name = metadata.get("general.architecture")
        self.kind: Features = features(name if isinstance(name, str) else "")
        self.metadata, self.shapes = metadata, shapes
        self.layers: dict[int, dict[str, Sequence[int]]] = {}
        for tensor, shape in shapes.items():
            if match := _LAYER.fullmatch(tensor):
                self.layers.setdefault(int(match[1]), {})[match[2]] = shape

    def get(self, key: str) -> Any:
        return self.metadata.get(f"{self.kind.architecture}.{key}")

    def number(self, key: str, default: int = 0) -> int:
        """One whole number; of a list the first that is not 0."""
        value = self.get(key)
        if isinstance(value, tuple):
            value = next((one for one in value if one), 0)
        return default if value is None else self.checked(key, value)

    def checked(self, key: str, value: object) -> int:
        """A whole number that some model may have."""
        most = _MOST.get(key, MOST_WIDTH)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise BadInputError(f"The header of this {self.kind.architecture} says {key} {str(value)[:40]!r}.")
        return int(value)

    def per_layer(self, key: str, n_layer: int) -> tuple[int, ...]:
        """A value per layer; () where the header has none."""
        value = self.get(key)
        if value is None:
            return ()
        if isinstance(value, tuple):
            if len(value) < n_layer:
                told = f"{len(value)} values of {key} for {n_layer} layers"
                raise BadInputError(f"The header of this {self.kind.architecture} has {told}.")
            return tuple(int(one) if isinstance(one, bool) else self.checked(key, one) for one in value[:n_layer])
        return (self.checked(key, value),) * n_layer

    def vocabulary(self) -> int:
        if (shape := self.shapes.get("token_embd.weight")) is not None and len(shape) > 1:
            if not 0 < shape[1] <= MOST_TOKENS or shape[0] > MOST_WIDTH:
                shown = " × ".join(map(str, shape))
                raise BadInputError(f"The header's token_embd.weight is {shown}; no model has that.")
            return shape[1]
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        said = self.number("vocab_size")
        return self.checked("vocab_size", int(tokens)) if isinstance(tokens, int) and tokens else said

    def tensor(self, name: str) -> Sequence[int] | None:
        """The first layer's tensor of this name, where any layer has it."""
        return next((layer[name] for layer in self.layers.values() if name in layer), None)


def _window(header: _Header, n_layer: int) -> dict[str, Any]:
    """Window and its layers, these only where they are not what the architecture implies."""
    pattern, usual = header.get("attention.sliding_window_pattern"), header.kind.window_layers
    layers: list[int] = []
    if isinstance(pattern, tuple):
        layers = [int(bool(one)) for one in pattern[:n_layer]]
    elif pattern is not None:
        period = header.checked("block_count", pattern)  # of every so many layers one sees everything
        first = usual.startswith("0")
        layers = [int(period == 0 or (i % period != 0 if first else i % period < period - 1)) for i in range(n_layer)]
    return {
        "sliding_window": header.number("attention.sliding_window"),
        "window_layers": _unless_usual(layers, usual, n_layer),
    }


def _unless_usual(layers: list[int], usual: str, n_layer: int) -> str:
    """A flag per layer as text; "" where there is none or where the architecture implies it."""
    if len(layers) < n_layer or (usual and tuple(layers) == per_layer(usual, n_layer)):
        return ""
    return layers_text(layers)


def _attention(header: _Header, n_layer: int) -> dict[str, Any]:
    heads = header.per_layer("attention.head_count", n_layer)
    heads_kv = header.per_layer("attention.head_count_kv", n_layer) or heads
    if not any(heads):
        raise BadInputError(f"The header of this {header.kind.architecture} does not say how many heads it has.")
    row: dict[str, Any] = {"n_head": layers_text(heads), "n_head_kv": layers_text(heads_kv)}
    if header.kind.recurrent and not header.kind.recurrent_layers and len(set(heads_kv)) == 1:
        row["n_head_kv"] = f"{heads_kv[0]};{heads_kv[0]}"  # a list: then no layer is taken for a recurrent one
    if header.kind.mixer != "attention":
        row["n_head_kv"] = row["n_head"]  # the file counts the one latent row that all heads share
        row["q_lora_rank"] = header.number("attention.q_lora_rank")
        row["kv_lora_rank"] = header.number("attention.kv_lora_rank")
    keys = header.number("attention.key_length_mla") or header.number("attention.key_length")
    values = header.number("attention.value_length_mla") or header.number("attention.value_length")
    row["head_dim"], row["value_dim"] = keys or "", values if values != keys else ""
    own_k, own_v = header.number("attention.key_length_swa"), header.number("attention.value_length_swa")
    if keys and own_k and (own_k, own_v) != (keys, values):
        windowed = _windowed(header, n_layer)
        row["head_dim"] = layers_text([own_k if one else keys for one in windowed])
        row["value_dim"] = layers_text([(own_v or own_k) if one else (values or keys) for one in windowed])
    return row


def _windowed(header: _Header, n_layer: int) -> list[bool]:
    pattern = _window(header, n_layer)["window_layers"] or header.kind.window_layers or "0"
    return [bool(one) for one in per_layer(pattern, n_layer)]


def _feed_forward(header: _Header, n_layer: int) -> dict[str, Any]:
    widths = header.per_layer("feed_forward_length", n_layer)
    row: dict[str, Any] = {"n_ff": layers_text(widths) if widths else ""}
    experts = header.number("expert_count")
    if not experts:
        return row
    shared = header.number("expert_shared_feed_forward_length")
    if not shared and header.number("expert_shared_count"):
        shared = header.number("expert_shared_count") * header.number("expert_feed_forward_length")
    if (shape := header.tensor("ffn_up_shexp.weight")) is not None and len(shape) > 1:
        shared = shape[1]
    own = header.number("expert_feed_forward_length")
    if (shape := header.tensor("ffn_down_exps.weight")) is not None:
        own = shape[0]
    if header.kind.experts == "all" and not header.kind.extras & {"dense_beside_experts", "one_part_per_layer"}:
        row["n_ff"] = ""  # converters write the experts' width there, or one that no tensor has
    return row | {
        "n_expert": experts,
        "n_expert_used": header.number("expert_used_count"),
        "n_ff_expert": own or (widths[0] if widths else 0),
        "n_ff_shared": shared,
        "n_dense_layers": header.number("leading_dense_block_count"),
        "experts_fused": "yes" if header.tensor("ffn_gate_up_exps.weight") else "",
    }


def _recurrent(header: _Header, n_layer: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "ssm_conv": header.number("ssm.conv_kernel"),
        "ssm_inner": header.number("ssm.inner_size"),
        "ssm_state": header.number("ssm.state_size"),
        "ssm_heads": header.number("ssm.time_step_rank"),
        "ssm_groups": header.number("ssm.group_count"),
    }
    told, interval = header.get("attention.recurrent_layers"), header.number("full_attention_interval")
    layers = [int(bool(one)) for one in told[:n_layer]] if isinstance(told, tuple) else []
    if not layers and interval > 1:
        layers = [int(i % interval < interval - 1) for i in range(n_layer)]
    row["recurrent_layers"] = _unless_usual(layers, header.kind.recurrent_layers, n_layer)
    return row


def _from_tensors(header: _Header, n_layer: int) -> dict[str, Any]:
    """What only the tensors tell, where it is not what the architecture implies."""
    kind, row = header.kind, dict[str, Any]()
    attention = next((layer for layer in header.layers.values() if "attn_output.weight" in layer), {})
    fused = "attn_qkv.weight" in attention
    told: dict[str, tuple[Any, Any]] = {
        "qkv_bias": ("attn_qkv.bias" in attention or "attn_q.bias" in attention, kind.qkv_bias),
        "out_bias": ("attn_output.bias" in attention, kind.out_bias),
        "norm_bias": (any(f"{norm}.bias" in header.layers.get(0, {}) for norm in kind.norms), kind.norm_bias),
        "qkv": ("fused" if fused else "split", kind.qkv),
        "qk_norm": (_qk_norm(header, attention), kind.qk_norm),
    }
    if kind.mixer != "attention" or not attention:
        told = {name: told[name] for name in ("out_bias", "norm_bias")}
    if header.number("expert_count"):
        bias = "selection" if header.tensor("exp_probs_b.bias") else "no"
        told["router_bias"] = ("router" if header.tensor("ffn_gate_inp.bias") else bias, kind.router_bias)
    for name, (found, implied) in told.items():
        if found != implied:
            row[name] = found if isinstance(found, str) else "yes" if found else "no"
    if "rope_freqs.weight" in header.shapes and "rope_freqs" not in kind.extras:
        row["rope_factors"] = "freqs"
    if "rope_factors_long.weight" in header.shapes:
        row["rope_factors"] = "long"
    if header.number("ssm.conv_kernel") and kind.recurrent.startswith("mamba2"):
        row["ssm_norm"] = "" if header.tensor("ssm_norm.weight") else "no"
    full = [layer for i, layer in header.layers.items() if i < n_layer and not _is_windowed(header, i, n_layer)]
    if any(_windowed(header, n_layer)) and full:
        row["values_from_keys"] = "" if any("attn_v.weight" in layer for layer in full) else "yes"
    if (shape := header.tensor("altup_router.weight")) is not None:
        row["n_altup"] = shape[1]
    if (shape := header.tensor("laurel_l.weight")) is not None:
        row["laurel_rank"] = shape[1]
    widths = [_width(header.layers.get(i, {})) for i in range(n_layer)]
    dense = set(widths) - {0}
    if "one_part_per_layer" in kind.extras:
        return row  # its layers of experts count as feed-forward parts too, which the metadata's list has
    if header.number("expert_count") and len(dense) <= 1:
        row["n_ff"] = dense.pop() if dense else ""  # which layers are dense is said by n_dense_layers
    elif dense:
        row["n_ff"] = layers_text(widths)
    return row


def _qk_norm(header: _Header, attention: Mapping[str, Sequence[int]]) -> str:
    norm, query = attention.get("attn_q_norm.weight"), attention.get("attn_output.weight")
    if norm is None or query is None:
        return "none"
    head_dim = header.number("attention.key_length") or query[0] // header.number("attention.head_count", 1)
    swa = header.number("attention.key_length_swa")
    return "head" if norm[0] in (head_dim, swa) else "full"


def _is_windowed(header: _Header, layer: int, n_layer: int) -> bool:
    return _windowed(header, n_layer)[layer]


def _width(layer: Mapping[str, Sequence[int]]) -> int:
    """The feed-forward width of one layer; 0 without a dense part."""
    shape = layer.get("ffn_down.weight")
    return shape[0] if shape is not None else 0
