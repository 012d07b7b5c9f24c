"""Rows of Foundry Local's catalog, in the forms that it has had."""

from __future__ import annotations

from typing import Any


def variant(
    name: str = "acme-1b-instruct-qnn-npu",
    device: str = "npu",
    provider: str = "QNNExecutionProvider",
    parent: str = "Acme-1B-Instruct",
    **said: Any,
) -> dict[str, Any]:
    """A row as the catalog gives it now. Keywords go to its systemCatalogData; ``tags``, ``made_for`` and ``row`` to
    those."""
    tags, made_for, row = said.pop("tags", {}), said.pop("made_for", {}), said.pop("row", {})
    version = said.pop("version", 2)
    asset = "azureml://registries/azureml/models"
    return {
        "assetId": f"{asset}/{name}/versions/{version}",
        "kind": "Versioned",
        "type": "models",
        "annotations": {
            "archived": False,
            "labels": ["latest"],
            "tags": {"foundryLocal": "", **tags},
            "systemCatalogData": {
                "alias": "acme-1b",
                "publisher": "Acme",
                "license": "apache-2.0",
                "inferenceTasks": ["chat-completion"],
                "deploymentOptions": ["Foundry Local on Devices"],
                "textContextWindow": 32768,
                "maxOutputTokens": 2048,
                "supportsToolCalling": True,
                **said,
            },
        },
        "properties": {
            "name": name,
            "version": version,
            "creationContext": {"createdTime": "2026-06-02T07:03:01Z"},
            "variantInfo": {
                "parents": [{"assetId": f"{asset}/{parent}/versions/1"}] if parent else [],
                "variantMetadata": {
                    "modelType": "ONNX",
                    "quantization": ["RTN"],
                    "device": device,
                    "executionProvider": provider,
                    "fileSizeBytes": 1_234_567_890,
                    "vRamFootprintBytes": 1_500_000_000,
                    **made_for,
                },
            },
        },
        **row,
    }


def summary(name: str = "acme-1b-instruct-generic-cpu") -> dict[str, Any]:
    """A row of the short form, whose fields lie flat."""
    asset = f"azureml://registries/azureml/models/{name}/versions/4"
    return {
        "assetId": asset,
        "registryName": "azureml",
        "name": name,
        "version": "4",
        "displayName": name,
        "publisher": "Acme",
        "license": "MIT",
        "alias": "acme-1b",
        "inferenceTasks": ["chat-completion"],
        "modelLimits": {"textLimits": {"inputContextWindow": 4096, "maxOutputTokens": 1024}},
        "variantInformation": {
            "parents": [],
            "variantMetadata": {"device": "cpu", "executionProvider": "CPUExecutionProvider", "fileSizeBytes": "99"},
        },
    }
