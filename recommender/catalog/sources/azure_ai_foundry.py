"""Azure AI Foundry: the models that Azure serves, from its catalog without an account, or from a registry with one.

With azure-ai-ml and azure-identity installed and somebody signed in, the registry ``azureml`` is listed as azure-ai-ml
1.35.2 does it. Everybody else gets the catalog that the portal shows to visitors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from recommender.catalog.sources import azure_registry
from recommender.catalog.sources.base import Batch, Entry, OnProgress, Progress, now
from recommender.catalog.sources.foundry_assets import Asset, asset_name, details
from recommender.catalog.sources.foundry_catalog import ALL_MODELS, batches, equals
from recommender.catalog.sources.untrusted import mapping

# Those of makers with open weights; what the registry "HuggingFace" has is read on the Hub itself.
_REGISTRIES = (
    azure_registry.REGISTRY,
    "azureml-msr",
    "azureml-phi-prod",
    "azureml-openai-oss",
    "azureml-meta",
    "azureml-mistral",
    "azureml-deepseek",
    "azureml-cohere",
    "azureml-nvidia",
    "azureml-ai21",
    "azureml-alibaba",
    "azureml-moonshotai",
    "azureml-core42",
    "azureml-xai",
)
_FILTERS = (
    equals("type", "models"),
    equals("kind", "Versioned"),
    equals("labels", "latest"),
    {"field": "annotations/archived", "operator": "ne", "values": ["true"]},
    {"field": "properties/isAnonymous", "operator": "ne", "values": ["true"]},
)
_BATCH = 50  # models of a registry: each is one request


class AzureSource:
    """Azure's catalog.

    Args:
        address: of the catalog for visitors.
        signed_in: gives azure-ai-ml's client of the registry; None where nobody is signed in.
    """

    id = "azure-ai-foundry"
    name = "Azure AI Foundry"

    def __init__(self, address: str = ALL_MODELS, signed_in: Callable[[], Any | None] | None = None) -> None:
        self._address = address
        self._signed_in = signed_in or azure_registry.client

    def unavailable(self) -> str:
        return ""  # an account is not needed

    def fetch(self, cursor: str, progress: OnProgress) -> Iterator[Batch]:
        """As :meth:`~recommender.catalog.sources.base.Source.fetch`; the two ways have cursors of their own."""
        progress(Progress(self.id, "signing in", 0))
        client = self._signed_in()
        if client is None:
            yield from batches(self._address, self, cursor, progress, entry_of, _FILTERS, _REGISTRIES)
        else:
            yield from self._listed(client, cursor, progress)

    def _listed(self, client: Any, cursor: str, progress: OnProgress) -> Iterator[Batch]:
        after, whole = _after(cursor)
        progress(Progress(self.id, "names", 0))
        names = azure_registry.names(client)
        entries: list[Entry] = []
        for number, (name, version) in enumerate(names, 1):
            if name <= after:
                continue
            progress(Progress(self.id, name, number - 1, len(names)))
            asset = azure_registry.read(client, name, version)
            whole = whole and asset is not None
            if asset is not None and (entry := entry_of(asset)):
                entries.append(entry)
            if number % _BATCH == 0 and number < len(names):
                yield Batch(tuple(entries), json.dumps({"after": name, "whole": whole}))
                entries = []
        yield Batch(tuple(entries), "", complete=bool(names) and whole)


def entry_of(asset: Asset) -> Entry | None:
    """The entry of a model that Azure serves; None where it is none: without a name, for images, for Foundry Local."""
    if not asset.name or not asset.is_for_language or mapping(asset.variant.get("variantMetadata")):
        return None
    return Entry(
        source=AzureSource.id,
        entry_id=asset.name,
        read_at=(read_at := now()),
        version=asset.version or asset.modified,
        url=asset.url,
        name=asset.name,
        publisher=asset.publisher,
        format="managed",
        relation="service",
        bases=asset.bases,
        license_id=asset.license_id,
        created=asset.created,
        modified=asset.modified,
        pipeline=asset.pipeline,
        languages=asset.languages,
        context_tokens=asset.context_tokens,
        thinking=asset.thinking,
        tool_calling=asset.tool_calling,
        lifecycle=asset.lifecycle(read_at[:10]),
        details=details(
            registry=asset.registry,
            version=asset.version,
            deployment_types=asset.deployments,
            regions=asset.regions,
            output_tokens=asset.output_tokens,
            reasoning="yes" if asset.reasons else "",
            deprecated_on=asset.ends("Deprecation") or asset.ends("Legacy"),
            retired_on=asset.ends("Retirement"),
        ),
    )


def _after(cursor: str) -> tuple[str, bool]:
    """The last name of a registry that was read, and whether every one until then could be; of another cursor: none."""
    try:
        said = mapping(json.loads(cursor or "{}"))
    except (ValueError, RecursionError):
        return "", True
    name = asset_name(said.get("after"))
    return name, not name or said.get("whole") is True
