"""Selection: which unlabelled images are worth a person's time, and how many clicks they will take."""

from maskloop.selection.choosing import (
    CLICKS,
    ENTROPY,
    GAIN,
    RANDOM,
    STRATEGIES,
    Labelled,
    Ranked,
    check_strategy,
    rank,
    rank_profiles,
    shuffled,
)
from maskloop.selection.cost import Calibration, fit
from maskloop.selection.measuring import Measurable, Measured, measure
from maskloop.selection.profiles import SIGNALS, Describer, ProbeConfig, Profile, described, profile

__all__ = [
    "CLICKS",
    "ENTROPY",
    "GAIN",
    "RANDOM",
    "SIGNALS",
    "STRATEGIES",
    "Calibration",
    "Describer",
    "Labelled",
    "Measurable",
    "Measured",
    "ProbeConfig",
    "Profile",
    "Ranked",
    "check_strategy",
    "described",
    "fit",
    "measure",
    "profile",
    "rank",
    "rank_profiles",
    "shuffled",
]
