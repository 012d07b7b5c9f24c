"""Foundry Local: its catalog of models compiled for CPU, GPU and NPU, a variant for each kind of processor.

The catalog is asked as the engine of foundry-local-sdk 2.2.1 does, but for every processor: the engine leaves out what
the machine it runs on cannot use. An account is not needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from recommender.catalog.sources.base import Batch, Entry, EntryFile, OnProgress, now
from recommender.catalog.sources.foundry_assets import Asset, asset_name, details
from recommender.catalog.sources.foundry_catalog import FOUNDRY_LOCAL, batches, equals
from recommender.catalog.sources.untrusted import count, mapping, repository, text, texts

_FILTERS = (
    equals("type", "models"),
    equals("kind", "Versioned"),
    equals("annotations/systemCatalogData/deploymentOptions", "Foundry Local on Devices"),
    {"field": "annotations/archived", "operator": "NotEquals", "values": ["true"]},
    equals("labels", "latest"),
)
_DEVICES = ("cpu", "gpu", "npu")
_PARENT = re.compile(r"azureml://registries/[^/]+/models/([^/]+)/")
_REPOSITORY = re.compile(r"https://huggingface\.co/([^/\s]+/[^/\s>]+)")
# How the weights are stored, by the words that names and metadata have for it; a method's name (AWQ) tells no bits.
_QUANTIZATIONS = {
    "onnx-int4": re.compile(r"(?<![a-z0-9])(u?int-?4|4-?bit|q4)(?![0-9])"),
    "onnx-int8": re.compile(r"(?<![a-z0-9])(u?int-?8|8-?bit|q8)(?![0-9])"),
    "onnx-fp16": re.compile(r"(?<![a-z0-9])(fp-?16|float16|f16)(?![0-9])"),
}


class FoundryLocalSource:
    """Foundry Local's catalog, at ``address``."""

    id = "foundry-local"
    name = "Foundry Local"

    def __init__(self, address: str = FOUNDRY_LOCAL) -> None:
        self._address = address

    def unavailable(self) -> str:
        return ""  # neither an account nor Foundry Local itself is needed

    def fetch(self, cursor: str, progress: OnProgress) -> Iterator[Batch]:
        """As :meth:`~recommender.catalog.sources.base.Source.fetch`."""
        yield from batches(self._address, self, cursor, progress, entry_of, _FILTERS)


def entry_of(asset: Asset) -> Entry | None:
    """The entry of one variant; None where it is for no processor that is known, or no language model in ONNX."""
    made_for = mapping(asset.variant.get("variantMetadata"))
    device = text(made_for.get("device")).lower()
    kind = text(made_for.get("modelType")) or "ONNX"
    if not asset.name or device not in _DEVICES or kind.upper() != "ONNX" or not asset.is_for_language:
        return None
    provider = asset_name(made_for.get("executionProvider"))
    model = _model(asset, device)
    quantized = texts(made_for.get("quantization"))
    return Entry(
        source=FoundryLocalSource.id,
        entry_id=f"{asset.name}:{asset.version}" if asset.version else asset.name,
        read_at=(read_at := now()),
        version=asset.version or asset.modified,
        url=asset.url,
        name=model,
        publisher=asset.publisher,
        format="onnx",
        relation="quantized",
        bases=asset.bases or _base(asset, model),
        license_id=asset.license_id,
        created=asset.created,
        modified=asset.modified,
        pipeline=asset.pipeline,
        languages=asset.languages,
        context_tokens=asset.context_tokens,
        thinking=asset.thinking,
        tool_calling=asset.tool_calling,
        files=(EntryFile(asset.name, count(made_for.get("fileSizeBytes")), "", _quantization(asset, quantized)),),
        runtime=FoundryLocalSource.id,
        accelerator=f"{device}/{provider}" if provider else device,
        memory_bytes=count(made_for.get("vRamFootprintBytes")),
        lifecycle=asset.lifecycle(read_at[:10]),
        details=details(
            alias=asset_name(asset.said("alias")),
            version=asset.version,
            quantized_by=quantized,
            least_version_of_foundry_local=text(asset.said("minFLVersion")),
            output_tokens=asset.output_tokens,
            reasoning="yes" if asset.reasons else "",
        ),
    )


def _model(asset: Asset, device: str) -> str:
    """The model that a variant was made from: its parent, else what is left of its name without the processor."""
    parents = asset.variant.get("parents")
    for parent in parents if isinstance(parents, list) else ():
        found = _PARENT.match(text(mapping(parent).get("assetId")))
        if found and (name := asset_name(found[1])):
            return name
    return re.sub(rf"-[a-z]+-{device}(-\d+)?$", "", asset.name, flags=re.IGNORECASE)


def _base(asset: Asset, model: str) -> tuple[str, ...]:
    """The repository on the Hub that the licence is read at, where it has the model's own name."""
    said = asset.said("licenseDescription")
    for found in _REPOSITORY.findall(said[:2000]) if isinstance(said, str) else ():
        if repository(found) and found.split("/")[1].casefold() == model.casefold():
            return (found,)
    return ()


def _quantization(asset: Asset, said: tuple[str, ...]) -> str:
    for line in (*said, asset.name):
        for name, words in _QUANTIZATIONS.items():
            if words.search(line.lower()):
                return name
    return ""
