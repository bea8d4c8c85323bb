"""Clicks: how many of them people really needed, from the service's journal and the masks they kept."""

from pipelines.clicks.collecting import CLICKS, collect_clicks, open_source, read_clicks
from pipelines.clicks.figures import COLUMNS, click_figures, click_table
from pipelines.clicks.joining import Clicks, join_clicks
from pipelines.clicks.masks import read_masks
from pipelines.clicks.plots import write_click_plots
from pipelines.clicks.reporting import FIGURES, report_clicks
from pipelines.clicks.trails import Trails, collect_trails

__all__ = [
    "CLICKS",
    "COLUMNS",
    "FIGURES",
    "Clicks",
    "Trails",
    "click_figures",
    "click_table",
    "collect_clicks",
    "collect_trails",
    "join_clicks",
    "open_source",
    "read_clicks",
    "read_masks",
    "report_clicks",
    "write_click_plots",
]
