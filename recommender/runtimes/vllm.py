"""vLLM: many users at once on a server's GPUs. Flags as in vllm/engine/arg_utils.py of 0.33.0."""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, quantization_of, settings_of
from recommender.runtimes.gguf import hub_reference, make_steps
from recommender.types import Pick, Settings

# Quantizations that need weights somebody has quantized already; 8-bit floats vLLM can make while it loads.
_NEED_A_CHECKPOINT = ("awq-int4", "gptq-int4")


class Vllm(TableRuntime):
    id = "vllm"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        flags = server_flags(settings_of(pick))
        if model.format == "gguf":
            return _gguf(model, quantization, flags)
        own = model.repo if model.repo and model.repo != model.base_repo else ""
        source = shell.repository(own or model.base_repo)
        made_here = "--quantization fp8" if quantization == "fp8" and not own else ""
        # The weights' own type is the default, and 16-bit floats stand in for bfloat16 where a GPU lacks it.
        return shell.join("vllm serve", source, made_here, flags)

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        if quantization in _NEED_A_CHECKPOINT and model.repo in ("", model.base_repo):
            return f"No published {quantization} weights of {model.model_id} are in the catalog"
        return ""


def _gguf(model: RuntimeModel, quantization: str, flags: str) -> str:
    """Through the vllm-gguf-plugin; the tokenizer comes from the original weights, as its documents advise."""
    before: list[str] = []
    if model.repo:
        source = hub_reference(model, quantization)
    elif model.file:
        source = shell.path(model.file)
    else:
        before, source = make_steps(model, quantization)
    tokenizer = f"--tokenizer {shell.repository(model.base_repo)}" if model.base_repo else ""
    return shell.steps("uv pip install vllm-gguf-plugin", *before, shell.join("vllm serve", source, tokenizer, flags))


def server_flags(settings: Settings) -> str:
    """The settings as ``vllm serve`` takes them. The context counts per sequence; an 8-bit cache is fp8 there."""
    return shell.join(
        f"--max-model-len {settings.context_tokens}",
        f"--max-num-seqs {settings.parallel}" if settings.parallel > 1 else "",
        "--kv-cache-dtype fp8" if settings.kv_type == "q8_0" else "",
    )


RUNTIME = Vllm()
