"""The catalog: reviewable facts in CSV files, built into a DuckDB database that the engine asks.

``recommender.catalog.build`` has the build; it is not imported here, because it needs NumPy and every estimator and
opening a built catalog needs neither.
"""

from recommender.catalog.facts import FileRow, ModelRow, ScenarioRow
from recommender.catalog.store import Catalog, open_catalog

__all__ = ["Catalog", "FileRow", "ModelRow", "ScenarioRow", "open_catalog"]
