"""A model as a row of Azure's catalogs tells it; what is of a wrong kind counts as not told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from recommender.catalog.sources.untrusted import count, date, mapping, repository, text, texts, yes_no

# What tasks are called here → what the Hub calls them. A row that tells only others is for no language model.
_PIPELINES = {
    "chat-completion": "text-generation",
    "chat-completions": "text-generation",
    "completions": "text-generation",
    "text-generation": "text-generation",
    "responses": "text-generation",
    "messages": "text-generation",
    "image-text-to-text": "image-text-to-text",
    "embeddings": "feature-extraction",
    "embedding": "feature-extraction",
    "feature-extraction": "feature-extraction",
    "translation": "translation",
    "summarization": "summarization",
}
# Stages as learn.microsoft.com/azure/ai-foundry/concepts/model-lifecycle-retirement names them, and as rows do.
_STAGES = {
    "preview": "preview",
    "generally-available": "current",
    "generallyavailable": "current",
    "stable": "current",
    "ga": "current",
    "legacy": "deprecated",
    "deprecating": "deprecated",
    "deprecated": "deprecated",
    "retired": "retired",
}
_NO_LICENSE = ("custom", "other", "unknown", "proprietary")
_TOOLS = ("tool-calling", "toolcalling", "function-calling")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LANGUAGE = re.compile(r"[a-z]{2}")
_MOST_LISTED = 60  # of one kind; every region of Azure fits in


@dataclass(frozen=True)
class Asset:
    """One row, of either catalog or in the form that azure-ai-ml's models are brought into."""

    row: Mapping[str, Any]

    @property
    def annotations(self) -> Mapping[str, Any]:
        return mapping(self.row.get("annotations"))

    @property
    def tags(self) -> Mapping[str, Any]:
        return mapping(self.annotations.get("tags"))

    @property
    def properties(self) -> Mapping[str, Any]:
        return mapping(self.row.get("properties"))

    @property
    def variant(self) -> Mapping[str, Any]:
        """What a model of Foundry Local was made from and for: ``parents`` and ``variantMetadata``."""
        return mapping(self.properties.get("variantInfo")) or mapping(self.row.get("variantInformation"))

    def said(self, *names: str) -> Any:
        """The first of these fields that is told, wherever rows have it; None without any."""
        for place in (mapping(self.annotations.get("systemCatalogData")), self.tags, self.row, self.properties):
            for name in names:
                if place.get(name) not in (None, "", [], {}):
                    return place[name]
        return None

    @property
    def name(self) -> str:
        """As the registry has it; "" where it is no name for a model there."""
        return asset_name(self.properties.get("name") or self.annotations.get("name") or self.row.get("name"))

    @property
    def version(self) -> str:
        """A number or a date; "" where it is not told."""
        for said in (
            self.properties.get("alphanumericVersion"),
            self.row.get("version"),
            self.properties.get("version"),
        ):
            if found := asset_name(str(said) if isinstance(said, int) and not isinstance(said, bool) else said):
                return found[:40]
        return ""

    @property
    def registry(self) -> str:
        """The registry it is in; "" where it is not told."""
        assets = re.match(r"azureml://registries/([^/]+)/", text(self.row.get("assetId")))
        return asset_name(self.row.get("entityResourceName") or self.row.get("registryName") or (assets and assets[1]))

    @property
    def publisher(self) -> str:
        return text(self.said("publisher", "author"))

    @property
    def is_for_language(self) -> bool:
        """Whether it takes and gives text, as far as its tasks tell."""
        tasks = self._tasks
        return not tasks or any(task in _PIPELINES for task in tasks)

    @property
    def pipeline(self) -> str:
        """The first of its tasks as the Hub calls it; "" without any."""
        return next((_PIPELINES[task] for task in self._tasks if task in _PIPELINES), "")

    @property
    def _tasks(self) -> list[str]:
        said = self.said("inferenceTasks", "task", "inference-tasks")
        nested = mapping(self.said("tasks")).get("inferenceTasks")
        return [_word(one) for one in texts(said if said is not None else nested)]

    @property
    def license_id(self) -> str:
        """As the Hub would write it; "" where only "custom" or the like is told."""
        found = _word(text(self.said("license")))
        return found if re.fullmatch("[a-z0-9.-]+", found) and found not in _NO_LICENSE else ""

    @property
    def languages(self) -> tuple[str, ...]:
        limits = mapping(self.said("modelLimits"))
        codes = texts(self.said("languages")) or texts(limits.get("supportedLanguages"))
        return tuple(code for code in (one.lower() for one in codes) if _LANGUAGE.fullmatch(code))

    @property
    def context_tokens(self) -> int | None:
        limits = mapping(mapping(self.said("modelLimits")).get("textLimits"))
        return count(self.said("textContextWindow", "contextLength")) or count(limits.get("inputContextWindow"))

    @property
    def output_tokens(self) -> int | None:
        """The most of one answer."""
        limits = mapping(mapping(self.said("modelLimits")).get("textLimits"))
        return count(self.said("maxOutputTokens")) or count(limits.get("maxOutputTokens"))

    @property
    def tool_calling(self) -> str:
        """yes or no; that a list of capabilities lacks it says nothing."""
        said = yes_no(self.said("supportsToolCalling"))
        return said or ("yes" if self.capabilities & set(_TOOLS) else "")

    @property
    def thinking(self) -> str:
        """no, or "": that it reasons does not tell whether it always does."""
        return "no" if yes_no(self.said("supportsReasoning")) == "no" else ""

    @property
    def reasons(self) -> bool:
        return yes_no(self.said("supportsReasoning")) == "yes" or "reasoning" in self.capabilities

    @property
    def capabilities(self) -> set[str]:
        return {_word(one) for one in texts(self.said("modelCapabilities", "capabilities"))}

    @property
    def bases(self) -> tuple[str, ...]:
        """The repository on the Hub that it says it is."""
        found = repository(self.said("huggingface_model_id", "huggingFaceModelId"))
        return (found,) if found else ()

    @property
    def created(self) -> str:
        context = mapping(self.properties.get("creationContext"))
        return date(context.get("createdTime") or self.row.get("createdTime"))

    @property
    def modified(self) -> str:
        return date(self.properties.get("modifiedTime") or self.properties.get("updatedTime"))

    def ends(self, what: str) -> str:
        """The day on which inference with it gets ``Legacy``, ``Deprecation`` or ``Retirement``; "" when untold."""
        name = f"nference{what}Date"
        return date(mapping(self.said("deprecation")).get(f"i{name}") or self.said(f"i{name}", f"I{name}"))

    def lifecycle(self, today: str) -> str:
        """preview, current, deprecated or retired; a day that has come counts more than the stage that is told."""
        if (day := self.ends("Retirement")) and day <= today:
            return "retired"
        if any((day := self.ends(what)) and day <= today for what in ("Deprecation", "Legacy")):
            return "deprecated"
        if stage := _STAGES.get(_word(text(self.said("lifecycle", "lifecycleStatus")))):
            return stage
        if self.annotations.get("archived") is True:
            return "retired"
        labels = [_word(one) for one in texts(self.annotations.get("labels"))]
        return "preview" if "Preview" in self.tags or "preview" in labels else "current"

    @property
    def deployments(self) -> tuple[str, ...]:
        """The ways in which it can be had, such as GlobalStandard."""
        named = [text(mapping(sku).get("name")) for sku in self._skus]
        said = named or texts(self.said("deploymentTypes", "deploymentOptions", "azureOffers"))
        return tuple(dict.fromkeys(one for one in said if one))[:_MOST_LISTED]

    @property
    def regions(self) -> tuple[str, ...]:
        """Where Azure has it; empty where that is not told."""
        found = [region.lower() for sku in self._skus for region in texts(mapping(sku).get("locations"))]
        return tuple(sorted({*found, *(one.lower() for one in texts(self.said("regions")))}))[:_MOST_LISTED]

    @property
    def _skus(self) -> list[Any]:
        skus = self.said("deploymentSku")
        return skus[:_MOST_LISTED] if isinstance(skus, list) else []

    @property
    def url(self) -> str:
        """Its page, for a person."""
        version = f"/version/{quote(self.version, safe='')}" if self.version else ""
        return f"https://ai.azure.com/explore/models/{self.name}{version}/registry/{self.registry or 'azureml'}"


def asset_name(value: object) -> str:
    """A model's name in a registry; "" where it is none."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


def details(**found: str | int | Iterable[str] | None) -> dict[str, str]:
    """What else is worth showing, without what is not told; ";" and "=" stand between them where they are listed."""
    lines = {
        name: value if isinstance(value, str) else ", ".join(value) if isinstance(value, Iterable) else str(value)
        for name, value in found.items()
        if value
    }
    return {name: re.sub("[;=]", " ", line) for name, line in lines.items() if line}


def _word(value: str) -> str:
    return re.sub(r"[\s_]+", "-", value.strip().lower())
