"""A comparison as JSON and as Markdown: what the page offers to save and the command line prints."""

from __future__ import annotations

from typing import Any

from recommender.engine.compare_picks import Comparison
from recommender.engine.words import count
from recommender.markdown import cell
from recommender.present import jsonable, pick_json


def comparison_json(found: Comparison) -> dict[str, Any]:
    """Every pick with all its numbers, its verdict, and the lines as they are shown."""
    return {
        "task": found.task.id,
        "context_tokens": found.context_tokens,
        "need": jsonable(found.need),
        "catalog_date": found.catalog_date,
        "picks": [
            {
                "choice": column.choice.text,
                "device": jsonable(column.device),
                "fits": column.fits,
                "problem": column.problem,
                "change": column.change,
                "verdict": column.verdict,
                "pick": pick_json(column.pick) if column.pick else None,
                "model": jsonable(column.model),
            }
            for column in found.columns
        ],
        "lines": jsonable(found.lines),
    }


def comparison_markdown(found: Comparison) -> str:
    """One table: a line per figure, a column per pick. Lines that differ are marked with ≠, the best value is bold."""
    head = ["", "Figure", *(cell(column.name) for column in found.columns)]
    rows = [head, ["---"] * len(head)]
    for line in found.lines:
        cells = [
            f"**{cell(one.line)}**" if place in line.best else cell(one.line) for place, one in enumerate(line.cells)
        ]
        rows.append(["≠" if line.differs else "", f"{line.group}: {line.label}", *cells])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"# {' against '.join(cell(column.name) for column in found.columns)}\n\n"
        f"{found.task.name}, a context of {count(found.context_tokens)} tokens. Catalog of {found.catalog_date}. "
        f"Lines that differ are marked ≠, the best value is bold; after each figure its range and where it comes "
        f"from.\n\n{table}\n"
    )
