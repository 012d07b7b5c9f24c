"""What can be told of ONNX Runtime GenAI and of a folder for it without loading either: cheap enough for a page."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from recommender.errors import BadInputError

ADVICE = "ONNX Runtime GenAI is not installed here. Add it with `pip install onnxruntime-genai`."
_CONFIG = "genai_config.json"
_LARGEST_CONFIG_BYTES = 1 << 20
_OWN_PROGRAM = "custom_ops_library"  # a key of the session options
_PACKAGES = ("onnxruntime-genai", "onnxruntime-genai-cuda", "onnxruntime-genai-directml")


def installed() -> str:
    """The library with its version; "" where it is not installed. It is not imported."""
    if importlib.util.find_spec("onnxruntime_genai") is None:
        return ""
    for package in _PACKAGES:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "onnxruntime-genai"


@dataclass(frozen=True)
class Folder:
    """What a folder's ``genai_config.json`` says of its model."""

    vocabulary_tokens: int
    context_tokens: int | None  # the longest it was made for


def read_folder(folder: str) -> Folder:
    """Read a folder's configuration; nothing is loaded.

    Raises:
        BadInputError: it is no folder for ONNX Runtime GenAI, or one that would run a program of its own.
    """
    path = Path(folder) / _CONFIG
    try:
        if path.stat().st_size > _LARGEST_CONFIG_BYTES:
            raise ValueError("too large")
        text = path.read_text(encoding="utf-8")
        model = json.loads(text)["model"]
        vocabulary, context = model["vocab_size"], model.get("context_length")
    except OSError as error:
        raise BadInputError(f"{folder} has no {_CONFIG}: name the folder that Olive or the model builder made.") from (
            error
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInputError(f"{path} cannot be read: make the folder again.") from error
    if not _is_count(vocabulary):
        raise BadInputError(f"{path} names no size of vocabulary: make the folder again.")
    if _OWN_PROGRAM in text:
        raise BadInputError(f"{path} asks for a program library of its own, which is not loaded here: make it anew.")
    return Folder(vocabulary, context if _is_count(context) else None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9


def folder_bytes(folder: str) -> float:
    """Bytes of the model's own files, tokenizer left out."""
    files = (file for ending in ("*.onnx", "*.data", "*.bin", "*.xml") for file in Path(folder).glob(ending))
    return float(sum(file.stat().st_size for file in files))
