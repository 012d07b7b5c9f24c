"""How many bytes of a GGUF file an exact architecture takes: one file of every architecture in the catalog.

    python benchmarks/remote_header.py [--all]

Files are made with each model's exact tensor list, a tokenizer as long as the catalog measured it, a chat template and
the keys that quantizing adds; only their first bytes exist. "Exact" means that the tensors that were found are the
catalog's. Nothing is timed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator

from recommender.catalog.queries import architecture_of
from recommender.catalog.sources.remote_header import read_remote_header
from recommender.catalog.store import open_catalog
from recommender.errors import BadInputError
from recommender.estimate.architecture import Architecture, architecture_from_row
from recommender.estimate.gguf_header import tokenizer_bytes
from recommender.estimate.quantize import block_types, tensor_types, type_bytes, type_names
from recommender.estimate.tensors import table, tensors
from recommender.runner.gguf_metadata import metadata
from recommender.runner.gguf_write import TensorEntry, Value, front

QUANTIZATIONS = ("Q8_0", "Q4_K_M")
_MERGES = 100
_TEMPLATE = "{% if tools %}" + "x" * 4000 + "{{ enable_thinking }}"


def architectures(every: bool) -> Iterator[Architecture]:
    """Complete architectures of the catalog: each model's, or one per architecture id."""
    seen: set[str] = set()
    with open_catalog() as catalog:
        for model in catalog.models():
            try:
                arch = architecture_of(catalog, model.model_id)
            except BadInputError:
                continue
            if every or arch.id not in seen:
                seen.add(arch.id)
                yield arch


def head_of(arch: Architecture, quantization: str) -> tuple[bytes, int]:
    """The bytes before the first tensor of such a file, and the whole file's size."""
    columns = table(arch)
    types = tensor_types(columns, quantization, imatrix=True)
    names, numbers = type_names(), block_types()
    shapes = {tensor.name: tensor.shape for tensor in tensors(arch)}
    entries = [
        TensorEntry(name, shapes[name], numbers[names[kind]].gguf_number, int(size))
        for name, kind, size in zip(columns.names, types, type_bytes(columns, types), strict=True)
    ]
    keys: dict[str, Value] = dict(metadata(arch, quantization, arch.model_id))
    made = len(front({key: value for key, value in keys.items() if key.startswith("tokenizer")}, [])[0])
    missing = tokenizer_bytes(arch.tokenizer or arch.features.tokenizer, arch.n_vocab) - made
    if missing > 0:
        keys["tokenizer.ggml.merges"] = ["a" * max(missing // _MERGES - 8, 1)] * _MERGES
    keys["tokenizer.chat_template"] = _TEMPLATE
    keys["quantize.imatrix.file"] = "imatrix.gguf"
    head, _, total = front(keys, entries)
    return head, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every model instead of one per architecture")
    arguments = parser.parse_args()
    transferred, heads, exact, missed = [], [], 0, []
    for arch in architectures(arguments.all):
        for quantization in QUANTIZATIONS:
            head, total = head_of(arch, quantization)

            def read(start: int, count: int, head: bytes = head) -> bytes:
                return head[start : start + count].ljust(count, b"\0")

            found = read_remote_header(read, total, f"model-{quantization}.gguf")
            same = found.exact and tensors(
                architecture_from_row({**found.architecture, "model_id": arch.model_id})
            ) == tensors(arch)
            exact += same
            transferred.append(found.transferred_bytes)
            heads.append(len(head))
            missed += [] if same else [f"{arch.model_id} {quantization}: {found.note}"]
    print(f"{len(transferred)} files; header median {statistics.median(heads):,.0f}, largest {max(heads):,} bytes.")
    print(
        f"Read: median {statistics.median(transferred):,.0f}, "
        f"95th percentile {statistics.quantiles(transferred, n=20)[-1]:,.0f}, most {max(transferred):,} bytes."
    )
    print(f"Exact: {exact} of {len(transferred)}.")
    print("\n".join(missed))


if __name__ == "__main__":
    main()
