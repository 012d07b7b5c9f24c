"""From what a person wants to try to a run: the Try page and ``recommender measure`` ask for the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from recommender.device import device_key
from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, estimate_one
from recommender.errors import BadInputError
from recommender.runner.hub import resolve_file
from recommender.runner.protocol import RunRequest, TokenCounts
from recommender.runner.rehearse import REPEATS, Rehearsal, expected_s, usual_counts
from recommender.types import BATCH_TOKENS, UBATCH_TOKENS, Device, Settings

if TYPE_CHECKING:
    from recommender.catalog.store import Catalog
    from recommender.estimate.calibrate import Calibration

MEASURED_PROMPT_TOKENS, MEASURED_GEN_TOKENS, MEASURED_REPEATS = 512, 128, 3


@dataclass(frozen=True)
class Source:
    """Which model, and where: ``path`` here, ``repo`` and ``file`` on the Hub, or ``file`` as a server names it."""

    model_id: str
    quantization: str
    label: str  # of the button: what pressing it costs
    path: str = ""
    repo: str = ""
    file: str = ""
    revision: str = ""
    sha256: str = ""
    file_bytes: float | None = None  # as the catalog has it
    runtime: str = "llama.cpp"
    endpoint: str = ""
    api_key: str = field(default="", repr=False)


def found_on_hub(source: Source) -> Source:
    """The same source with its file looked up on the Hub where the catalog does not name one.

    Raises:
        BadInputError: the catalog knows no published file.
        DownloadError: the Hub cannot be asked, or has no such file.
    """
    if source.path or source.file:
        return source
    if not source.repo:
        raise BadInputError(
            f"No published {source.quantization} file of {source.model_id} is known. Choose another quantization, "
            "rehearse it, or give a GGUF file of your own."
        )
    choice = resolve_file(source.repo, source.quantization)
    first = choice.files[0]
    return replace(source, file=first.path, revision=choice.revision, sha256=first.sha256)


def run_request(
    source: Source,
    settings: Settings,
    prompt: str,
    device: Device,
    forecast: EstimateAnswer | None,
    binding: str | None = None,
    prompt_tokens: int = MEASURED_PROMPT_TOKENS,
    gen_tokens: int = MEASURED_GEN_TOKENS,
    repeats: int = MEASURED_REPEATS,
    task_counts: TokenCounts | None = None,
    keep_loaded: bool = False,
) -> RunRequest:
    """A run that answers the prompt first, if there is one, and is then measured with fixed token counts.

    The counts shrink with a context that is too short for them; the task's own are then left out.
    """
    if task_counts and task_counts.prompt_tokens + task_counts.gen_tokens + 1 > settings.context_tokens:
        task_counts = None
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
        file=source.file if source.runtime != "llama.cpp" or not source.path else "",
        runtime=source.runtime,
        endpoint=source.endpoint,
        api_key=source.api_key,
        expected_file_bytes=source.file_bytes,
        revision=source.revision,
        file_sha256=source.sha256,
        binding=binding,
        prompt=prompt,
        answer_first=True,
        prompt_tokens=min(prompt_tokens, settings.context_tokens // 2),
        gen_tokens=min(gen_tokens, settings.context_tokens // 4),
        task_counts=task_counts,
        repeats=repeats,
        keep_loaded=keep_loaded,
        device_name=device.name,
        device_key=device_key(device),
        predicted_decode_tokens_per_s=decode.value if decode else None,
        predicted_prefill_tokens_per_s=prefill.value if prefill else None,
        predicted_ttft_s=ttft.value if ttft else None,
        predicted_memory_bytes=memory.total_bytes if memory else None,
    )


@dataclass(frozen=True)
class RehearsalPlan:
    """A rehearsal as it would be run, with what it should show."""

    forecast: EstimateAnswer
    prompt_tokens: int
    gen_tokens: int
    expected_s: float  # NaN where the speed cannot be estimated

    def rehearsal(self, binding: str | None = None, repeats: int = REPEATS) -> Rehearsal:
        """What to hand to ``runner.rehearse``."""
        forecast = self.forecast
        return Rehearsal(
            forecast.model_id,
            forecast.quantization,
            forecast.settings,
            forecast.estimate,
            runtime=forecast.runtime,
            binding=binding,
            prompt_tokens=self.prompt_tokens,
            gen_tokens=self.gen_tokens,
            repeats=repeats,
        )


def usual_settings(context_tokens: int, threads: int, gpu_layers: int) -> Settings:
    """What llama.cpp does when nothing else is asked; ``gpu_layers`` −1 is as many as fit."""
    return Settings(context_tokens, "f16", BATCH_TOKENS, UBATCH_TOKENS, 1, threads, gpu_layers, True)


def plan_rehearsal(
    request: EstimateRequest,
    catalog: Catalog,
    calibration: Calibration | None = None,
    prompt_tokens: int | None = None,
    gen_tokens: int | None = None,
    repeats: int = REPEATS,
) -> RehearsalPlan:
    """How many tokens to measure for about 20 s, unless they are given, and the estimate for just that.

    Raises:
        RecommenderError: the name is unknown or a setting makes no sense.
    """
    usual = usual_counts(estimate_one(request, catalog, calibration).estimate, request.context_tokens, repeats)
    prompt = usual[0] if prompt_tokens is None else prompt_tokens
    gen = usual[1] if gen_tokens is None else gen_tokens
    forecast = estimate_one(replace(request, prompt_tokens=prompt, gen_tokens=gen), catalog, calibration)
    return RehearsalPlan(forecast, prompt, gen, expected_s(forecast.estimate, prompt, gen, repeats))
