"""What the GGUF runtimes share: naming a file on the Hub in a command, and making one that nobody published."""

from __future__ import annotations

import re

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel

# These file types hold tensors of types that llama-quantize refuses to make without an importance matrix
# (llama.cpp, src/llama-quant.cpp: tensor_requires_imatrix, and the mixes of llama_tensor_get_type).
_NEED_IMPORTANCE_MATRIX = frozenset(
    ("IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S", "Q2_K_S")
)
# What convert_hf_to_gguf.py writes by itself (--outtype).
_DIRECT = {"F16": "f16", "BF16": "bf16", "Q8_0": "q8_0", "TQ1_0": "tq1_0", "TQ2_0": "tq2_0"}


def tag_names_file(file: str, quantization: str) -> bool:
    """Whether "repo:QUANT" surely fetches this file.

    llama.cpp takes the first file whose name has "QUANT." or "QUANT-" in it (common/download.cpp:
    find_best_model). So "F16" may fetch a BF16 file, and a dynamic mix ("UD-…") may stand before or after the
    plain one: those are asked for by their full name.
    """
    if quantization == "F16" or re.search(r"(^|[-._/])UD-", file):
        return False
    return bool(re.search(rf"[-._]{re.escape(quantization)}(-\d{{5}}-of-\d{{5}})?\.gguf$", file, re.IGNORECASE))


def hub_reference(model: RuntimeModel, quantization: str) -> str:
    """ "owner/name:QUANT", or "owner/name:FILE" where the quantization alone could fetch another file.

    Hugging Face's registry endpoint, which Ollama and Docker Model Runner pull from, takes either as a tag.
    """
    repo = shell.repository(model.repo)
    if model.file and not tag_names_file(model.file, quantization):
        return f"{repo}:{shell.file_name(model.file)}"
    return f"{repo}:{shell.name(quantization)}"


def file_here(model: RuntimeModel, quantization: str) -> tuple[list[str], str]:
    """Commands that make the file first, and the file as a shell takes it: one's own where there is one."""
    return ([], shell.path(model.file)) if model.file else make_steps(model, quantization)


def make_steps(model: RuntimeModel, quantization: str) -> tuple[list[str], str]:
    """Commands that make a GGUF file from the original weights with llama.cpp's tools, and the file's name.

    Run in a checkout of llama.cpp with its tools on the path. The importance matrix that the smallest file types need
    is computed from a text of one's own, ``calibration.txt``.
    """
    base, folder = shell.repository(model.base_repo), model.local_name
    wanted = f"{folder}-{shell.name(quantization)}.gguf"
    download = f"hf download {base} --local-dir {folder}"
    if quantization in _DIRECT:
        convert = f"python convert_hf_to_gguf.py {folder} --outtype {_DIRECT[quantization]} --outfile {wanted}"
        return [download, convert], wanted
    full = f"{folder}-BF16.gguf"
    found = [download, f"python convert_hf_to_gguf.py {folder} --outtype bf16 --outfile {full}"]
    matrix = ""
    if quantization in _NEED_IMPORTANCE_MATRIX:
        found.append(f"llama-imatrix -m {full} -f calibration.txt -o {folder}.imatrix")
        matrix = f"--imatrix {folder}.imatrix"
    return [*found, shell.join("llama-quantize", matrix, full, wanted, quantization)], wanted
