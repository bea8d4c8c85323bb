"""The report: result files to one HTML page that needs nothing else."""

from pipelines.report.comparison import compare
from pipelines.report.inputs import read_inputs
from pipelines.report.page import render, write_page
from pipelines.report.plots import write_plots

__all__ = ["compare", "read_inputs", "render", "write_page", "write_plots"]
