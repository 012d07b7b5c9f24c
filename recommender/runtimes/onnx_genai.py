"""Microsoft Olive → ONNX Runtime GenAI: a pipeline from the original weights to CPU, GPU or NPU.

Flags as in olive/cli/optimize.py of olive-ai 0.13.0.
"""

from __future__ import annotations

from importlib.util import find_spec

from recommender.runtimes import olive, shell
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
        to = olive.TARGETS[_olive_target(target)]
        return (target.commands("Install", f"pip install {olive.OLIVE_PACKAGES} {to.packages}"),)

    def run_steps(self, target: Target) -> tuple[Step, ...]:
        self.refuse(target.model, target.quantization)
        folder, base = _folder(target.model, target.quantization), shell.repository(target.model.base_repo)
        run = olive.RUN.replace("{folder}", folder).replace("{context_tokens}", str(target.settings.context_tokens))
        return (
            Step(
                "Olive's configuration",
                olive.config(base, folder, _olive_target(target)),
                "json",
                file_name="olive.json",
            ),
            target.commands("Convert and quantize", "olive run --config olive.json"),
            Step("Run it", run, "python", file_name="run.py", note="python run.py"),
        )

    def check_step(self, target: Target) -> Step:
        return target.commands("Check that it works", "python run.py", "It prints an answer.")

    def measure_step(self, target: Target) -> Step:
        line = shell.join(
            f"recommender measure --onnx {_folder(target.model, target.quantization)}",
            f"--model {shell.repository(target.model.model_id)} --quant {target.quantization}",
        )
        return target.commands("Measure it with Rightsize", line, "Speed and memory are kept in History.")

    def optional_steps(self, target: Target) -> tuple[Step, ...]:
        folder, base = _folder(target.model, target.quantization), shell.repository(target.model.base_repo)
        script = olive.BEFORE_AFTER.replace("{base}", base).replace("{folder}", folder)
        found = [
            Step("Before and after", script, "python", file_name="before_after.py", note="Size on disk and speed.")
        ]
        to = olive.TARGETS[_olive_target(target)]
        if to.optimize:
            line = _optimize(target.model, target.quantization, f"{to.provider} --device {to.device}")
            note = "Calibrates with texts that it fetches from the Hub."
            found.append(target.commands("In one line", line, note))
        if to.device == "cpu":
            int8 = olive.config(base, f"{folder}-as-int8", "cpu", "int8")
            found.append(Step("With int8", int8, "json", file_name="olive-int8.json"))
        elif target.device.os == "windows" and to.device == "gpu":
            directml = olive.config(base, f"{folder}-directml", "directml")
            note = f"For any GPU with DirectX 12, with {olive.TARGETS['directml'].packages} installed."
            found.append(Step("With DirectML", directml, "json", file_name="olive-directml.json", note=note))
        return tuple(found)

    def can_try_here(self) -> bool:
        """Its library is installed; it is not imported to find out."""
        return find_spec("onnxruntime_genai") is not None


def _olive_target(target: Target) -> str:
    return olive.target_of(target.device, target.accelerator or target.on_gpu)


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
