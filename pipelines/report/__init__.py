"""The report: result files to one HTML page that needs nothing else."""

from pipelines.report.page import render, write_page
from pipelines.report.plots import write_plots

__all__ = ["render", "write_page", "write_plots"]
