"""Microsoft Olive → ONNX Runtime GenAI: a pipeline from the original weights to CPU, GPU or NPU.

Flags as in olive/cli/optimize.py of olive-ai 0.13.0.
"""

from __future__ import annotations

from importlib.util import find_spec

from recommender.runtimes import olive, platforms, shell, tables
from recommender.runtimes.base import RuntimeModel, TableRuntime, Target, quantization_of, settings_of
from recommender.runtimes.recipe import Step
from recommender.types import Pick

# An NPU's provider is its maker's: QNN is Qualcomm's, and the command says which the others take.
_PROVIDERS = {
    "cpu": "CPUExecutionProvider --device cpu",
    "cuda": "CUDAExecutionProvider --device gpu",
    "webgpu": "WebGpuExecutionProvider --device gpu",
    "npu": "QNNExecutionProvider --device npu",
}

_RECIPES = "github.com/microsoft/olive-recipes/tree/main"
_OTHER_NPUS = "# Intel NPU: OpenVINOExecutionProvider; AMD NPU: VitisAIExecutionProvider"

# What the library's README shows, in a line: load, put the prompt in, print tokens as they come.
_GENERATE = (
    "import onnxruntime_genai as og; "
    "model = og.Model({folder!r}); tokenizer = og.Tokenizer(model); stream = tokenizer.create_stream(); "
    "params = og.GeneratorParams(model); params.set_search_options(max_length={context_tokens}); "
    "generator = og.Generator(model, params); generator.append_tokens(tokenizer.encode('Hello')); "
    "exec('while not generator.is_done():\\n generator.generate_next_token()\\n "
    'print(stream.decode(generator.get_next_tokens()[0]), end="", flush=True)\')'
)


class OnnxGenai(TableRuntime):
    id = "onnx-genai"

    def command(self, pick: Pick, model: RuntimeModel, accelerator: str = "") -> str:
        quantization = quantization_of(pick)
        self.refuse(model, quantization)
        settings = settings_of(pick)
        target = accelerator or ("cuda" if settings.gpu_layers > 0 else "cpu")
        folder = _folder(model, quantization)
        convert = _optimize(model, quantization, _PROVIDERS.get(target, _PROVIDERS["cpu"]))
        code = _GENERATE.format(folder=folder, context_tokens=settings.context_tokens)
        command = shell.steps(convert, f"python -c {shell.quoted(code)}")
        return f"{_OTHER_NPUS}\n{command}" if target == "npu" else command

    def install_steps(self, target: Target) -> tuple[Step, ...]:
        to = olive.TARGETS[self._target(target)]
        return (target.commands("Install", to.install, "In an environment of its own: Olive needs these versions."),)

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        self.refuse(target.model, target.quantization)
        folder, to = _folder(target.model, target.quantization), self._target(target)
        config = olive.config(shell.repository(target.model.base_repo), folder, to)
        run = olive.run_script(folder, to, target.settings.context_tokens, target.settings.threads)
        return (
            Step("Olive's configuration", config, "json", file_name="olive.json"),
            target.commands("Convert and quantize", "olive run --config olive.json"),
            Step("Run it", run, "python", file_name="run.py", note="python run.py"),
        )

    def check_step(self, target: Target) -> Step:
        return target.commands("Check that it works", "python run.py", "It prints an answer.")

    def measure_step(self, target: Target) -> Step:
        line = shell.join(
            f"recommender measure --onnx {_folder(target.model, target.quantization)}",
            f"--model {shell.repository(target.model.model_id)} --quant {target.quantization}",
            f"--context {target.settings.context_tokens} --threads {target.settings.threads}",
        )
        note = "With Rightsize installed in the same environment. Speed and memory are kept in History."
        return target.commands("Measure it with Rightsize", line, note)

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        folder, base = _folder(target.model, target.quantization), shell.repository(target.model.base_repo)
        chosen = self._target(target)
        to = olive.TARGETS[chosen]
        found = [
            Step(
                "Before and after",
                olive.before_after_script(base, folder, chosen),
                "python",
                file_name="before_after.py",
                note="Size on disk and tokens per second of the original weights and of the converted ones: python "
                "before_after.py. It holds the original weights in memory.",
            )
        ]
        if to.optimize:
            line = _optimize(target.model, target.quantization, f"{to.provider} --device {to.device}")
            note = "Calibrates with texts that it fetches from the Hub, which takes longer and may lose less."
            found.append(target.commands("In one line, with GPTQ", line, note))
        if chosen == "cpu":
            int8 = olive.config(base, f"{folder}-as-int8", "cpu", "int8")
            note = "olive run --config olive-int8.json. On the way it writes the weights in 32 bits: four bytes each."
            found.append(Step("With int8 instead", int8, "json", file_name="olive-int8.json", note=note))
        if maker := self._unpublished_npu(target):
            npu = olive.TARGETS[maker]
            at = f"{folder}-npu"
            inside = f"It needs {npu.environment}. " if npu.environment else ""
            found += [
                target.commands("For the NPU: install", npu.install, f"In an environment of its own. {inside}".strip()),
                Step(
                    "For the NPU: Olive's configuration",
                    olive.config(base, at, maker),
                    "json",
                    file_name="olive-npu.json",
                    note="olive run --config olive-npu.json",
                ),
                Step(
                    "For the NPU: run it",
                    olive.run_script(at, maker, target.settings.context_tokens, target.settings.threads),
                    "python",
                    file_name="run_npu.py",
                    note="python run_npu.py. Where the NPU's driver does not take this model, loading ends with an "
                    "error, and the recipe above stays.",
                ),
            ]
        return tuple(found)

    def notes(self, target: Target) -> tuple[str, ...]:
        to = olive.TARGETS[self._target(target)]
        found = []
        row = self._npu_row(target) if target.accelerator == "npu" else None
        if row and row.how == "recipe":
            found.append(
                "Olive's makers have tuned this conversion in a longer recipe of their own: "
                f"{_RECIPES}/{shell.file_name(row.name)}"
            )
        if to.environment:
            found.append(f"It needs {to.environment}")
        if self._unpublished_npu(target):
            processor = "the CPU" if to.device == "cpu" else "the GPU"
            found.append(
                f"No variant of {target.model.model_id} for {target.device.npu_name or 'this NPU'} is in the catalog, "
                f"so this recipe falls back to {processor}; under other ways is how to make one for the NPU"
            )
        if to.provider == "DmlExecutionProvider":
            found.append("The GPU is reached through DirectML, which any GPU with DirectX 12 has")
        elif target.accelerator == "webgpu":
            found.append("ONNX Runtime's packages for this GPU do not exist for this system, so the CPU computes")
        if target.device.os == "android":
            found.append("Convert on a computer; an app on the phone loads the folder with the library's Java API")
        return (*found, "The folder loads with newer versions of onnxruntime-genai too; only Olive needs this one")

    def _target(self, target: Target) -> str:
        """The key of Olive's target: the NPU only where the catalog has a variant for it."""
        found = olive.target_of(target.device, target.accelerator or target.on_gpu)
        if not self._unpublished_npu(target):
            return found
        others = [one for one in self.accelerators_for(target.device) if one != "npu"]
        return olive.target_of(target.device, others[0] if others else "cpu")

    def _unpublished_npu(self, target: Target) -> str:
        """Olive's target for the NPU that the pick wants and the catalog has no variant for, else ""."""
        if target.accelerator != "npu" or self._npu_row(target):
            return ""
        found = olive.target_of(target.device, "npu")
        return found if olive.TARGETS[found].device == "npu" else ""

    def _npu_row(self, target: Target) -> tables.NpuModel | None:
        """What the catalog knows of this model on this device's NPU."""
        rows = tables.npu_models(self.id).get(target.model.model_id, ())
        return next((row for row in rows if row.npu in platforms.npu_makers(target.device)), None)

    def can_try_here(self) -> bool:
        """Its library is installed; it is not imported to find out."""
        return find_spec("onnxruntime_genai") is not None


def _folder(model: RuntimeModel, quantization: str) -> str:
    """Olive takes an output path with a dot in its name for a file (olive/cache.py: save_model)."""
    return f"{model.local_name}-{shell.name(quantization)}".replace(".", "_")


def _optimize(model: RuntimeModel, quantization: str, provider: str) -> str:
    return shell.join(
        f"olive optimize -m {shell.repository(model.base_repo)}",
        f"--precision {shell.name(quantization.removeprefix('onnx-'))} --provider {provider}",
        f"-o {_folder(model, quantization)}",
    )


RUNTIME = OnnxGenai()
