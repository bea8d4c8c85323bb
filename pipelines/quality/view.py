"""A tab of Label Studio's Data Manager with the tasks that need a look.

It filters by the numbers of annotations, which the community edition does in one line whatever their count.
No task, annotation or prediction is written to.
"""

from collections.abc import Collection
from typing import Any

import pandas as pd

from pipelines.label_studio.client import LabelStudio
from pipelines.label_studio.connection import CREATED, SAME, UPDATED, Step

TITLE = "needs a look"
REMOVED = "removed"
_COLUMN = "filter:tasks:annotations_ids"


def ensure_view(client: LabelStudio, project: int, waiting: pd.DataFrame) -> Step:
    """Let the tab show the project's tasks among `open_findings`; without any there is no tab.

    Raises:
        StackError: Label Studio does not answer, or refuses.
    """
    annotations = set(waiting.loc[waiting["project_id"] == project, "annotation_id"])
    views = client.views(project)
    ours = next((view for view in views if view["data"].get("title") == TITLE), None)
    if not annotations:
        if ours is None:
            return Step(f"tab {TITLE!r}", SAME, "there is none, as nothing waits")
        client.delete_view(ours["id"])
        return Step(f"tab {TITLE!r}", REMOVED, "nothing waits any more")
    filters = _filters(annotations)
    detail = f"{client.url}/projects/{project}/data?tab="
    if ours is None:
        if not views:  # Label Studio makes the tab of all tasks only where there is no tab at all
            client.create_view(project, {"title": "Default", "type": "list", "target": "tasks"})
        made = client.create_view(
            project, {"title": TITLE, "type": "list", "target": "tasks", "filters": filters}
        )
        return Step(f"tab {TITLE!r}", CREATED, f"{detail}{made['id']}")
    detail += str(ours["id"])
    if ours["data"].get("filters") == filters:
        return Step(f"tab {TITLE!r}", SAME, detail)
    client.update_view(ours["id"], project, {**ours["data"], "filters": filters})
    return Step(f"tab {TITLE!r}", UPDATED, detail)


def _filters(annotations: Collection[int]) -> dict[str, Any]:
    numbers = ",".join(map(str, sorted(annotations)))
    item = {"filter": _COLUMN, "operator": "contains", "type": "String", "value": numbers}
    return {"conjunction": "and", "items": [item]}
