"""A registry of Azure Machine Learning, for who is signed in: read through azure-ai-ml, which need not be installed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from typing import Any

from recommender.catalog.sources.foundry_assets import Asset, asset_name
from recommender.errors import DownloadError

REGISTRY = "azureml"
_SCOPE = "https://management.azure.com/.default"
_MOST_MODELS = 20_000
_OTHER_FORMS = (AttributeError, KeyError, TypeError, ValueError)  # what azure-ai-ml raises at JSON it did not expect
_CALLS: dict[str, Any] = {"connection_timeout": 10, "read_timeout": 30, "retry_total": 2, "enable_telemetry": False}


def client() -> Any | None:
    """azure-ai-ml's client of the registry; None where it is not installed or nobody is signed in."""
    try:
        identity, errors = import_module("azure.identity"), import_module("azure.core.exceptions")
        import_module("azure.ai.ml")
    except ImportError:
        return None
    # It warns of every way to sign in that did not work; that nobody is signed in is nothing to warn of.
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    try:
        credential = identity.DefaultAzureCredential()
        credential.get_token(_SCOPE)
        return client_with(credential)
    except errors.AzureError:
        return None


def client_with(credential: Any) -> Any:
    """The client for a credential; what it asks is bounded in time."""
    return import_module("azure.ai.ml").MLClient(credential, registry_name=REGISTRY, **_CALLS)


def names(client: Any) -> list[tuple[str, str]]:
    """Name and newest version of every model of the registry, by name.

    Raises:
        DownloadError: the registry cannot be reached or refuses.
    """
    with _explained():
        listed = [(model.name, str(model.latest_version)) for model in islice(client.models.list(), _MOST_MODELS)]
    return sorted({(name, version) for name, version in listed if asset_name(name) and asset_name(version)})


def read(client: Any, name: str, version: str) -> Asset | None:
    """One model; None where it is gone, or is of a form that azure-ai-ml cannot read.

    Raises:
        DownloadError: the registry cannot be reached or refuses.
    """
    missing = import_module("azure.core.exceptions").ResourceNotFoundError
    unreadable = import_module("azure.ai.ml.exceptions").MlException
    with _explained():
        try:
            model = client.models.get(name, version)
            return _asset(model, name, version)
        except (missing, unreadable, *_OTHER_FORMS):
            return None


def _asset(model: Any, name: str, version: str) -> Asset:
    """The model in the form of a row of the catalogs."""
    made = model.creation_context
    times = {"createdTime": made.created_at, "modifiedTime": made.last_modified_at} if made else {}
    # Newer models have there what older ones have in their tags; the client keeps it and has no name for it.
    system = getattr(model, "_system_metadata", None)
    return Asset(
        {
            "entityResourceName": REGISTRY,
            "annotations": {
                "tags": dict(model.tags or {}),
                "systemCatalogData": dict(system) if isinstance(system, dict) else {},
            },
            "properties": {
                **dict(model.properties or {}),
                "name": name,
                "version": version,
                "creationContext": {"createdTime": times.get("createdTime")},
                "modifiedTime": times.get("modifiedTime"),
            },
        }
    )


@contextmanager
def _explained() -> Iterator[None]:
    """Within this block, what azure-ai-ml raises comes out as ``DownloadError``. Its own texts may name accounts."""
    errors = import_module("azure.core.exceptions")
    try:
        yield
    except errors.HttpResponseError as error:
        if error.status_code == 401 or isinstance(error, errors.ClientAuthenticationError):
            raise DownloadError("Azure does not accept who is signed in. Run `az login`, then try again.") from error
        raise DownloadError(
            f"Azure answered {error.status_code or 'with an error'} for its registry {REGISTRY}. Try again later, or "
            "sign out with `az logout` to read the catalog that everybody may see."
        ) from error
    except errors.AzureError as error:
        raise DownloadError("Azure's registry cannot be reached. Check the network, then try again.") from error
    except _OTHER_FORMS as error:
        raise DownloadError(
            "Azure's registry sent a list that azure-ai-ml cannot read. Update it, or try later."
        ) from error
