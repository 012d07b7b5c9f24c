"""bitnet.cpp: 1.58-bit models on CPUs. Flags as in microsoft/BitNet: setup_env.py, run_inference.py and its server."""

from __future__ import annotations

from recommender.runtimes import shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.recipe import Step
from recommender.types import Pick


class BitnetCpp(TableRuntime):
    id = "bitnet.cpp"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        before, file = self._set_up(pick, model)
        settings = settings_of(pick)
        return shell.steps(
            *before,
            shell.join(
                f'python run_inference.py -m {file} -p "You are a helpful assistant" -cnv',
                f"-c {settings.context_tokens}",
                f"-t {settings.threads}" if settings.threads > 0 else "",
            ),
        )

    def _set_up(self, pick: Pick, model: RuntimeModel) -> tuple[list[str], str]:
        """Commands that fetch the file and build the kernels for it, and its path."""
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        # setup_env.py makes its kernels by the folder's name: that of the original model, letter case included.
        own = tables.published(self.id, model.model_id, model.format, quantization)
        repo, file = (own.repo, own.file) if own else (model.repo, model.file)
        repo, file = shell.repository(repo), shell.file_name(file)
        folder = f"models/{shell.name(own.name) if own else repo.rpartition('/')[2].removesuffix('-gguf')}"
        download = f"hf download {repo} --local-dir {folder}"
        return [download, f"python setup_env.py -md {folder} -q {quantization.lower()}"], f"{folder}/{file}"

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        before, file = self._set_up(target.pick, target.model)
        settings = target.settings
        serve = shell.join(
            f"python run_inference_server.py -m {file} -c {settings.context_tokens} -n -1",
            f"-t {settings.threads}" if settings.threads > 0 else "",
            "--port 8080",
        )
        where = "In the folder BitNet that the installation made."
        if target.device.os == "windows":
            where += " Its build needs a Developer PowerShell for VS 2022 with clang."
        return target.commands("Fetch and build", shell.steps(*before), where), target.commands("Run it", serve)

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        command = self.command(target.pick, target.model, target.accelerator)
        return (target.commands("In a terminal", command.rpartition(" &&\n")[2]),)

    def model_reason(self, model: RuntimeModel, quantization: str) -> str:
        own = tables.published(self.id, model.model_id, model.format, quantization)
        if own is None and not (model.repo and model.file):
            return f"No published {quantization or 'ternary'} file of {model.model_id} is in the catalog"
        return ""


RUNTIME = BitnetCpp()
