"""Is a rehearsal honest? A weightless file against one of the same shape full of random weights, run alternately.

    PYTHONPATH=. python benchmarks/rehearsal.py --model Qwen/Qwen3-0.6B --quant Q4_0 --pairs 4

Runs A B A B …; prints medians of decode and prefill and their ratio, and whether the runtime reserved the same memory.
The file with weights takes its full size on disk while this runs.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from calibration import wait_until_quiet

from recommender.catalog.store import open_catalog
from recommender.device import this_machine
from recommender.engine.estimate_rows import EstimateRequest
from recommender.estimate.architecture import Architecture
from recommender.estimate.quantize import block_types
from recommender.runner.gguf_header import read_header
from recommender.runner.gguf_write import padded
from recommender.runner.measure import measure
from recommender.runner.protocol import RunRequest
from recommender.runner.rehearse import architecture_of, rehearse
from recommender.runner.weightless import write_weightless
from recommender.trial import plan_rehearsal
from recommender.types import Measurement

SEED = 1
CHUNK_BLOCKS = 1 << 18
SCALE = np.frombuffer(np.float16(0.002).tobytes(), dtype=np.uint8)  # keeps activations in the range of real ones
SPREADS = ("prefill_tokens_per_s", "decode_tokens_per_s")


def write_with_weights(arch: Architecture, quantization: str, path: Path) -> None:
    """The weightless file's shape with random bits in every block; norms are ones."""
    write_weightless(arch, quantization, path)
    tensors = read_header(path).tensors
    generator = np.random.default_rng(SEED)
    at = path.stat().st_size - sum(padded(tensor.size_bytes or 0) for tensor in tensors)  # data ends with the file
    with open(path, "r+b") as file:
        for tensor in tensors:
            file.seek(at)
            _fill(file, tensor.type_name, math.prod(tensor.shape), tensor.name.endswith("norm.weight"), generator)
            at += padded(tensor.size_bytes or 0)


def _fill(file: Any, kind: str, elements: int, ones: bool, generator: np.random.Generator) -> None:
    if kind in ("F32", "F16", "BF16"):
        for start in range(0, elements, CHUNK_BLOCKS):
            count = min(CHUNK_BLOCKS, elements - start)
            values = np.ones(count, np.float32) if ones else generator.normal(0, 0.02, count).astype(np.float32)
            if kind == "BF16":
                file.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())
            else:
                file.write(values.astype(np.float32 if kind == "F32" else np.float16).tobytes())
        return
    block = block_types()[kind]
    blocks = elements // block.block
    for start in range(0, blocks, CHUNK_BLOCKS):
        count = min(CHUNK_BLOCKS, blocks - start)
        data = generator.integers(0, 256, (count, block.block_bytes), dtype=np.uint8)
        for offset in block.scale_offsets:
            data[:, offset : offset + 2] = SCALE
        file.write(data.tobytes())


def compare(zeros: list[Measurement], weights: list[Measurement]) -> dict[str, Any]:
    """Medians over the pairs, ratio zeros ÷ weights, and each side's spread."""
    found: dict[str, Any] = {"pairs": len(zeros)}
    for name in SPREADS:
        sides = {side: [getattr(run, name) for run in runs] for side, runs in (("zeros", zeros), ("weights", weights))}
        found[name] = {
            side: {"median": statistics.median(values), "low": min(values), "high": max(values)}
            for side, values in sides.items()
        }
        ratios = [a / b for a, b in zip(*sides.values(), strict=True)]
        found[name]["ratio"] = found[name]["zeros"]["median"] / found[name]["weights"]["median"]
        found[name]["median_of_pair_ratios"] = statistics.median(ratios)
    memory = [run.memory for run in (zeros[0], weights[0])]
    assert memory[0] is not None
    assert memory[1] is not None
    parts = ("weights_bytes", "kv_cache_bytes", "compute_bytes", "reclaimable_bytes")
    found["memory"] = {part: [getattr(side, part) for side in memory] for part in parts}
    found["memory_equal"] = all(one == other for one, other in found["memory"].values())
    found["noisy"] = sum(run.noisy for run in zeros + weights)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Qwen/Qwen3-0.6B")
    parser.add_argument("--quant", default="Q4_0")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--binding", choices=("llama-cpp-python", "xllamacpp"))
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--gen-tokens", type=int, default=48)
    parser.add_argument("--load", type=float, default=0.3, help="start a run when less CPUs than this are in use")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds to wait for that")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    device = this_machine()
    zeros: list[Measurement] = []
    weights: list[Measurement] = []
    with open_catalog() as catalog, tempfile.TemporaryDirectory() as folder:
        request = EstimateRequest(
            arguments.model, arguments.quant, device, context_tokens=1024, threads=arguments.threads
        )
        plan = plan_rehearsal(request, catalog, None, arguments.prompt_tokens, arguments.gen_tokens)
        path = Path(folder) / "weights.gguf"
        write_with_weights(architecture_of(catalog, arguments.model), arguments.quant, path)
        real = RunRequest(
            plan.forecast.model_id,
            plan.forecast.quantization,
            plan.forecast.settings,
            model_path=str(path),
            binding=arguments.binding,
            prompt_tokens=plan.prompt_tokens,
            gen_tokens=plan.gen_tokens,
            device_name=device.name,
            rehearsal=True,  # the same prompts as the weightless file gets
        )
        measure(replace(real, repeats=1, gen_tokens=1))  # brings the file into the page cache
        for pair in range(arguments.pairs):
            wait_until_quiet(arguments.load, arguments.patience)
            zeros.append(rehearse(plan.rehearsal(arguments.binding), catalog, device))
            wait_until_quiet(arguments.load, arguments.patience)
            weights.append(measure(real))
            print(
                f"pair {pair + 1}, zeros and weights: decode {zeros[-1].decode_tokens_per_s:.1f} and "
                f"{weights[-1].decode_tokens_per_s:.1f}, prefill {zeros[-1].prefill_tokens_per_s:.0f} and "
                f"{weights[-1].prefill_tokens_per_s:.0f} tok/s",
                file=sys.stderr,
                flush=True,
            )
    found = compare(zeros, weights)
    if arguments.json:
        print(json.dumps({"model": arguments.model, "quantization": arguments.quant, **found}, indent=1))
        return
    print(
        f"{arguments.model} {arguments.quant}, {zeros[0].binding}, {found['pairs']} pairs, {found['noisy']} runs noisy"
    )
    for name in SPREADS:
        row = found[name]
        print(
            f"  {name:22s} zeros {row['zeros']['median']:.1f}, weights {row['weights']['median']:.1f}: "
            f"ratio {row['ratio']:.3f} (median of pairs {row['median_of_pair_ratios']:.3f})"
        )
    print(f"  memory {'equal' if found['memory_equal'] else 'differs: ' + str(found['memory'])}")


if __name__ == "__main__":
    main()
