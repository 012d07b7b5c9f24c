"""The tensors of one layer, part by part: attention in its kinds, recurrent mixers, feed-forward and experts.

Names and shapes are those of llama.cpp's GGUF files (``src/models/*.cpp`` and ``gguf-py/gguf/constants.py`` of
ggml-org/llama.cpp). A shape lists the row length first, as GGUF does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from recommender.estimate.architecture import Architecture

__all__ = ["Part", "Tensor", "draft_parts", "layer_parts", "layer_sorts", "parts_outside"]


class Tensor(NamedTuple):
    """A tensor's GGUF name and shape; ``shape[0]`` is the row length."""

    name: str
    shape: tuple[int, ...]


Part = tuple[str, tuple[int, ...]]  # a tensor without its layer's number in front


def parts_outside(arch: Architecture) -> list[Part]:
    """Every tensor that belongs to no layer."""
    kind = arch.features
    found: list[Part] = [("token_embd.weight", (arch.n_embd, arch.n_vocab))]
    norm = "token_embd_norm" if kind.embedding_norm == "final" else "output_norm"
    found.append((f"{norm}.weight", (arch.n_embd,)))
    if kind.norm_bias:
        found.append((f"{norm}.bias", (arch.n_embd,)))
    if not arch.tied:
        found.append(("output.weight", (arch.n_embd, arch.n_vocab)))
        if kind.output_bias:
            found.append(("output.bias", (arch.n_vocab,)))
    if arch.rope_factors == "freqs" or "rope_freqs" in kind.extras:
        found.append(("rope_freqs.weight", (arch.rope_dim // 2,)))
    if arch.rope_factors == "long":
        found += [(f"rope_factors_{name}.weight", (arch.rope_dim // 2,)) for name in ("long", "short")]
    if arch.n_embd_per_layer:
        width = arch.n_embd_per_layer * arch.n_layer
        found.append(("per_layer_token_embd.weight", (width, arch.n_vocab)))
        found.append(("per_layer_model_proj.weight", (arch.n_embd, width)))
        found.append(("per_layer_proj_norm.weight", (arch.n_embd_per_layer,)))
    if arch.n_altup:
        found += [
            (f"{name}.weight", (arch.n_embd, arch.n_embd, arch.n_altup - 1))
            for name in ("altup_proj", "altup_unembd_proj")
        ]
    return found


def layer_sorts(arch: Architecture) -> list[tuple[object, ...]]:
    """What each layer's tensors depend on: layers of the same sort have the same ones."""
    dense = [i < arch.n_dense_layers for i in range(arch.n_layer)]
    heads = (arch.n_head, arch.n_head_kv, arch.head_dim, arch.value_dim)
    return list(zip(*heads, arch.n_ff, arch.recurrent, arch.windowed, dense, strict=True))


def layer_parts(arch: Architecture, i: int) -> list[Part]:
    """Every tensor of layer ``i``."""
    return list(_layer(arch, i))


def draft_parts(arch: Architecture) -> list[Part]:
    """Every tensor of a block that drafts a further token: an attention block and its joint."""
    like = arch.kv_layers[-1]
    parts = [*_norms(arch), *_attention(arch, like), *_feed_forward(arch, like)]
    parts.append(("nextn.eh_proj.weight", (2 * arch.n_embd, arch.n_embd)))
    parts += [(f"nextn.{name}.weight", (arch.n_embd,)) for name in ("enorm", "hnorm", "shared_head_norm")]
    return parts


def _layer(arch: Architecture, i: int) -> Iterator[Part]:
    kind = arch.features
    yield from _norms(arch)
    if "one_part_per_layer" in kind.extras:
        yield from _one_part(arch, i)
        return
    if kind.recurrent == "mamba2_beside_attention":
        yield from _mamba2(arch)
        yield from _attention(arch, i)
    elif arch.recurrent[i]:
        yield from _RECURRENT[kind.recurrent](arch)
    elif kind.mixer == "mla":
        yield from _mla(arch, i)
    elif kind.mixer == "mla_expanded":
        yield from _mla_expanded(arch, i)
    else:
        yield from _attention(arch, i)
    yield from _feed_forward(arch, i)
    if "altup" in kind.extras:
        yield from _altup(arch)
    if arch.n_embd_per_layer:
        yield "inp_gate.weight", (arch.n_embd, arch.n_embd_per_layer)
        yield "proj.weight", (arch.n_embd_per_layer, arch.n_embd)
        yield "post_norm.weight", (arch.n_embd,)
    if "layer_scale" in kind.extras:
        yield "layer_output_scale.weight", (1,)


def _norms(arch: Architecture) -> Iterator[Part]:
    kind = arch.features
    for norm in kind.norms:
        # Falcon-H1 stores this one without the usual suffix.
        bare = kind.recurrent == "mamba2_beside_attention" and norm == "ffn_norm"
        yield norm if bare else f"{norm}.weight", (arch.n_embd,)
        if kind.norm_bias:
            yield f"{norm}.bias", (arch.n_embd,)


def _one_part(arch: Architecture, i: int) -> Iterator[Part]:
    """Nemotron-H: a layer is a state-space mixer, or attention, or a feed-forward part."""
    if arch.recurrent[i]:
        yield from _mamba2(arch)
    elif arch.n_head_kv[i]:
        yield from _attention(arch, i)
    else:
        yield from _feed_forward(arch, i)


def _attention(arch: Architecture, i: int) -> Iterator[Part]:
    kind = arch.features
    q, k, v = (
        arch.n_head[i] * arch.head_dim[i],
        arch.n_head_kv[i] * arch.head_dim[i],
        arch.n_head_kv[i] * arch.value_dim[i],
    )
    out = q
    if "gated_query" in kind.extras:  # the query projection also makes the output's gate
        q *= 2
    # Layers that reuse another's cache still have their unused projections in the file.
    has_values = not arch.values_from_keys or arch.windowed[i]
    if kind.qkv == "fused":
        yield "attn_qkv.weight", (arch.n_embd, q + k + v)
        if kind.qkv_bias:
            yield "attn_qkv.bias", (q + k + v,)
    else:
        wanted = (("q", q, True), ("k", k, True), ("v", v, has_values))
        for letter, width, present in wanted:
            if present:
                yield f"attn_{letter}.weight", (arch.n_embd, width)
                if kind.qkv_bias:
                    yield f"attn_{letter}.bias", (width,)
    yield "attn_output.weight", (out, arch.n_embd)
    if kind.out_bias:
        yield "attn_output.bias", (arch.n_embd,)
    if kind.qk_norm != "none":
        full = kind.qk_norm == "full"
        yield "attn_q_norm.weight", (out if full else arch.head_dim[i],)
        yield "attn_k_norm.weight", (k if full else arch.head_dim[i],)
    if "sinks" in kind.extras:
        yield "attn_sinks.weight", (arch.n_head[i],)
    if "attention_gate" in kind.extras:
        yield "attn_gate.weight", (arch.n_embd, out)
    if "sub_norms" in kind.extras:
        yield "attn_sub_norm.weight", (arch.n_embd,)
        yield "ffn_sub_norm.weight", (arch.n_ff[i],)


def _mla(arch: Architecture, i: int) -> Iterator[Part]:
    """Multi-head latent attention with the up-projections absorbed: one latent row is cached per token."""
    heads, rank, rope = arch.n_head[i], arch.kv_lora_rank, arch.rope_dim
    yield from _mla_query(arch, i)
    yield "attn_kv_a_mqa.weight", (arch.n_embd, rank + rope)
    yield "attn_kv_a_norm.weight", (rank,)
    yield "attn_k_b.weight", (arch.head_dim[i] - rope, rank, heads)
    yield "attn_v_b.weight", (rank, arch.value_dim[i], heads)
    yield "attn_output.weight", (heads * arch.value_dim[i], arch.n_embd)


def _mla_expanded(arch: Architecture, i: int) -> Iterator[Part]:
    """Latent attention whose keys and values are expanded before they are cached (MiniCPM3)."""
    heads, rank, rope = arch.n_head[i], arch.kv_lora_rank, arch.rope_dim
    yield from _mla_query(arch, i)
    yield "attn_kv_a_mqa.weight", (arch.n_embd, rank + rope)
    yield "attn_kv_a_norm.weight", (rank,)
    yield "attn_kv_b.weight", (rank, heads * (arch.head_dim[i] - rope + arch.value_dim[i]))
    yield "attn_output.weight", (heads * arch.value_dim[i], arch.n_embd)


def _mla_query(arch: Architecture, i: int) -> Iterator[Part]:
    width = arch.n_head[i] * arch.head_dim[i]
    if arch.q_lora_rank:
        yield "attn_q_a.weight", (arch.n_embd, arch.q_lora_rank)
        yield "attn_q_a_norm.weight", (arch.q_lora_rank,)
        yield "attn_q_b.weight", (arch.q_lora_rank, width)
    else:
        yield "attn_q.weight", (arch.n_embd, width)


def _short_convolution(arch: Architecture) -> Iterator[Part]:
    yield "shortconv.conv.weight", (arch.conv_cache, arch.n_embd)
    yield "shortconv.in_proj.weight", (arch.n_embd, 3 * arch.n_embd)
    yield "shortconv.out_proj.weight", (arch.n_embd, arch.n_embd)


def _mamba2(arch: Architecture) -> Iterator[Part]:
    convolved = arch.ssm_inner + 2 * arch.ssm_groups * arch.ssm_state
    yield "ssm_in.weight", (arch.n_embd, arch.ssm_inner + convolved + arch.ssm_heads)
    yield "ssm_conv1d.weight", (arch.ssm_conv, convolved)
    yield "ssm_conv1d.bias", (convolved,)
    yield "ssm_dt.bias", (arch.ssm_heads,)
    yield "ssm_a", (1, arch.ssm_heads)
    yield "ssm_d", (1, arch.ssm_heads)
    if arch.ssm_norm:
        yield "ssm_norm.weight", (arch.ssm_inner // arch.ssm_groups, arch.ssm_groups)
    yield "ssm_out.weight", (arch.ssm_inner, arch.n_embd)


def _gated_delta(arch: Architecture) -> Iterator[Part]:
    """Gated delta-net: ``ssm_groups`` key heads and ``ssm_heads`` value heads, all ``ssm_state`` wide."""
    keys, values = arch.ssm_groups * arch.ssm_state, arch.ssm_heads * arch.ssm_state
    yield "attn_qkv.weight", (arch.n_embd, 2 * keys + values)
    yield "attn_gate.weight", (arch.n_embd, values)
    yield "ssm_conv1d.weight", (arch.ssm_conv, 2 * keys + values)
    yield "ssm_dt.bias", (arch.ssm_heads,)
    yield "ssm_a", (arch.ssm_heads,)
    yield "ssm_beta.weight", (arch.n_embd, arch.ssm_heads)
    yield "ssm_alpha.weight", (arch.n_embd, arch.ssm_heads)
    yield "ssm_norm.weight", (arch.ssm_state,)
    yield "ssm_out.weight", (values, arch.n_embd)


_RECURRENT = {"shortconv": _short_convolution, "mamba2": _mamba2, "gated_delta": _gated_delta}


def _feed_forward(arch: Architecture, i: int) -> Iterator[Part]:
    beside = arch.features.extras & {"dense_beside_experts"}
    if arch.n_expert and i >= arch.n_dense_layers:
        yield from _experts(arch)
        if not beside:
            return
    kind, n_embd, n_ff = arch.features, arch.n_embd, arch.n_ff[i]
    widths = {
        "gated": (("ffn_gate", n_ff), ("ffn_up", n_ff)),
        "plain": (("ffn_up", n_ff),),
        "fused": (("ffn_up", 2 * n_ff),),
    }
    for name, width in widths[kind.ffn]:
        yield f"{name}.weight", (n_embd, width)
        if kind.ffn_bias:
            yield f"{name}.bias", (width,)
    yield "ffn_down.weight", (n_ff, n_embd)
    if kind.ffn_bias:
        yield "ffn_down.bias", (n_embd,)


def _experts(arch: Architecture) -> Iterator[Part]:
    kind, n_embd, n_ff, count = arch.features, arch.n_embd, arch.n_ff_expert, arch.n_expert
    yield "ffn_gate_inp.weight", (n_embd, count)
    if kind.router_bias == "router":
        yield "ffn_gate_inp.bias", (count,)
    if kind.router_bias == "selection":
        yield "exp_probs_b.bias", (count,)
    if arch.experts_fused:
        projections: tuple[tuple[str, int], ...] = (("ffn_gate_up_exps", 2 * n_ff),)
    elif kind.ffn == "plain":
        projections = (("ffn_up_exps", n_ff),)
    else:
        projections = (("ffn_gate_exps", n_ff), ("ffn_up_exps", n_ff))
    for name, width in projections:
        yield f"{name}.weight", (n_embd, width, count)
        if kind.expert_bias:
            yield f"{name}.bias", (width, count)
    yield "ffn_down_exps.weight", (n_ff, n_embd, count)
    if kind.expert_bias:
        yield "ffn_down_exps.bias", (n_embd, count)
    if "dense_beside_experts" in kind.extras:  # gemma4: scales, and norms of its two branches
        yield "ffn_gate_inp.scale", (n_embd,)
        yield "ffn_down_exps.scale", (count,)
        for name in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"):
            yield f"{name}.weight", (n_embd,)
    if arch.n_ff_shared:
        if kind.ffn != "plain":
            yield "ffn_gate_shexp.weight", (n_embd, arch.n_ff_shared)
        yield "ffn_up_shexp.weight", (n_embd, arch.n_ff_shared)
        yield "ffn_down_shexp.weight", (arch.n_ff_shared, n_embd)
        if kind.shared_experts == "gated":
            yield "ffn_gate_inp_shexp.weight", (n_embd,)


def _altup(arch: Architecture) -> Iterator[Part]:
    """Gemma 3n: alternating updates of several residual streams, and a low-rank residual."""
    n_embd, streams, rank = arch.n_embd, arch.n_altup, arch.laurel_rank
    yield "altup_correct_coef.weight", (streams, streams)
    yield "altup_correct_scale.weight", (n_embd,)
    yield "altup_predict_coef.weight", (streams, streams * streams)
    yield "altup_router.weight", (n_embd, streams)
    yield "altup_router_norm.weight", (n_embd,)
    yield "laurel_l.weight", (n_embd, rank)
    yield "laurel_r.weight", (rank, n_embd)
    yield "laurel_post_norm.weight", (n_embd,)
