"""llama.cpp: any hardware, the widest choice of quantizations. Flags as in its common/arg.cpp."""

from __future__ import annotations

from importlib.util import find_spec

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, quantization_of, settings_of
from recommender.runtimes.gguf import make_steps, tag_names_file
from recommender.types import BATCH_TOKENS, UBATCH_TOKENS, Pick, Settings

# A flag that only repeats llama.cpp's own default is left out.
_DEFAULT_KV_TYPE = "f16"


class LlamaCpp(TableRuntime):
    id = "llama.cpp"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        self.refuse(model, pick.quantization or "")
        quantization = quantization_of(pick)
        settings = settings_of(pick)
        before: list[str] = []
        if model.repo and model.file and not tag_names_file(model.file, quantization):
            source = f"-hf {shell.repository(model.repo)} -hff {shell.file_name(model.file)}"
        elif model.repo:
            source = f"-hf {shell.repository(model.repo)}:{quantization}"
        elif model.file:
            source = f"-m {shell.path(model.file)}"
        else:
            before, made = make_steps(model, quantization)
            source = f"-m {made}"
        return shell.steps(*before, shell.join("llama-server", source, server_flags(settings), "--port 8080"))

    def can_try_here(self) -> bool:
        """One of the two bindings is installed; neither is imported to find out."""
        return any(find_spec(binding) is not None for binding in ("llama_cpp", "xllamacpp"))


def server_flags(settings: Settings) -> str:
    """The settings as llama-server's flags. Its context is shared by all parallel sequences, so it is their sum."""
    parallel = max(1, settings.parallel)
    kv_type = shell.name(settings.kv_type)
    return shell.join(
        f"-c {settings.context_tokens * parallel}",
        f"-np {parallel}",
        f"-ngl {settings.gpu_layers if settings.gpu_layers >= 0 else 'auto'}",
        f"-t {settings.threads}" if settings.threads > 0 else "",
        f"-fa {'on' if settings.flash_attn else 'off'}",
        f"-ctk {kv_type} -ctv {kv_type}" if kv_type != _DEFAULT_KV_TYPE else "",
        f"-b {settings.batch_tokens}" if settings.batch_tokens != BATCH_TOKENS else "",
        f"-ub {settings.ubatch_tokens}" if settings.ubatch_tokens != UBATCH_TOKENS else "",
    )


RUNTIME = LlamaCpp()
