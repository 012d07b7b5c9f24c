"""Writes a tiny but real model as the Hub has them: llama with random weights, a byte-level vocabulary, a template."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.tiny_gguf import CHAT_TEMPLATE, byte_tokens

N_LAYER, N_EMBD, N_FF, N_HEAD, N_HEAD_KV = 2, 128, 256, 4, 2  # rows of whole groups of 64 and of 128 weights
HEAD_DIM = N_EMBD // N_HEAD
SPECIAL = ["<|begin|>", "<|start|>", "<|end|>"]
END_ID = 256 + SPECIAL.index("<|end|>")
LETTERS = [ord(letter) for letter in "abcdefghijklmnopqrstuvwxyz ,."]


def write_tiny_hf(folder: Path, seed: int = 1) -> Path:
    """Write ``config.json``, bfloat16 weights and a tokenizer. At temperature 0 it answers in letters without end."""
    folder.mkdir(parents=True)
    tokens = [*byte_tokens(), *SPECIAL, *(f"<|unused{number}|>" for number in range(61))]
    _write_weights(folder / "model.safetensors", _tensors(len(tokens), seed))
    _write(folder / "config.json", _config(len(tokens)))
    _write(folder / "generation_config.json", {"bos_token_id": 256, "eos_token_id": END_ID, "do_sample": False})
    _write(folder / "tokenizer.json", _tokenizer(tokens))
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin|>",
            "eos_token": "<|end|>",
            "pad_token": "<|end|>",
            "model_max_length": 2048,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )
    return folder


def _tensors(n_vocab: int, seed: int) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return random.normal(0.0, columns**-0.5, (rows, columns)).astype(np.float32)

    ones = np.ones(N_EMBD, dtype=np.float32)
    head = np.zeros((n_vocab, N_EMBD), dtype=np.float32)
    head[LETTERS] = matrix(len(LETTERS), N_EMBD)
    found = {
        "model.embed_tokens.weight": random.normal(0.0, 1.0, (n_vocab, N_EMBD)).astype(np.float32),
        "model.norm.weight": ones,
        "lm_head.weight": head,
    }
    for layer in range(N_LAYER):
        at = f"model.layers.{layer}"
        found |= {
            f"{at}.input_layernorm.weight": ones,
            f"{at}.post_attention_layernorm.weight": ones,
            f"{at}.self_attn.q_proj.weight": matrix(N_HEAD * HEAD_DIM, N_EMBD),
            f"{at}.self_attn.k_proj.weight": matrix(N_HEAD_KV * HEAD_DIM, N_EMBD),
            f"{at}.self_attn.v_proj.weight": matrix(N_HEAD_KV * HEAD_DIM, N_EMBD),
            f"{at}.self_attn.o_proj.weight": matrix(N_EMBD, N_HEAD * HEAD_DIM),
            f"{at}.mlp.gate_proj.weight": matrix(N_FF, N_EMBD),
            f"{at}.mlp.up_proj.weight": matrix(N_FF, N_EMBD),
            f"{at}.mlp.down_proj.weight": matrix(N_EMBD, N_FF),
        }
    return found


def _write_weights(path: Path, tensors: dict[str, NDArray[np.float32]]) -> None:
    """The safetensors format: the header's length, the header as JSON, the tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, values in tensors.items():
        # bfloat16 is the upper half of a float32.
        part = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        header[name] = {"dtype": "BF16", "shape": values.shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def _config(n_vocab: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": N_EMBD,
        "intermediate_size": N_FF,
        "num_hidden_layers": N_LAYER,
        "num_attention_heads": N_HEAD,
        "num_key_value_heads": N_HEAD_KV,
        "head_dim": HEAD_DIM,
        "vocab_size": n_vocab,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 256,
        "eos_token_id": END_ID,
    }


def _tokenizer(tokens: list[str]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, token in enumerate(tokens)
        if number >= 256
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [],
        },
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
