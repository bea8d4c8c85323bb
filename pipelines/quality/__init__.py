"""Label quality: masks that must not train a model are set aside with a reason, and shown to a person."""

from pipelines.quality.config import QualityConfig
from pipelines.quality.contradiction import Reviewer
from pipelines.quality.review import Review, open_findings, record, review

__all__ = ["QualityConfig", "Review", "Reviewer", "open_findings", "record", "review"]
