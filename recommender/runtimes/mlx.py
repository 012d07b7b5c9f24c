"""Apple MLX (mlx-lm): Apple silicon. Flags as in mlx_lm/server.py and mlx_lm/convert.py of 0.32.2."""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of
from recommender.runtimes.recipe import Step
from recommender.types import Pick

_BENCHMARK = """import statistics

import mlx.core as mx
from mlx_lm import load, stream_generate

PROMPT_TOKENS, GENERATED_TOKENS, REPEATS = 512, 128, 3

model, tokenizer = load("{source}")
prompt = mx.random.randint(0, model.args.vocab_size, (PROMPT_TOKENS,)).tolist()
tokenizer._eos_token_ids = set()  # a fixed number of tokens: nothing ends early


def run():
    for last in stream_generate(model, tokenizer, prompt, max_tokens=GENERATED_TOKENS):
        pass
    return last


run()  # warm-up
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


class Mlx(TableRuntime):
    id = "mlx"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        convert, source = _source(model, quantization)
        return shell.steps(convert, f"mlx_lm.server --model {source} --port 8080")

    def served(self, target: Target) -> str:
        return _source(target.model, target.quantization)[1]

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        _, source = _source(target.model, target.quantization)
        found = [
            Step("In a terminal", f"mlx_lm.generate --model {source} --max-tokens 200 --prompt 'Say hello.'"),
            Step(
                "Benchmark",
                _BENCHMARK.replace("{source}", source),
                "python",
                file_name="benchmark.py",
                note="A warm-up, then three repeats of 512 prompt and 128 generated tokens: python benchmark.py",
            ),
        ]
        if target.model.base_repo:
            note = "From the original weights, in groups of 64 weights that share a scale."
            found.append(Step("Convert it yourself", convert_command(target.model, target.quantization), note=note))
        return tuple(found)


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


def _source(model: RuntimeModel, quantization: str) -> tuple[str, str]:
    """The command that makes the weights or "", and where they are then."""
    published = published_repository(model, quantization)
    if published:
        return "", published
    return convert_command(model, quantization), f"{model.local_name}-{quantization}"


RUNTIME = Mlx()
