"""What the checks of label quality find: masks of a published set, some of them damaged on purpose.

    python -m benchmarks.quality checks coco-00.parquet
    python -m benchmarks.quality model coco-00.parquet
    python -m benchmarks.quality agreement bsds-00.parquet

`checks` needs no model. `model` clicks on every mask, damaged or not, with a checkpoint that never saw the
images.
`agreement` compares people: BSDS holds up to three segmentations of an image, one after the other.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import pandas as pd
import typer

from maskloop.annotators import RealisticAnnotator
from maskloop.arrays import Mask
from maskloop.clicks import Click
from maskloop.datasets import Sample, open_dataset
from maskloop.datasets.categories import STUFF
from maskloop.evaluation import evaluate
from maskloop.masks import decode_coco, encode_coco
from maskloop.metrics import intersection_over_union
from maskloop.predictor import Predictor
from pipelines.data.shards import Row
from pipelines.quality.config import QualityConfig
from pipelines.quality.contradiction import Answer, find_contradictions
from pipelines.quality.labelled import Labelled
from pipelines.quality.pairs import agreement_table, compare, find_duplicates
from pipelines.quality.pointing import check_clicks
from pipelines.quality.shapes import check_shape

SMALLEST = 150
"""Pixels of an object, so that half of it is still one."""
PREVALENCE = 0.1
"""Share of damaged masks that precision is told for."""
CONFIG = QualityConfig()

app = typer.Typer(add_completion=False, help=__doc__)
Random = np.random.Generator
Damage = Callable[[Mask, Random], Mask]


def shifted(mask: Mask, random: Random) -> Mask:
    """By half its extent, in any direction."""
    height, width = _extent(mask)
    angle = random.uniform(0, 2 * np.pi)
    return _moved(mask, round(height / 2 * np.sin(angle)), round(width / 2 * np.cos(angle)))


def halved(mask: Mask, random: Random) -> Mask:
    """One side of a line through its middle is lost."""
    rows, cols = np.nonzero(mask)
    angle = random.uniform(0, 2 * np.pi)
    along = np.sin(angle) * rows + np.cos(angle) * cols
    kept = along < np.median(along)
    result = np.zeros_like(mask)
    result[rows[kept], cols[kept]] = True
    return result


def grown(mask: Mask, random: Random) -> Mask:
    """To twice its area, on all sides."""
    result = mask.astype(np.uint8)
    while result.sum() < min(2 * mask.sum(), mask.size):
        result = np.asarray(cv2.dilate(result, np.ones((3, 3), np.uint8)))
    return result.astype(bool)


def leaked(mask: Mask, random: Random) -> Mask:
    """A disc of the same area at its rim belongs to it."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rim = max(contours, key=len)
    col, row = rim[random.integers(len(rim))][0]
    result = mask.astype(np.uint8)
    cv2.circle(result, (int(col), int(row)), round(np.sqrt(mask.sum() / np.pi)), 1, -1)
    return result.astype(bool)


def boxed(mask: Mask, random: Random) -> Mask:
    """Its box, filled."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    result = np.zeros_like(mask)
    result[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = True
    return result


def emptied(mask: Mask, random: Random) -> Mask:
    return np.zeros_like(mask)


def dotted(mask: Mask, random: Random) -> Mask:
    """A dot of 3 x 3 pixels is left."""
    rows, cols = np.nonzero(mask)
    chosen = random.integers(len(rows))
    result = np.zeros_like(mask)
    result[max(0, rows[chosen] - 1) : rows[chosen] + 2, max(0, cols[chosen] - 1) : cols[chosen] + 2] = True
    return result


def outlined(mask: Mask, random: Random) -> Mask:
    """A line of one pixel along its border is left."""
    return mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)


def speckled(mask: Mask, random: Random) -> Mask:
    """Twenty specks elsewhere belong to it."""
    result = mask.copy()
    for row, col in zip(*(random.integers(0, size - 2, 20) for size in mask.shape), strict=True):
        result[row : row + 2, col : col + 2] = True
    return result


def pushed_out(mask: Mask, random: Random) -> Mask:
    """Out of the image, but for a strip at the border."""
    cols = np.flatnonzero(mask.any(axis=0))
    return _moved(mask, 0, 2 - int(cols[-1]) - 1)


def filled(mask: Mask, random: Random) -> Mask:
    """All of the image."""
    return np.ones_like(mask)


def wobbled(mask: Mask, random: Random) -> Mask:
    """As another careful person would draw it: the border moves by some hundredths of its extent."""
    height, width = mask.shape
    reach = 0.02 * max(_extent(mask))
    coarse = (max(2, round(width / (4 * reach + 4))), max(2, round(height / (4 * reach + 4))))
    shift = [
        reach
        * cv2.resize(random.standard_normal(coarse[::-1]), (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(2)
    ]
    rows, cols = np.mgrid[:height, :width].astype(np.float32)
    across, down = (field.astype(np.float32) for field in shift)
    moved = cv2.remap(mask.astype(np.float32), cols + across, rows + down, cv2.INTER_LINEAR)
    return np.asarray(moved >= 0.5)


SHAPES: tuple[Damage, ...] = (emptied, dotted, outlined, speckled, pushed_out, filled)
GROSS: tuple[Damage, ...] = (shifted, halved, grown, leaked, boxed)


@app.command()
def checks(
    data: Path,
    split: str = "val",
    objects: int = 100,
    seed: int = 0,
    only: Annotated[str, typer.Option(help="one of shape, clicks, duplicate, annotators")] = "",
) -> None:
    """The checks that need no model, each against the damages that it is for."""
    samples = _objects(data, split, objects)
    parts: dict[str, Callable[[], Iterator[Line]]] = {
        "shape": lambda: _shapes(samples, seed),
        "clicks": lambda: _pointing(samples, seed),
        "duplicate": lambda: _doubles(samples),
        "annotators": lambda: _annotators(samples, seed),
    }
    _show([line for name, part in parts.items() if only in ("", name) for line in part()])


@app.command()
def model(
    data: Path,
    split: str = "val",
    objects: int = 100,
    checkpoint: Path = Path("checkpoints/default"),
    clicks: int = 3,
    out: Annotated[Path | None, typer.Option(help="table of the single masks, CSV")] = None,
) -> None:
    """Masks that a model is far from: every second one is damaged."""
    samples = _objects(data, split, objects)
    damages = [None if number % 2 else GROSS[number // 2 % len(GROSS)] for number in range(len(samples))]
    shown = [
        replace(sample, mask=damage(sample.mask, np.random.default_rng(number)) if damage else sample.mask)
        for number, (sample, damage) in enumerate(zip(samples, damages, strict=True))
    ]
    report = evaluate(Predictor.load(checkpoint), shown, clicks)
    names = [damage.__name__ if damage else "clean" for damage in damages]
    table = pd.DataFrame([one.ious for one in report.objects]).add_prefix("iou").assign(damage=names)
    table["category"] = [sample.category for sample in samples]
    if out:
        table.to_csv(out, index=False)
    seconds = sum(sum(one.seconds) for one in report.objects) / len(report.objects)
    typer.echo(f"{len(table)} masks, half of them damaged; {seconds:.2f} s a mask for {clicks} clicks\n")
    for count in range(1, clicks + 1):
        _sweep(table, count)
    items = [_item(sample.mask, label=data.stem, region_id=str(n)) for n, sample in enumerate(shown)]
    answers = [
        Answer(item, float(one.ious[CONFIG.model_clicks - 1]), "", ())
        for item, one in zip(items, report.objects, strict=True)
    ]
    told = {int(finding.region_id) for finding in find_contradictions(answers, "", CONFIG)}
    table["told"] = [number in told for number in range(len(table))]
    by_damage = table.groupby("damage")["told"].mean()
    counts = table["damage"].value_counts()
    alarms = by_damage["clean"]
    rows = [
        ("model", str(name), int(counts[name]), float(found), float(alarms))
        for name, found in by_damage.drop("clean").items()
    ]
    damaged = table[table["damage"] != "clean"]
    _show([*rows, ("model", "all of these", len(damaged), float(damaged["told"].mean()), float(alarms))])


@app.command()
def agreement(data: Path, split: str = "val") -> None:
    """How much people agree: every two segmentations of an image."""
    table = pd.read_parquet(data, columns=["image_id", "split", "height", "width", "objects"])
    comparisons = []
    for task, row in enumerate(table[table["split"] == split].itertuples()):
        people = list(_people(row.objects, row.height, row.width))
        items = [
            _item(mask, task_id=task, annotation_id=person, annotator=person, region_id=str(number))
            for person, masks in enumerate(people)
            for number, mask in enumerate(masks)
        ]
        comparisons += list(compare(items, CONFIG))
    typer.echo(f"{len(comparisons)} pairs of people\n")
    typer.echo(agreement_table(comparisons).to_string(float_format="{:.3f}".format))
    ious = np.array([pair.iou for comparison in comparisons for pair in comparison.pairs])
    for least in (0.3, 0.5, 0.7):
        typer.echo(f"IoU below {least}: {100 * np.mean(ious < least):.1f} % of the pairs")


Line = tuple[str, str, int, float, float]
"""Check, damage, masks damaged, share of them found, share of undamaged masks told."""


def _shapes(samples: Sequence[Sample], seed: int) -> Iterator[Line]:
    clean = [_item(sample.mask) for sample in samples]
    yield from _against("shape", clean, lambda item: check_shape(item, CONFIG) is not None, SHAPES, seed)


def _pointing(samples: Sequence[Sample], seed: int) -> Iterator[Line]:
    """A mask is damaged, or is that of another object of the image; the clicks stay."""
    clean = [_item(sample.mask, clicks=_clicks(sample)) for sample in samples]
    yield from _against("clicks", clean, _is_elsewhere, GROSS, seed)
    swapped = [
        _item(other.mask, clicks=item.clicks)
        for item, (sample, other) in zip(clean, pairwise(samples), strict=False)
        if sample.image_id.split("#")[0] == other.image_id.split("#")[0]
    ]
    alarms = _share(map(_is_elsewhere, clean))
    yield "clicks", "swapped", len(swapped), _share(map(_is_elsewhere, swapped)), alarms


def _is_elsewhere(item: Labelled) -> bool:
    return check_clicks(item, CONFIG) is not None


def _against(
    check: str,
    clean: Sequence[Labelled],
    is_told: Callable[[Labelled], bool],
    damages: Sequence[Damage],
    seed: int,
) -> Iterator[Line]:
    alarms = _share(map(is_told, clean))
    for damage in damages:
        random = np.random.default_rng(seed)
        items = [replace_mask(item, damage(item.mask(), random)) for item in clean]
        yield check, damage.__name__, len(items), _share(map(is_told, items)), alarms


def _doubles(samples: Sequence[Sample]) -> Iterator[Line]:
    """Each image's objects, then each object again, a pixel lower."""
    alarms, found, count = 0, 0, 0
    by_image: dict[str, list[Sample]] = {}
    for sample in samples:
        by_image.setdefault(sample.image_id.split("#")[0], []).append(sample)
    for group in by_image.values():
        items = [_item(sample.mask, region_id=str(number)) for number, sample in enumerate(group)]
        alarms += len(list(find_duplicates(items, CONFIG)))
        for item, sample in zip(items, group, strict=True):
            again = _item(_moved(sample.mask, 1, 0), region_id="again")
            found += any(one.region_id == "again" for one in find_duplicates([item, again], CONFIG))
        count += len(group)
    yield "duplicate", "a pixel lower", count, found / count, alarms / count


def _annotators(samples: Sequence[Sample], seed: int) -> Iterator[Line]:
    """Two people draw an object; one of them draws it wrong."""
    random = np.random.default_rng(seed)
    pairs = [(wobbled(sample.mask, random), wobbled(sample.mask, random)) for sample in samples]
    careful = np.array([intersection_over_union(*pair) for pair in pairs])
    for damage in GROSS:
        ious = [intersection_over_union(first, damage(second, random)) for first, second in pairs]
        matched = np.array(ious)[np.array(ious) >= CONFIG.match]
        for least in (0.4, 0.5, 0.6, 0.7):
            found = float((matched < least).sum() / len(pairs))
            name = f"{damage.__name__}, IoU below {least}"
            yield "annotators", name, len(pairs), found, float((careful < least).mean())


def _sweep(table: pd.DataFrame, clicks: int) -> None:
    """Share of damaged and of undamaged masks below each IoU after this many clicks."""
    damaged = table["damage"] != "clean"
    ious = table[f"iou{clicks - 1}"]
    cells = [
        f"{least:.2f}: {100 * (ious[damaged] < least).mean():.0f}/{100 * (ious[~damaged] < least).mean():.0f}"
        for least in np.arange(0.3, 0.9, 0.1)
    ]
    typer.echo(f"below an IoU after {clicks} clicks, % of damaged/undamaged: " + ", ".join(cells))


def _show(lines: Sequence[Line]) -> None:
    table = pd.DataFrame(lines, columns=["check", "damage", "masks", "recall", "false alarms"])
    right = PREVALENCE * table["recall"]
    table["precision at 10 %"] = right / (right + (1 - PREVALENCE) * table["false alarms"])
    typer.echo("\n" + table.to_string(index=False, float_format="{:.3f}".format))


def _objects(data: Path, split: str, count: int) -> list[Sample]:
    """Things, no stuff, that are large enough: two in a row, as neighbours are mistaken for each other."""
    found = [
        sample
        for sample in open_dataset("parquet", data, split)
        if sample.category not in STUFF and sample.mask.sum() >= SMALLEST
    ]
    starts = range(0, len(found) - 1, max(2, 2 * len(found) // count))
    return [found[start + place] for start in starts for place in (0, 1)][:count]


def _clicks(sample: Sample) -> list[Click]:
    """What a person clicked: on the object, then twice where a wobbly mask was wrong."""
    annotator, random = RealisticAnnotator(), np.random.default_rng(len(sample.image_id))
    clicks: list[Click] = []
    for number in range(3):
        seen = wobbled(sample.mask, random) if number else np.zeros_like(sample.mask)
        click = annotator.click(seen, sample, clicks)
        clicks += [click] if click else []
    return clicks


def _people(objects: Sequence[dict[str, str]], height: int, width: int) -> Iterator[list[Mask]]:
    """The segmentations of an image: the regions of one person do not overlap, and come together."""
    masks: list[Mask] = []
    taken = np.zeros((height, width), bool)
    for one in objects:
        mask = decode_coco({"size": [height, width], "counts": one["rle"]})
        if (taken & mask).sum() > 0.5 * mask.sum():
            yield masks
            masks, taken = [], np.zeros_like(taken)
        masks.append(mask)
        taken |= mask
    yield masks


def _item(mask: Mask, clicks: Sequence[Click] = (), **changes: object) -> Labelled:
    height, width = mask.shape
    counts = str(encode_coco(mask)["counts"])
    row = Row(0, 0, 0, "", "", 0, "", height, width, counts, "", "{}")
    text = json.dumps([[click.row, click.col, int(click.positive)] for click in clicks])
    return Labelled(replace(row, clicks=text, **changes), 1)  # type: ignore[arg-type]


def replace_mask(item: Labelled, mask: Mask) -> Labelled:
    return Labelled(replace(item.row, rle=str(encode_coco(mask)["counts"])), item.snapshot)


def _share(outcomes: Iterator[bool]) -> float:
    return float(np.mean(list(outcomes)))


def _extent(mask: Mask) -> tuple[int, int]:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1


def _moved(mask: Mask, down: int, across: int) -> Mask:
    """Moved by whole pixels; what leaves the image is lost."""
    rows, cols = np.nonzero(mask)
    rows, cols = rows + down, cols + across
    inside = (rows >= 0) & (rows < mask.shape[0]) & (cols >= 0) & (cols < mask.shape[1])
    result = np.zeros_like(mask)
    result[rows[inside], cols[inside]] = True
    return result


if __name__ == "__main__":
    app()
