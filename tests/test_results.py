"""Figures and files of results that are written down here."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from maskloop.clicks import Click
from maskloop.errors import EvaluationError
from maskloop.masks import encode_coco
from maskloop.results import ObjectResult, Report
from tests.test_annotators import sample

CLICKS = (Click(4, 5), Click(6, 7, positive=False))


def result(ious: tuple[float, ...], image_id: str = "a", **fields) -> ObjectResult:
    defaults = {
        "category": "cat",
        "height": 30,
        "width": 40,
        "area": 121,
        "seconds": (1.0,) * len(ious),
        "clicks": (Click(1, 1),) * len(ious),
        "boundary_iou": 0.5,
        "masks": {},
    }
    return ObjectResult(image_id=image_id, ious=ious, **(defaults | fields))


def report(*objects: ObjectResult, stop: float | None = None) -> Report:
    return Report("model-1", "some", {"name": "centre"}, objects, len(objects[0].ious), stop)


def reaching(click: int | None) -> ObjectResult:
    """Solved by this one of 20 clicks."""
    return result(tuple(0.95 if click is not None and number >= click else 0.1 for number in range(1, 21)))


def test_report__by_hand() -> None:
    figures = report(result((0.5, 0.82, 0.96)), result((0.86, 0.9, 0.9), boundary_iou=0.7)).to_dict()
    assert [figures[f"noc{percent}"] for percent in (80, 85, 90, 95)] == [1.5, 2, 2.5, 3]
    assert [figures[f"nof{percent}"] for percent in (80, 85, 90, 95)] == [0, 0, 0, 1]
    assert figures["iou_at_click"] == pytest.approx([0.68, 0.86, 0.93])
    assert figures["boundary_iou"] == pytest.approx(0.6)


def test_report__solved_by_the_last_click_is_no_failure() -> None:
    found = report(reaching(20), reaching(None))
    assert found.noc(0.9) == 20
    assert found.failures(0.9) == 1
    assert found.histogram(0.9) == {"1-5": 0, "6-10": 0, "11-15": 0, "16-20": 1, "failed": 1}


def test_report__histogram() -> None:
    found = report(*(reaching(click) for click in (1, 5, 6, 10, 11, 15, 16, 20, None, None)))
    assert found.histogram() == {"1-5": 2, "6-10": 2, "11-15": 2, "16-20": 2, "failed": 2}


def test_report__seconds_per_click() -> None:
    quick = result((0.95, 0.95, 0.95), seconds=(1.0, 5.0, 5.0))
    failing = result((0.1, 0.1, 0.1), seconds=(2.0, 3.0, 4.0))
    found = report(quick, failing)
    assert found.seconds_per_click() == 20 / 6
    assert found.seconds_per_click(until=0.9) == 10 / 4


def test_report__seconds_without_a_click() -> None:
    assert report(result((1.0, 1.0), seconds=(), clicks=())).seconds_per_click() == 0


def test_report__early_stop_says_what_it_knows() -> None:
    found = report(result((0.5, 0.86), boundary_iou=0.3), stop=0.85)
    figures = found.to_dict()
    assert (figures["stop"], figures["noc85"]) == (0.85, 2)
    assert {"noc90", "nof90", "histogram90", "seconds_per_click_to_90"}.isdisjoint(figures)
    assert "noc90" not in found.to_frame()
    with pytest.raises(EvaluationError, match=r"stopped at IoU 0.85, .* to 0.9"):
        found.noc(0.9)


def test_report__frame() -> None:
    frame = report(result((0.5, 0.92), "dog#3", seconds=(1.0, 2.0))).to_frame()
    assert frame.to_dict("records") == [
        {
            "image_id": "dog#3",
            "image": "dog",
            "category": "cat",
            "source": "",
            "height": 30,
            "width": 40,
            "area": 121,
            "size": "small",
            "share": "above 10 %",
            "noc80": 2,
            "noc85": 2,
            "noc90": 2,
            "noc95": 2,
            "failed80": False,
            "failed85": False,
            "failed90": False,
            "failed95": True,
            "iou1": 0.5,
            "iou2": 0.92,
            "boundary_iou": 0.5,
            "clicks": 2,
            "seconds_per_click": 1.5,
        }
    ]


@pytest.mark.parametrize(
    "area, size, share",
    [(1023, "small", "below 1 %"), (1024, "medium", "1 to 10 %"), (9216, "large", "1 to 10 %")],
)
def test_object__size_and_share(area: int, size: str, share: str) -> None:
    item = result((1.0,), area=area, height=320, width=320)
    assert (item.size, item.share) == (size, share)


@pytest.mark.parametrize("image_id, image", [("a", "a"), ("a#2", "a"), ("a#2#1", "a#2"), ("a#b", "a#b")])
def test_object__image(image_id: str, image: str) -> None:
    assert result((1.0,), image_id).image == image


def test_object__mask_after_some_clicks() -> None:
    target = sample().mask
    item = result(
        (0.5, 1.0, 1.0),
        clicks=CLICKS,
        masks={1: encode_coco(~target)["counts"], 2: encode_coco(target)["counts"]},
    )
    assert (item.mask(1) == ~target).all()
    assert (item.mask(5) == target).all()  # two clicks were made, and the mask stayed


def test_report__file_round_trip(tmp_path: Path) -> None:
    item = result((1 / 3, 0.9), clicks=CLICKS, masks={1: "1", 2: "2"}, seconds=(0.1, 1e-7))
    written = replace(report(item, result((0.1, 0.2))), annotator={"name": "noisy", "pixels": 3}, stop=0.9)
    file = tmp_path / "results" / "model.json"
    written.write(file)
    assert Report.read(file) == written
    assert json.loads(file.read_text())["figures"]["noc90"] == 2


def test_report__file_with_names_of_any_language(tmp_path: Path) -> None:
    written = report(result((0.5,), "Möwe", category="鳥"))
    written.write(tmp_path / "r.json")
    assert Report.read(tmp_path / "r.json") == written


def test_read__no_such_file(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"cannot read .*none\.json.*`maskloop evaluate` writes one"):
        Report.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"clicks", "not even JSON"),
        (b"\x89PNG\xff", "not even JSON"),
        (b"[1, 2]", "no result file"),
        (b'{"noc90": 3}', "no result file"),
        (b'{"format": "maskloop result", "version": 9}', "has version 9, this maskloop reads 1"),
        (b'{"format": "maskloop result", "version": 1}', "damaged .*evaluate again"),
    ],
)
def test_read__foreign_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(EvaluationError, match=rf"r\.json.*{message}"):
        Report.read(tmp_path / "r.json")


@pytest.mark.parametrize(
    "damage", [{"ious": [0.5]}, {"clicks": [[1]]}, {"colour": "red"}, {"masks": {"x": ""}}]
)
def test_read__damaged_object(tmp_path: Path, damage: dict) -> None:
    file = tmp_path / "r.json"
    report(result((0.5, 0.6))).write(file)
    content = json.loads(file.read_text())
    content["results"][0] |= damage
    file.write_text(json.dumps(content))
    with pytest.raises(EvaluationError, match="is damaged"):
        Report.read(file)


def test_write__into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match="cannot write"):
        report(result((0.5,))).write(tmp_path / "file" / "r.json")
