"""Writes tiny but real models: a llama-like architecture with random weights, a byte-level vocabulary, a template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
N_LAYER, N_EMBD, N_FF, N_HEAD, N_HEAD_KV = 2, 64, 128, 4, 2
CONTEXT_TOKENS = 2048


def byte_tokens() -> list[str]:
    """The 256 printable stand-ins for bytes that byte-level BPE uses."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = {byte: chr(byte) for byte in plain}
    for number, byte in enumerate(byte for byte in range(256) if byte not in stand_ins):
        stand_ins[byte] = chr(256 + number)
    return [stand_ins[byte] for byte in range(256)]


def write_tiny_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    name: str = "Tiny",
    template: str | None = CHAT_TEMPLATE,
    block_count: int = N_LAYER,
    layers: int = N_LAYER,
    n_embd: int = N_EMBD,
    context_tokens: int = CONTEXT_TOKENS,
    quantize: bool = True,
    seed: int = 1,
    extra: Callable[[gguf.GGUFWriter], None] | None = None,
    tensors_per_file: int = 0,
) -> Path:
    """Write a model of ``layers`` layers that claims to have ``block_count``. Weights are random, and Q8_0 or F32.

    ``extra`` may add keys of its own. With ``tensors_per_file`` the model is split; the first part's path is returned.
    """
    random = np.random.default_rng(seed)
    tokens = [*byte_tokens(), "<|begin|>", "<|start|>", "<|end|>", "Ġa"]
    head = n_embd // N_HEAD
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=tensors_per_file)
    writer.add_name(name)
    writer.add_file_type(7 if quantize else 0)
    writer.add_block_count(block_count)
    writer.add_context_length(context_tokens)
    writer.add_embedding_length(n_embd)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_HEAD_KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(head)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 256 + [3, 3, 3, 1])
    writer.add_token_merges(["Ġ a"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(258)
    writer.add_add_bos_token(False)
    if template is not None:
        writer.add_chat_template(template)

    if extra is not None:
        extra(writer)

    def matrix(tensor: str, rows: int, columns: int, silent: slice = slice(0)) -> None:
        values = random.normal(0, 0.02, (rows, columns)).astype(np.float32)
        values[silent] = 0.0
        if quantize:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(tensor, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor, values)

    def ones(tensor: str, size: int) -> None:
        writer.add_tensor(tensor, np.ones(size, dtype=np.float32))

    def zeros(tensor: str, size: int) -> None:
        writer.add_tensor(tensor, np.zeros(size, dtype=np.float32))

    matrix("token_embd.weight", len(tokens), n_embd)
    ones("output_norm.weight", n_embd)
    # Control tokens never have the largest logit, so a greedy answer goes on until its limit.
    matrix("output.weight", len(tokens), n_embd, silent=slice(256, 259))
    for layer in range(layers):
        block = f"blk.{layer}."
        ones(block + "attn_norm.weight", n_embd)
        matrix(block + "attn_q.weight", n_embd, n_embd)
        matrix(block + "attn_k.weight", head * N_HEAD_KV, n_embd)
        matrix(block + "attn_v.weight", head * N_HEAD_KV, n_embd)
        if architecture == "qwen2":
            zeros(block + "attn_q.bias", n_embd)
            zeros(block + "attn_k.bias", head * N_HEAD_KV)
            zeros(block + "attn_v.bias", head * N_HEAD_KV)
        matrix(block + "attn_output.weight", n_embd, n_embd)
        ones(block + "ffn_norm.weight", n_embd)
        matrix(block + "ffn_gate.weight", N_FF, n_embd)
        matrix(block + "ffn_up.weight", N_FF, n_embd)
        matrix(block + "ffn_down.weight", n_embd, N_FF)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path if path.exists() else min(path.parent.glob(f"{path.stem}-00001-of-*.gguf"))
