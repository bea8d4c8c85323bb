"""A table of the report, and how a figure is written in it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from maskloop.intervals import Interval

DASH = "\u2013"


@dataclass(frozen=True)
class Cell:
    """A figure, and its interval or spread in small print; `order` is what it is ranked by, low is good."""

    text: str
    note: str = ""
    best: bool = False
    order: float = math.inf


@dataclass(frozen=True)
class Row:
    """A line of a table. `measured`: by us; else published."""

    name: str
    cells: Sequence[Cell]
    measured: bool
    detail: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Group:
    """Rows of one table that may be compared, under a heading of their own."""

    title: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Table:
    """A table, its source and what must be said below it."""

    title: str
    headings: Sequence[str]
    groups: Sequence[Group]
    source: str
    notes: Sequence[str] = field(default=())
    folded: bool = False

    @property
    def measured(self) -> bool:
        """Whether every row is ours, so that the heading can say so once."""
        return all(row.measured for group in self.groups for row in group.rows)


def mark_best(rows: Sequence[Row], skip: Iterable[int] = ()) -> list[Row]:
    """Mark the lowest figure of each column, where there is more than one to compare."""
    if len(rows) < 2:
        return list(rows)
    columns = set(range(len(rows[0].cells))) - set(skip)
    orders = {index: [row.cells[index].order for row in rows] for index in columns}
    lowest = {index: min(found) for index, found in orders.items() if sum(map(math.isfinite, found)) > 1}
    return [
        replace(
            row,
            cells=[
                replace(cell, best=math.isfinite(cell.order) and lowest.get(index) == cell.order)
                for index, cell in enumerate(row.cells)
            ],
        )
        for row in rows
    ]


def difference_cell(found: Interval) -> Cell:
    note = f"[{signed(found.low)}, {signed(found.high)}]" if math.isfinite(found.low) else ""
    return Cell(signed(found.mean), note)


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\u2212")


def between(found: Interval) -> str:
    return f"[{found.low:.2f}, {found.high:.2f}]" if math.isfinite(found.low) else ""
