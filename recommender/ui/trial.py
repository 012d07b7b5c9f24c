"""From what a person chose on the Try page to a run."""

from __future__ import annotations

from dataclasses import dataclass

from recommender.device import device_key
from recommender.engine.estimate_rows import EstimateAnswer
from recommender.runner.protocol import RunRequest
from recommender.types import Device, Settings

MEASURED_PROMPT_TOKENS, MEASURED_GEN_TOKENS = 512, 128


@dataclass(frozen=True)
class Source:
    """Which model, and where its file is: ``path`` here, or ``repo`` and ``file`` on the Hub."""

    model_id: str
    quantization: str
    label: str  # of the button: what pressing it costs
    path: str = ""
    repo: str = ""
    file: str = ""
    revision: str = ""
    sha256: str = ""


def run_request(
    source: Source, settings: Settings, prompt: str, device: Device, forecast: EstimateAnswer | None
) -> RunRequest:
    """A run that answers the prompt first and is then measured with fixed token counts.

    The counts shrink with a context that is too short for them.
    """
    estimate = forecast.estimate if forecast else None
    decode, prefill, ttft, memory = (
        (estimate.decode_tokens_per_s, estimate.prefill_tokens_per_s, estimate.ttft_s, estimate.memory)
        if estimate
        else (None, None, None, None)
    )
    return RunRequest(
        model_id=source.model_id,
        quantization=source.quantization,
        settings=settings,
        model_path=source.path,
        repo="" if source.path else source.repo,
        file="" if source.path else source.file,
        revision=source.revision,
        file_sha256=source.sha256,
        prompt=prompt,
        answer_first=True,
        prompt_tokens=min(MEASURED_PROMPT_TOKENS, settings.context_tokens // 2),
        gen_tokens=min(MEASURED_GEN_TOKENS, settings.context_tokens // 4),
        device_name=device.name,
        device_key=device_key(device),
        predicted_decode_tokens_per_s=decode.value if decode else None,
        predicted_prefill_tokens_per_s=prefill.value if prefill else None,
        predicted_ttft_s=ttft.value if ttft else None,
        predicted_memory_bytes=memory.total_bytes if memory else None,
    )
