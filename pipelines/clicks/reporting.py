"""What a retrain says about real clicks: figures and a plot beside the reports of its stages."""

import json
from pathlib import Path

from pipelines.clicks.collecting import collect_clicks, open_source, read_clicks
from pipelines.clicks.figures import click_figures
from pipelines.clicks.joining import join_clicks
from pipelines.clicks.masks import snapshot_masks
from pipelines.clicks.plots import write_click_plots
from pipelines.files import write_atomically

FIGURES = Path("reports/real_clicks.json")


def report_clicks(journal: str, copies: Path, worktree: Path) -> dict[str, float]:
    """Collect the journal, write `FIGURES` and the plot into `reports/` of a worktree; returns the figures.

    Args:
        journal: its folder, or the address of the service that keeps it.
        copies: where what was collected is kept from one retrain to the next.
        worktree: a checkout with the shards of its snapshot.

    Raises:
        JournalError: the journal cannot be read; a retrain goes on without.
    """
    collect_clicks(open_source(journal), copies)
    found = join_clicks(read_clicks(copies).entries, snapshot_masks(worktree))
    figures = click_figures(found)
    write_atomically(worktree / FIGURES, (json.dumps(figures, indent=2) + "\n").encode("ascii"))
    write_click_plots(found, worktree / FIGURES.parent)
    return figures
