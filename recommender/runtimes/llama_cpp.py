"""llama.cpp: any hardware, the widest choice of quantizations. Flags as in its common/arg.cpp."""

from __future__ import annotations

from importlib.util import find_spec

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.gguf import file_here, make_steps, tag_names_file
from recommender.runtimes.recipe import Step
from recommender.types import BATCH_TOKENS, UBATCH_TOKENS, Pick, Settings

# A flag that only repeats llama.cpp's own default is left out.
_DEFAULT_KV_TYPE = "f16"
# Its public images by accelerator, and what lets a container reach that (docs/docker.md).
_IMAGES = {
    "cuda": ("server-cuda", "--gpus all"),
    "rocm": ("server-rocm", "--device /dev/kfd --device /dev/dri"),
    "vulkan": ("server-vulkan", "--device /dev/dri"),
}


class LlamaCpp(TableRuntime):
    id = "llama.cpp"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        before, source = self._source(pick, model)
        flags = server_flags(settings_of(pick))
        return shell.steps(*before, shell.join("llama-server", source, flags, "--port 8080"))

    def _source(self, pick: Pick, model: RuntimeModel) -> tuple[list[str], str]:
        """Commands that make the file first, and the flags that name it."""
        self.refuse(model, pick.quantization or "")
        quantization = quantization_of(pick)
        if model.repo and model.file and not tag_names_file(model.file, quantization):
            return [], f"-hf {shell.repository(model.repo)} -hff {shell.file_name(model.file)}"
        if model.repo:
            return [], f"-hf {shell.repository(model.repo)}:{quantization}"
        before, file = file_here(model, quantization)
        return before, f"-m {file}"

    def install_steps(self, target: Target) -> tuple[Step, ...]:
        found = super().install_steps(target)
        if target.device.os != "android":
            return found
        return (*found, Step("Find its programs", 'export PATH="$PWD/llama.cpp/build/bin:$PATH"'))

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        settings, quantization = target.settings, target.quantization
        _, source = self._source(target.pick, target.model)
        run = shared_flags(settings)
        found = [
            target.commands("In a terminal", shell.join("llama-cli", source, f"-c {settings.context_tokens}", run)),
            target.commands(
                "llama-bench",
                shell.join("llama-bench", source, bench_flags(settings), "-p 512 -n 128 -r 3"),
                "Its own benchmark with the same settings: prefill of 512 tokens and decode of 128, three repeats.",
            ),
        ]
        if target.model.base_repo and target.device.os in ("linux", "macos", "windows"):
            steps, made = make_steps(target.model, quantization)
            tools = "In a checkout of llama.cpp, with its tools on the path and `pip install -r requirements.txt` done."
            matrix = " The importance matrix is computed from a text of your own, calibration.txt."
            note = tools + (matrix if any("imatrix" in step for step in steps) else "")
            found.append(target.commands(f"Make {made} yourself", shell.steps(*steps), note))
        if target.device.os == "linux" and not source.startswith("-m"):
            found.append(Step("In a container", _container(target, source)))
        return tuple(found)

    def can_try_here(self) -> bool:
        """One of the two bindings is installed; neither is imported to find out."""
        return any(find_spec(binding) is not None for binding in ("llama_cpp", "xllamacpp"))


def shared_flags(settings: Settings) -> str:
    """The settings as llama-server and llama-cli take them alike."""
    kv_type = shell.name(settings.kv_type)
    return shell.join(
        f"-ngl {settings.gpu_layers if settings.gpu_layers >= 0 else 'auto'}",
        f"-t {settings.threads}" if settings.threads > 0 else "",
        f"-fa {'on' if settings.flash_attn else 'off'}",
        f"-ctk {kv_type} -ctv {kv_type}" if kv_type != _DEFAULT_KV_TYPE else "",
        f"-b {settings.batch_tokens}" if settings.batch_tokens != BATCH_TOKENS else "",
        f"-ub {settings.ubatch_tokens}" if settings.ubatch_tokens != UBATCH_TOKENS else "",
    )


def server_flags(settings: Settings) -> str:
    """The settings as llama-server's flags. Its context is shared by all parallel sequences, so it is their sum."""
    parallel = max(1, settings.parallel)
    return shell.join(f"-c {settings.context_tokens * parallel}", f"-np {parallel}", shared_flags(settings))


def bench_flags(settings: Settings) -> str:
    """The settings as llama-bench's flags: it takes a number of layers only, −1 being as many as there are."""
    return shared_flags(settings).replace("-ngl auto", "-ngl -1")


def _container(target: Target, source: str) -> str:
    image, reach = _IMAGES.get(target.on_gpu, ("server", ""))
    lines = (
        shell.join("docker run --rm", reach, "-p 127.0.0.1:8080:8080 -v llama-models:/root/.cache"),
        f"  ghcr.io/ggml-org/llama.cpp:{image}",
        f"  {source} {server_flags(target.settings)} --host 0.0.0.0 --port 8080",
    )
    return " \\\n".join(lines)


RUNTIME = LlamaCpp()
