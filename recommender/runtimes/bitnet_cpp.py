"""bitnet.cpp: 1.58-bit models on CPUs. Flags as in setup_env.py and run_inference.py of microsoft/BitNet."""

from __future__ import annotations

from recommender.runtimes import shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, quantization_of, settings_of
from recommender.types import Pick


class BitnetCpp(TableRuntime):
    id = "bitnet.cpp"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        settings = settings_of(pick)
        # setup_env.py makes its kernels by the folder's name: that of the original model, letter case included.
        own = tables.published(self.id, model.model_id, model.format, quantization)
        repo, file = (own.repo, own.file) if own else (model.repo, model.file)
        repo, file = shell.repository(repo), shell.file_name(file)
        folder = f"models/{shell.name(own.name) if own else repo.rpartition('/')[2].removesuffix('-gguf')}"
        return shell.steps(
            f"hf download {repo} --local-dir {folder}",
            f"python setup_env.py -md {folder} -q {quantization.lower()}",
            shell.join(
                f'python run_inference.py -m {folder}/{file} -p "You are a helpful assistant" -cnv',
                f"-c {settings.context_tokens}",
                f"-t {settings.threads}" if settings.threads > 0 else "",
            ),
        )

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        own = tables.published(self.id, model.model_id, model.format, quantization)
        if own is None and not (model.repo and model.file):
            return f"No published {quantization or 'ternary'} file of {model.model_id} is in the catalog"
        return ""


RUNTIME = BitnetCpp()
