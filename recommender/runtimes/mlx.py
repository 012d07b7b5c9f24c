"""Apple MLX (mlx-lm): Apple silicon. Flags as in mlx_lm/server.py and mlx_lm/convert.py of 0.32.2."""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, quantization_of
from recommender.types import Pick

_PREFIX = "mlx-"
# convert: -q with a number of bits; unquantized weights keep their type unless one is named.
_CONVERT_FLAGS = {"mlx-4bit": "-q --q-bits 4", "mlx-8bit": "-q --q-bits 8", "mlx-bf16": "--dtype bfloat16"}


class Mlx(TableRuntime):
    id = "mlx"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        source = published_repository(model, quantization)
        if source:
            return f"mlx_lm.server --model {source} --port 8080"
        folder = f"{model.local_name}-{quantization}"
        convert = shell.join(
            "mlx_lm.convert --hf-path",
            shell.repository(model.base_repo),
            "--mlx-path",
            folder,
            _CONVERT_FLAGS.get(quantization, ""),
        )
        return shell.steps(convert, f"mlx_lm.server --model {folder} --port 8080")


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


RUNTIME = Mlx()
