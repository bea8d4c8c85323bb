"""The thresholds of the checks, section `quality` of params.yaml."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import SettingsError
from pipelines.stages.params import read_params


@dataclass(frozen=True)
class QualityConfig:
    """When a mask is set aside. How each number was found is told in docs/quality.md.

    tiny: fewest pixels of a mask.
    thin: a mask that is nowhere wider than this, in pixels, is a sliver.
    specks: pieces of fewer than `tiny` pixels that a mask may have.
    border: share of the image's longer side; a mask that keeps as close as this to the border is its rim.
    whole: share of the image that a mask may cover if it touches all four borders.
    click_reach: how far from its clicks' side a mask may end, as a share of its extent.
    duplicate: IoU from which two masks of one image are the same.
    agreement: IoU that two annotators' masks of one object reach.
    match: IoU from which two annotators mean the same object.
    model_clicks: simulated clicks that a model is asked with.
    model_knows: median IoU of a label from which the model knows it; of others it says nothing.
    model_iou: IoU that the model's answer reaches.
    model_share: or this share of the label's median.
    limit: masks a run that the model is asked about, newest first.
    """

    tiny: int = 16
    thin: int = 2
    specks: int = 8
    border: float = 0.01
    whole: float = 0.95
    click_reach: float = 0.1
    duplicate: float = 0.8
    agreement: float = 0.6
    match: float = 0.1
    model_clicks: int = 2
    model_knows: float = 0.75
    model_iou: float = 0.6
    model_share: float = 0.7
    limit: int = 100

    @classmethod
    def read(cls, root: Path) -> "QualityConfig":
        """The section `quality` of params.yaml.

        Raises:
            SettingsError: there is none, or it has a name that is not one of ours.
        """
        section = read_params(root, "quality")
        if unknown := set(section) - set(cls.__dataclass_fields__):
            raise SettingsError(
                f"params.yaml: quality has {', '.join(sorted(unknown))}, which is no threshold of ours: "
                f"{', '.join(cls.__dataclass_fields__)}."
            )
        return cls(**section)
