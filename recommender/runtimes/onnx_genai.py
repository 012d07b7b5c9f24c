"""Microsoft Olive → ONNX Runtime GenAI: a pipeline from the original weights to CPU, GPU or NPU.

Flags as in olive/cli/optimize.py of olive-ai 0.13.0.
"""

from __future__ import annotations

from recommender.runtimes import shell
from recommender.runtimes.base import RuntimeModel, TableRuntime, quantization_of, settings_of
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
        # Olive takes an output path with a dot in its name for a file (olive/cache.py: save_model).
        folder = f"{model.local_name}-{quantization}".replace(".", "_")
        convert = shell.join(
            "olive optimize -m",
            shell.repository(model.base_repo),
            "--precision",
            shell.name(quantization.removeprefix("onnx-")),
            "--provider",
            _PROVIDERS.get(target, _PROVIDERS["cpu"]),
            "-o",
            folder,
        )
        code = _GENERATE.format(folder=folder, context_tokens=settings.context_tokens)
        command = shell.steps(convert, f"python -c {shell.quoted(code)}")
        return f"{_OTHER_NPUS}\n{command}" if target == "npu" else command


RUNTIME = OnnxGenai()
