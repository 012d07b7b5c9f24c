"""Seconds per token and per prompt from bytes, operations and what the hardware sustains. Pure formulas on columns.

The roofline model (Williams, Waterman and Patterson, 2009): work takes as long as its memory traffic or its
arithmetic, whichever is slower, plus overheads that do not shrink with faster hardware. Every array has shape (n,);
the coefficients are fitted by ``scripts/fit_speed.py`` and kept in ``catalog/speed_coefficients.csv``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommender.types import Floats


@dataclass(frozen=True)
class Work:
    """What one model asks of the hardware, per token unless named otherwise."""

    weight_bytes: Floats  # read for each new token: active experts only, output head included
    stored_weight_bytes: Floats  # all layers, every expert: what a long prompt reads
    kv_bytes: Floats  # cache read for one token at this depth, recurrent state included
    attention_flops: Floats  # scores and values for one token at this depth
    decode_flops: Floats  # 2 × active parameters
    prompt_flops: Floats  # 2 × active parameters without embedding and output head
    n_layer: Floats
    width: Floats  # layers × embedding width: what norms, rotations and activations touch
    moe: np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Hardware:
    """One side of the machine (its CPU or a GPU), as columns."""

    bandwidth_bytes_per_s: Floats
    flops: Floats  # nominal; for CPUs the number of threads (``compute`` is then FLOP/s per thread)
    balance: Floats  # arithmetic per byte of bandwidth, relative to what is usual for this kind of processor


@dataclass(frozen=True)
class Coefficients:
    """Fitted numbers of one backend family on one hardware class, gathered per row."""

    fixed_s: Floats  # per token or per batch: sampling, launch of the graph
    layer_s: Floats  # per layer: kernel launches, thread barriers
    element_s: Floats  # per layer and element of width
    weight_efficiency: Floats  # share of the nominal bandwidth that weights stream at
    bandwidth_balance: Floats  # exponent: processors with much arithmetic per byte fill their memory's bus better
    kv_efficiency: Floats
    moe_efficiency: Floats  # factor on memory (decode) or arithmetic (prefill) when experts are routed
    compute: Floats  # share of nominal FLOPS; for CPUs FLOP/s per thread
    attention: Floats  # the same for attention, relative to ``compute``
    compute_balance: Floats  # exponent: arithmetic that memory cannot feed is used less
    thread_exponent: Floats  # how arithmetic grows with threads; 1 on GPUs


def sustained_bandwidth(hardware: Hardware, c: Coefficients) -> Floats:
    """Bytes/s that weights stream at. Rises with nominal bandwidth as long as the balance's exponent is below 1."""
    bend = hardware.balance**c.bandwidth_balance
    return np.asarray(hardware.bandwidth_bytes_per_s * c.weight_efficiency * bend)


def sustained_flops(hardware: Hardware, c: Coefficients) -> Floats:
    """FLOP/s that matrix work runs at. Rises with bandwidth as long as the balance's exponent is not positive."""
    return np.asarray(hardware.flops**c.thread_exponent * c.compute * hardware.balance**c.compute_balance)


def decode_seconds(work: Work, hardware: Hardware, c: Coefficients, sequences: Floats | float = 1.0) -> Floats:
    """Seconds for one new token of each of ``sequences`` that are decoded together.

    Reading the weights and multiplying by them overlap in part, so the slower one dominates smoothly (2-norm);
    the cache and the overheads come on top. The weights are read once for all sequences; arithmetic and caches are
    each sequence's own.
    """
    terms = decode_terms(work, hardware, c, sequences)
    return np.asarray(
        terms.overhead_s + np.hypot(terms.reading_s, terms.arithmetic_s) + terms.cache_s + terms.attention_s
    )


@dataclass(frozen=True)
class DecodeTerms:
    """Where the time of one new token goes, shape (n,); ``reading_s`` and ``arithmetic_s`` overlap (2-norm)."""

    reading_s: Floats  # the weights
    arithmetic_s: Floats  # multiplying by them
    cache_s: Floats  # reading the KV cache
    attention_s: Floats  # arithmetic on it
    overhead_s: Floats  # launches, barriers, sampling


def decode_terms(work: Work, hardware: Hardware, c: Coefficients, sequences: Floats | float = 1.0) -> DecodeTerms:
    """The terms that ``decode_seconds`` adds up."""
    bandwidth = sustained_bandwidth(hardware, c)
    flops = sustained_flops(hardware, c)
    return DecodeTerms(
        batch_weight_bytes(work, sequences) / (bandwidth * np.where(work.moe, c.moe_efficiency, 1.0)),
        sequences * work.decode_flops / flops,
        sequences * work.kv_bytes / (hardware.bandwidth_bytes_per_s * c.kv_efficiency),
        sequences * work.attention_flops / (flops * c.attention),
        c.fixed_s + c.layer_s * work.n_layer + sequences * c.element_s * work.width,
    )


def batch_weight_bytes(work: Work, sequences: Floats | float) -> Floats:
    """Weights read for one token of each sequence.

    Sequences that route to the same expert share its read. With experts drawn independently, a token that touches a
    share r of the weights leaves (1 − r) of them untouched, and n tokens leave (1 − r)ⁿ.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip(work.weight_bytes / work.stored_weight_bytes, 0.0, 1.0)
        routed = work.stored_weight_bytes * (1.0 - (1.0 - share) ** sequences)
    alone = np.asarray(sequences) == 1.0
    return np.asarray(np.where(work.moe & ~alone & np.isfinite(routed), routed, work.weight_bytes))


def prefill_seconds(
    work: Work, hardware: Hardware, c: Coefficients, prompt_tokens: Floats, ubatch_tokens: Floats
) -> Floats:
    """Seconds to process a prompt of ``prompt_tokens`` in batches of ``ubatch_tokens``.

    ``work.attention_flops`` is for one token at the mean depth of the prompt. Each batch reads all weights once.
    """
    batches = np.maximum(prompt_tokens / np.maximum(ubatch_tokens, 1.0), 1.0)
    flops = sustained_flops(hardware, c)
    arithmetic = work.prompt_flops * prompt_tokens / (flops * np.where(work.moe, c.moe_efficiency, 1.0))
    reading = work.stored_weight_bytes * batches / sustained_bandwidth(hardware, c)
    attention = work.attention_flops * prompt_tokens / (flops * c.attention)
    overhead = batches * (c.fixed_s + c.layer_s * work.n_layer) + prompt_tokens * c.element_s * work.width
    return np.asarray(overhead + np.hypot(reading, arithmetic) + attention)
