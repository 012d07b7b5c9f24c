"""``recommender measure``: run a model here and print predicted beside measured."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from recommender.calibrated import calibration_here
from recommender.catalog.measurements import MeasurementStore
from recommender.catalog.queries import find_model, variant_columns
from recommender.catalog.store import Catalog, open_catalog
from recommender.engine.estimate_rows import EstimateAnswer, EstimateRequest, default_threads, estimate_one
from recommender.engine.words import rate, seconds, size
from recommender.errors import BadInputError, RecommenderError, nearest
from recommender.plain import plain
from recommender.present import jsonable
from recommender.runner import protocol
from recommender.runner.bindings import choose_binding
from recommender.runner.checks import Verdict, summary
from recommender.runner.gguf_header import read_header
from recommender.runner.measure import measure
from recommender.trial import Source, found_on_hub, run_request, usual_settings
from recommender.types import Device, Measurement, Settings

_RUNTIME, _ONNX = "llama.cpp", "onnx-genai"


def measure_command(arguments: argparse.Namespace, device: Device) -> tuple[Any, str]:
    """Measure what the command line names, keep the measurement, and return it as JSON and as text.

    Raises:
        BadInputError: neither a file nor a model was named, or a number makes no sense.
        RecommenderError: it could not be fetched, loaded or run.
    """
    if arguments.repeats < 1:
        raise BadInputError(f"--repeats must be at least 1, not {arguments.repeats}.")
    with open_catalog() as catalog:
        source = _source(arguments, catalog)
        binding = choose_binding(arguments.binding).id if source.runtime == _RUNTIME else None
        checks = catalog.checks(arguments.check) if arguments.check else ()
        # A server may be another machine, so nothing is predicted for it.
        forecast = None if source.endpoint else _forecast(source, arguments, device, catalog)
    settings = forecast.settings if forecast else _settings(arguments, device)
    request = run_request(
        source if source.endpoint else found_on_hub(source),
        settings,
        "",
        device,
        forecast,
        binding=binding,
        prompt_tokens=arguments.prompt_tokens,
        gen_tokens=arguments.gen_tokens,
        repeats=arguments.repeats,
    )
    verdicts: list[Verdict] = []

    def on_event(event: protocol.Event) -> None:
        if isinstance(event, protocol.Checked):
            verdicts.append(event.verdict)
        if not arguments.json:
            _report(event)

    result = measure(replace(request, checks=checks), on_event)
    MeasurementStore().add(result)
    found, text = jsonable(result), measurement_text(result)
    if checks:
        found["checks"] = jsonable(verdicts)
        text = "\n".join([text, f"  {summary(verdicts)}", *(_verdict(one) for one in verdicts)])
    return found, text


def _verdict(one: Verdict) -> str:
    return f"    {one.check_id}: passed" if one.passed else f"    {one.check_id}: {plain(one.detail)}"


def _source(arguments: argparse.Namespace, catalog: Catalog) -> Source:
    """Exactly one of a server, a file and a model of the catalog."""
    if arguments.endpoint:
        if arguments.file or arguments.onnx:
            raise BadInputError("--endpoint measures a server: leave --file and --onnx out.")
        return _at_server(arguments, catalog)
    if arguments.onnx:
        if arguments.file:
            raise BadInputError("Measure a GGUF file with --file or a folder with --onnx, not both at once.")
        name = find_model(catalog, arguments.model).model_id if arguments.model else arguments.onnx.name
        return Source(name, arguments.quant or "", "", path=str(arguments.onnx), runtime=_ONNX)
    if arguments.served or arguments.key_variable:
        raise BadInputError("--served and --key-variable belong to --endpoint: say which server.")
    if (arguments.file is None) == (arguments.model is None):
        raise BadInputError(
            "Say what to measure: --file FILE.gguf, --model with --quant, --onnx FOLDER, or --endpoint URL."
        )
    return _file(arguments.file, catalog) if arguments.file else _listed(arguments.model, arguments.quant, catalog)


def _at_server(arguments: argparse.Namespace, catalog: Catalog) -> Source:
    """A model behind an address. Its key is read from the environment: a command line can be seen by others."""
    from recommender.runner.openai_runner import models_at

    key = ""
    if arguments.key_variable:
        key = os.environ.get(arguments.key_variable, "")
        if not key:
            raise BadInputError(f"The variable {arguments.key_variable} is empty. Set it to the server's key.")
    served = arguments.served
    if not served:
        names = models_at(arguments.endpoint, key)
        if len(names) != 1:
            raise BadInputError(
                f"The server offers {', '.join(names[:8]) or 'no model'}. Say with --served which one to measure."
            )
        served = names[0]
    model_id = find_model(catalog, arguments.model).model_id if arguments.model else served
    return Source(
        model_id, arguments.quant or "", "", file=served, runtime="openai", endpoint=arguments.endpoint, api_key=key
    )


def _file(path: Path, catalog: Catalog) -> Source:
    header = read_header(path)
    names = {model.name.casefold(): model.model_id for model in catalog.models()}
    model_id = names.get(header.name.casefold(), header.name or path.name)
    return Source(model_id, header.quantization, "", path=str(header.path))


def _listed(model: str, quantization: str | None, catalog: Catalog) -> Source:
    model_id = find_model(catalog, model).model_id
    rows = {str(row["quantization"]): row for row in variant_columns(catalog, model_id, _RUNTIME)}
    row = rows.get(quantization or "")
    if row is None:
        close = ", ".join(nearest(quantization or "", list(rows))) or ", ".join(list(rows)[:8]) or "none"
        raise BadInputError(f"Say which quantization of {model_id} with --quant. It has {close}.")
    return Source(model_id, quantization or "", "", repo=row["repo"], file=row["file"])


def _forecast(source: Source, arguments: argparse.Namespace, device: Device, catalog: Catalog) -> EstimateAnswer | None:
    """What the run should show; ``None`` when the catalog does not know the model."""
    request = EstimateRequest(
        source.model_id,
        source.quantization,
        device,
        runtime=source.runtime,
        context_tokens=arguments.context,
        threads=arguments.threads,
        gpu_layers=arguments.gpu_layers,
        prompt_tokens=arguments.prompt_tokens,
        gen_tokens=arguments.gen_tokens,
    )
    try:
        return estimate_one(request, catalog, calibration_here(device, catalog))
    except RecommenderError as error:
        print(f"recommender: no prediction: {plain(str(error))}", file=sys.stderr)
        return None


def _settings(arguments: argparse.Namespace, device: Device) -> Settings:
    threads = arguments.threads or default_threads(device)
    return usual_settings(arguments.context, threads, arguments.gpu_layers)


def _report(event: protocol.Event) -> None:
    """Progress on standard error, a line per step."""
    if isinstance(event, protocol.Loading):
        print(f"Loading {plain(event.file)} with {event.binding} …", file=sys.stderr)
    elif isinstance(event, protocol.Downloading) and event.total_bytes:
        print(f"\r{size(event.done_bytes)} of {size(event.total_bytes)}", end="", file=sys.stderr, flush=True)
    elif isinstance(event, protocol.Repeat):
        print(f"Repeat {event.number} of {event.of}: {rate(event.decode_tokens_per_s)}", file=sys.stderr)


def measurement_text(result: Measurement) -> str:
    """A measurement as lines, the prediction beside each figure."""

    def beside(predicted: float | None, words: Any) -> str:
        return f" (predicted {words(predicted)})" if predicted else ""

    lines = [
        f"{result.model_id} {result.quantization} with {result.binding}, {result.settings.threads} threads",
        f"  decode   {rate(result.decode_tokens_per_s)}, {rate(result.decode_low)} to {rate(result.decode_high)}"
        + beside(result.predicted_decode_tokens_per_s, rate),
        f"  prefill  {rate(result.prefill_tokens_per_s)}" + beside(result.predicted_prefill_tokens_per_s, rate),
        f"  TTFT     {seconds(result.ttft_s)}" + beside(result.predicted_ttft_s, seconds),
        f"  load     {seconds(result.load_s)}",
    ]
    if result.memory:
        lines.append(f"  memory   {size(result.memory.total_bytes)}" + beside(result.predicted_memory_bytes, size))
    if result.peak_resident_bytes:
        lines.append(f"  peak     {size(result.peak_resident_bytes)} resident")
    if result.noisy:
        lines.append(f"  noisy: {result.noise_reason}")
    return "\n".join(lines)
