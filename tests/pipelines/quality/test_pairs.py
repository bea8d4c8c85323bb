import pytest

from maskloop.metrics import boundary_iou
from pipelines.quality.config import QualityConfig
from pipelines.quality.pairs import agreement_table, compare, find_disagreements, find_duplicates
from tests.pipelines.quality.masks import item, square

CONFIG = QualityConfig()


def nobody(_):
    return None


def findings(items, opinion=nobody):
    comparisons = list(compare(items, CONFIG))
    pairs = [pair for comparison in comparisons for pair in comparison.pairs]
    return list(find_disagreements(pairs, CONFIG, opinion))


def by(annotator, mask, **changes):
    return item(
        mask, annotation_id=50 + annotator, annotator=annotator, updated_at=f"t{annotator}", **changes
    )


def test_find_duplicates__in_one_annotation_the_later_region():
    items = [item(), item(region_id="s"), item(square(10, 40), region_id="t")]
    (finding,) = find_duplicates(items, CONFIG)
    assert (finding.region_id, finding.against, finding.value) == ("s", "region r", 1)
    assert finding.other == items[0].row.rle


def test_find_duplicates__the_image_is_in_two_tasks():
    (finding,) = find_duplicates([item(), item(task_id=6, annotation_id=60, label="Dust")], CONFIG)
    assert finding.annotation_id == 60
    assert "of task 5, which is called Cell, not Dust" in finding.detail


def test_find_duplicates__ground_truth_stays():
    items = [item(), item(region_id="s", ground_truth=True)]
    (finding,) = find_duplicates(items, CONFIG)
    assert finding.region_id == "r"
    both = [item(ground_truth=True), item(region_id="s", ground_truth=True)]
    assert not list(find_duplicates(both, CONFIG))


def test_find_duplicates__three_times_the_same():
    items = [item(region_id=name) for name in "abc"]
    assert [finding.region_id for finding in find_duplicates(items, CONFIG)] == ["b", "c"]


def test_find_duplicates__annotators_of_one_task_are_none():
    assert not list(find_duplicates([by(1, square(10, 10)), by(2, square(10, 10))], CONFIG))


def test_compare__pairs_and_what_one_lacks():
    first = [by(1, square(10, 10)), by(1, square(10, 50), region_id="s")]
    second = [by(2, square(35, 10, 10), region_id="x"), by(2, square(10, 14), region_id="y")]
    (comparison,) = compare([*first, *second], CONFIG)
    (pair,) = comparison.pairs
    assert (pair.first.row.region_id, pair.second.row.region_id) == ("r", "y")
    assert pair.iou == pytest.approx(16 / 24)
    assert pair.boundary_iou == boundary_iou(square(10, 10), square(10, 14))
    assert [item.row.region_id for item in comparison.unmatched] == ["s", "x"]


def test_compare__one_person_twice_is_no_second_opinion():
    again = item(square(10, 14), annotation_id=99)
    assert not list(compare([item(), again], CONFIG))


def test_find_disagreements__the_older_one_without_a_judge():
    (finding,) = findings([by(1, square(10, 10)), by(2, square(10, 20))])
    assert (finding.reason, finding.annotation_id, finding.against) == ("annotators", 51, "annotator 2")
    assert finding.value == pytest.approx(1 / 3)
    assert "IoU 0.33 and boundary IoU" in finding.detail
    assert finding.other == by(2, square(10, 20)).row.rle


def test_find_disagreements__the_one_that_a_model_agrees_less_with():
    ious = {50 + 1: 0.9, 50 + 2: 0.4}
    (finding,) = findings(
        [by(1, square(10, 10)), by(2, square(10, 20))], lambda item: ious[item.row.annotation_id]
    )
    assert finding.annotation_id == 52


def test_find_disagreements__the_one_that_stands_alone_among_three():
    items = [by(1, square(10, 10)), by(2, square(10, 11)), by(3, square(10, 20))]
    assert {finding.annotation_id for finding in findings(items)} == {53}


def test_find_disagreements__ground_truth():
    (finding,) = findings([by(1, square(10, 10), ground_truth=True), by(2, square(10, 20))])
    assert finding.annotation_id == 52
    both = [by(number, square(10, 10 * number), ground_truth=True) for number in (1, 2)]
    assert not findings(both)


def test_find_disagreements__alike():
    assert not findings([by(1, square(10, 10)), by(2, square(10, 12))])


def test_agreement_table__by_label_and_of_all():
    first = [by(1, square(10, 10)), by(1, square(35, 10), region_id="s", label="Dust")]
    second = [by(2, square(10, 14)), by(2, square(35, 50), region_id="s", label="Dust")]
    table = agreement_table(list(compare([*first, *second], CONFIG)))
    assert table.index.tolist() == ["Cell", "Dust", "all"]
    assert table["pairs"].tolist() == [1, 0, 1]
    assert table["iou"].tolist() == pytest.approx([2 / 3, float("nan"), 2 / 3], nan_ok=True)
    assert table["unmatched"].tolist() == pytest.approx([0, 1, 0.5])
    assert table["other_label"].tolist() == pytest.approx([0, float("nan"), 0], nan_ok=True)


def test_agreement_table__nobody_labelled_twice():
    assert agreement_table([]).empty


def test_agreement_table__every_two_of_three_annotators():
    items = [by(number, square(10, 10)) for number in (1, 2, 3)]
    assert agreement_table(list(compare(items, CONFIG)))["pairs"].tolist() == [3]
