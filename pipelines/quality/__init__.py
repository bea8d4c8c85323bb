"""Label quality: masks that must not train a model are set aside with a reason, and shown to a person."""

from pipelines.quality.config import QualityConfig
from pipelines.quality.contradiction import Judge, Reviewer
from pipelines.quality.page import SHOWN
from pipelines.quality.retraining import champion, review_new
from pipelines.quality.review import Review, open_findings, record, review
from pipelines.quality.view import ensure_view

__all__ = [
    "SHOWN",
    "Judge",
    "QualityConfig",
    "Review",
    "Reviewer",
    "champion",
    "ensure_view",
    "open_findings",
    "record",
    "review",
    "review_new",
]
