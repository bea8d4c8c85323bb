"""Status: where the loop stands, on one screen or one page."""

from pipelines.status.facts import Status
from pipelines.status.gathering import gather
from pipelines.status.page import write_status
from pipelines.status.sources import Sources
from pipelines.status.text import to_text

__all__ = ["Sources", "Status", "gather", "to_text", "write_status"]
