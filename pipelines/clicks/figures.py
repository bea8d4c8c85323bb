"""Figures of real clicks: how many a mask takes, what is given up or drawn on, how long an answer takes."""

from typing import Literal

import pandas as pd

from pipelines.clicks.joining import Clicks

By = Literal["label", "model", "day"]

COLUMNS = {
    "masks": "masks kept",
    "clicks_mean": "clicks, mean",
    "clicks_median": "median",
    "clicks_p90": "90th percentile",
    "share_edited": "edited by hand",
    "sessions_given_up": "sessions given up",
    "share_given_up": "share given up",
    "requests": "requests",
    "milliseconds_p50": "ms, p50",
    "milliseconds_p95": "ms, p95",
}
"""Names of the figures, and what they are called in a table."""


def click_figures(clicks: Clicks) -> dict[str, float]:
    """The figures of everything, to be logged. A figure that nothing is known for is left out.

    `share_edited` is of the masks kept, `share_given_up` of the sessions that are over; milliseconds are
    those of requests that were answered.
    """
    known = _figures(clicks.requests, clicks.sessions, clicks.masks).dropna()
    return {str(name): float(value) for name, value in known.items()}


def click_table(clicks: Clicks, by: By) -> pd.DataFrame:
    """The same figures by label, by model version or by day (UTC): one row each, columns as in `COLUMNS`."""
    frames = [(frame, _key(frame, by)) for frame in (clicks.requests, clicks.sessions, clicks.masks)]
    keys = list(dict.fromkeys(key for _, column in frames for key in column))
    if by != "model":  # versions stay in the order that they served
        keys.sort()
    rows = [_figures(*(frame[column == key] for frame, column in frames)) for key in keys]
    return pd.DataFrame(rows, index=pd.Index(keys, name=by), columns=list(COLUMNS))


def _key(frame: pd.DataFrame, by: By) -> "pd.Series[str]":
    return frame["time"].dt.strftime("%Y-%m-%d") if by == "day" else frame[by]


def _figures(requests: pd.DataFrame, sessions: pd.DataFrame, masks: pd.DataFrame) -> "pd.Series[float]":
    given_up = int((sessions["outcome"] == "given up").sum())
    over = int((sessions["outcome"] != "pending").sum())
    waited = requests.loc[requests["outcome"] != "superseded", "milliseconds"].astype(float)
    counts = masks["clicks"].astype(float)
    return pd.Series(
        {
            "masks": len(masks),
            "clicks_mean": counts.mean(),
            "clicks_median": counts.median(),
            "clicks_p90": counts.quantile(0.9),
            "share_edited": masks["edited"].astype(float).mean(),
            "sessions_given_up": given_up,
            "share_given_up": given_up / over if over else float("nan"),
            "requests": len(requests),
            "milliseconds_p50": waited.quantile(0.5),
            "milliseconds_p95": waited.quantile(0.95),
        },
        dtype=float,
    )
