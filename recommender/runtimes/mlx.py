"""Apple MLX (mlx-lm): Apple silicon. Flags as in mlx_lm/server.py and mlx_lm/convert.py of 0.32.2."""

from __future__ import annotations

import math

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of
from recommender.runtimes.recipe import Step
from recommender.types import Pick

# The benchmark that mlx_lm brings prints means; this one has the spread too.
_BENCHMARK = """import statistics

import mlx.core as mx
from mlx_lm import load, stream_generate

MODEL = "{source}"
PROMPT_TOKENS, GENERATED_TOKENS, REPEATS = 512, 128, 3

model, tokenizer, config = load(MODEL, return_config=True)
vocabulary = config.get("vocab_size") or config["text_config"]["vocab_size"]
prompt = mx.random.randint(0, vocabulary, (PROMPT_TOKENS,)).tolist()
tokenizer._eos_token_ids = set()  # a fixed number of tokens: nothing ends early


def run():
    for last in stream_generate(model, tokenizer, prompt, max_tokens=GENERATED_TOKENS{options}):
        pass
    return last


run()  # warm-up
mx.reset_peak_memory()
runs = [run() for _ in range(REPEATS)]
for name, speeds in (
    ("prefill", [one.prompt_tps for one in runs]),
    ("decode", [one.generation_tps for one in runs]),
):
    print(f"{name}: {statistics.median(speeds):.1f} tokens/s ({min(speeds):.1f} to {max(speeds):.1f})")
print(f"peak memory: {runs[-1].peak_memory:.2f} GB")
"""
_PREFIX = "mlx-"
# convert: -q with a number of bits; unquantized weights keep their type unless one is named.
_CONVERT_FLAGS = {
    "mlx-4bit": "-q --q-bits 4 --q-group-size 64",
    "mlx-8bit": "-q --q-bits 8 --q-group-size 64",
    "mlx-bf16": "--dtype bfloat16",
}
_KV_BITS = {"q8_0": 8, "q4_0": 4}


class Mlx(TableRuntime):
    id = "mlx"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        convert, source = _source(model, quantization)
        return shell.steps(convert, f"mlx_lm.server --model {source} --port 8080")

    def install_steps(self, target: Target) -> tuple[Step, ...]:
        if target.device.os == "linux" and not target.on_gpu:
            return (Step("Install", "pip install 'mlx-lm[cpu]'"),)
        return super().install_steps(target)

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        convert, source = _source(target.model, target.quantization)
        serve = Step("Run it", shell.join(f"mlx_lm.server --model {source} --port 8080", server_flags(target)))
        if not convert:
            return (serve,)
        return (Step("Convert the original weights", convert, note=_convert_note(target.quantization)), serve)

    def served(self, target: Target) -> str:
        return _source(target.model, target.quantization)[1]

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        convert, source = _source(target.model, target.quantization)
        bits = kv_bits(target)
        found = [
            Step(
                "In a terminal",
                shell.join(
                    f"mlx_lm.generate --model {source} --max-tokens 200",
                    f"--kv-bits {bits}" if bits else "",
                    "--prompt 'Say hello.'",
                ),
            ),
            Step(
                "Benchmark",
                _BENCHMARK.replace("{source}", source).replace("{options}", f", kv_bits={bits}" if bits else ""),
                "python",
                file_name="benchmark.py",
                note="A warm-up, then three repeats of 512 prompt and 128 generated tokens: python benchmark.py",
            ),
        ]
        if target.model.base_repo and not convert:
            own = convert_command(target.model, target.quantization)
            found.append(Step("Convert it yourself", own, note=_convert_note(target.quantization)))
        return tuple(found)

    def notes(self, target: Target) -> tuple[str, ...]:
        found = [
            "mlx_lm.server has no limit of its own for the context: the estimate counts "
            f"{target.settings.context_tokens} tokens per request",
            "Its makers do not recommend the server for production: its security checks are basic",
        ]
        if kv_bits(target) and target.settings.parallel > 1:
            found.append("With a quantized cache it answers one request at a time")
        return tuple(found)


def server_flags(target: Target) -> str:
    """What of the settings mlx_lm.server takes: the cache's type, and how much of past requests it keeps."""
    memory, bits = target.pick.estimate.memory, kv_bits(target)
    return shell.join(
        f"--kv-bits {bits}" if bits else "",
        f"--decode-concurrency {target.settings.parallel}" if target.settings.parallel > 1 and not bits else "",
        f"--prompt-cache-bytes {math.ceil(memory.kv_cache_bytes)}" if memory and memory.kv_cache_bytes else "",
    )


def kv_bits(target: Target) -> int:
    """Bits per element of a quantized cache; 0 for one in the weights' own 16 bits."""
    return _KV_BITS.get(target.settings.kv_type, 0)


def published_repository(model: RuntimeModel, quantization: str) -> str:
    """The repository that holds this precision, or "". A name that does not say its precision is not taken.

    ``mlx_repo`` lists repositories separated by ";", some with "{quantization}" where "4bit", "8bit" or "bf16" goes.
    """
    if model.format == "mlx" and model.repo:
        return shell.repository(model.repo)
    bits = quantization.removeprefix(_PREFIX)
    for repo in model.mlx_repo.split(";"):
        name = repo.strip().replace("{quantization}", bits)
        if name.casefold().endswith(f"-{bits}"):
            return shell.repository(name)
    return ""


def convert_command(model: RuntimeModel, quantization: str) -> str:
    """The command that makes this precision of the original weights, in a folder of its own."""
    return shell.join(
        f"mlx_lm.convert --hf-path {shell.repository(model.base_repo)}",
        f"--mlx-path {model.local_name}-{shell.name(quantization)}",
        _CONVERT_FLAGS.get(quantization, ""),
    )


def _convert_note(quantization: str) -> str:
    flags = _CONVERT_FLAGS.get(quantization, "")
    return "In groups of 64 weights that share a scale and an offset." if "group" in flags else ""


def _source(model: RuntimeModel, quantization: str) -> tuple[str, str]:
    """The command that makes the weights or "", and where they are then."""
    published = published_repository(model, quantization)
    if published:
        return "", published
    return convert_command(model, quantization), f"{model.local_name}-{quantization}"


RUNTIME = Mlx()
