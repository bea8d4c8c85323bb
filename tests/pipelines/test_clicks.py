"""Real clicks: a journal is collected, followed, joined with what was kept, and counted."""

import http.server
import json
import os
import threading
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from maskloop.clicks import Click
from maskloop.errors import JournalError
from maskloop.journal import create_segment, encode_entry, mask_sha256, read_after
from maskloop.masks import encode_coco
from maskloop.runs import Runs
from pipelines.cli.clicks import clicks as command
from pipelines.clicks import (
    CLICKS,
    Trails,
    click_figures,
    click_table,
    collect_clicks,
    collect_trails,
    join_clicks,
    open_source,
    read_clicks,
    read_masks,
    report_clicks,
    write_click_plots,
)
from pipelines.clicks.plots import _stretches, _versions, draw_clicks
from pipelines.clicks.sessions import follow_sessions
from pipelines.data.collect import collect
from pipelines.data.shards import SCHEMA, Row, read_rows, write_shards
from pipelines.data.snapshot import Snapshot, read_snapshot, write_snapshot
from pipelines.versioning import open_worktree
from tests.journal_entries import NOON, entry
from tests.pipelines.conftest import git
from tests.pipelines.fake_project import FakeProject

A, B, C, D = (Click(row, 2 * row, positive=row < 3) for row in (1.0, 2.0, 3.0, 4.0))


def mask(rows: int):
    """The first rows of 48 x 64 pixels."""
    drawn = np.zeros((48, 64), bool)
    drawn[:rows] = True
    return drawn


def answer(minutes, region, *clicks, drawn=1, box=None, **values):
    """An entry whose answer was the mask of so many rows."""
    return entry(
        minutes, region=region, clicks=clicks, box=box, mask_sha256=mask_sha256(mask(drawn)), **values
    )


def kept(region, drawn=1, minutes=60.0, task=7, label="Cell", prompts=True):
    """A region that was saved some minutes after noon."""
    return Row(
        project_id=3,
        task_id=task,
        annotation_id=task,
        region_id=region,
        updated_at=f"{NOON + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S.%fZ}",
        annotator=1,
        label=label,
        height=48,
        width=64,
        rle=encode_coco(mask(drawn))["counts"] if drawn else "",
        image_sha256="1a" * 32,
        meta=json.dumps({"meta": {"prompts": 1}} if prompts else {}),
    )


def join(entries, *rows):
    return join_clicks(entries, pd.DataFrame([vars(row) for row in rows], columns=SCHEMA.names))


def write(folder, *entries):
    descriptor = create_segment(folder)
    os.write(descriptor, b"".join(map(encode_entry, entries)))
    os.close(descriptor)


# collecting


def test_collect_clicks__takes_what_is_new_each_time(tmp_path):
    journal, copies = tmp_path / "journal", tmp_path / "copies"
    write(journal, entry(0), entry(1))
    assert collect_clicks(open_source(str(journal)), copies) == 2
    assert collect_clicks(open_source(str(journal)), copies) == 0
    write(journal, entry(2))
    assert collect_clicks(open_source(str(journal)), copies) == 1
    assert read_clicks(copies).entries == (entry(0), entry(1), entry(2))


def test_collect_clicks__cut_off_before_the_position_counts_nothing_twice(tmp_path):
    write(tmp_path / "journal", entry(0), entry(1))
    source = open_source(str(tmp_path / "journal"))
    collect_clicks(source, tmp_path)
    lines = next(tmp_path.glob("*/clicks.log"))
    lines.write_bytes(lines.read_bytes()[:-100])
    lines.with_name("position").unlink()
    collect_clicks(source, tmp_path)
    reading = read_clicks(tmp_path)
    assert reading.entries == (entry(0), entry(1))
    assert reading.damaged == 1


def test_collect_clicks__several_journals_in_the_order_of_time(tmp_path):
    for name, minutes in (("one", (0, 3)), ("two", (1, 2))):
        write(tmp_path / name, *map(entry, minutes))
        collect_clicks(open_source(str(tmp_path / name)), tmp_path / "copies")
    assert read_clicks(tmp_path / "copies").entries == tuple(map(entry, range(4)))


def test_read_clicks__nothing_was_collected(tmp_path):
    assert read_clicks(tmp_path).entries == ()


@contextmanager
def serve(folder):
    """A service with `GET /journal`, for user `maskloop` with password `secret`; one line an answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.headers.get("Authorization") != "Basic bWFza2xvb3A6c2VjcmV0":
                self.send_response(401)
                self.end_headers()
                return
            address = urlsplit(self.path)
            assert address.path == "/journal"
            lines, position = read_after(folder, parse_qs(address.query).get("after", [""])[0], limit=1)
            self.send_response(200)
            self.send_header("X-Journal-Position", position)
            self.end_headers()
            self.wfile.write(lines)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_collect_clicks__from_a_service(tmp_path):
    write(tmp_path / "journal", *map(entry, range(300)))
    with serve(tmp_path / "journal") as url:
        source = open_source(url, {"MASKLOOP_BASIC_USER": "maskloop", "MASKLOOP_BASIC_PASSWORD": "secret"})
        assert collect_clicks(source, tmp_path) == 300
        assert collect_clicks(source, tmp_path) == 0
        with pytest.raises(JournalError, match=r"answered 401.*MASKLOOP_BASIC_PASSWORD"):
            collect_clicks(open_source(url, {}), tmp_path)
    assert len(read_clicks(tmp_path).entries) == 300
    with pytest.raises(JournalError, match="does not answer"):
        collect_clicks(source, tmp_path)


def test_open_source__a_password_in_the_address(tmp_path):
    with pytest.raises(JournalError, match="MASKLOOP_BASIC_PASSWORD") as raised:
        open_source("http://anna:hunter2@backend:9090")
    assert "hunter2" not in str(raised.value)


# sessions


@pytest.mark.parametrize(
    ("second", "together"),
    [
        ((A, B), True),
        ((A,), True),  # asked again
        ((B,), False),
        ((B, A), False),
    ],
)
def test_follow_sessions__the_first_click_tells(second, together):
    entries = [answer(0, "r1", A), answer(1, "r2", *second)]
    assert len(follow_sessions(entries)) == (1 if together else 2)


@pytest.mark.parametrize("different", [{"task": 8}, {"label": "Nucleus"}, {"project": 4}])
def test_follow_sessions__another_task_or_label_is_another_session(different):
    assert len(follow_sessions([answer(0, "r1", A), answer(1, "r2", A, B, **different)])) == 2


def test_follow_sessions__a_click_taken_back_or_moved_stays():
    entries = [answer(0, "r1", A), answer(1, "r2", A, B, C), answer(2, "r3", A, D), answer(3, "r4", A, D, B)]
    assert follow_sessions(entries) == [entries]


def test_follow_sessions__a_box_and_then_clicks():
    box = (1, 2, 30, 40)
    entries = [answer(0, "r1", box=box), answer(1, "r2", A, box=box), answer(2, "r3", A, B)]
    assert follow_sessions(entries) == [entries]


def test_follow_sessions__a_request_without_prompts_is_in_none():
    assert follow_sessions([answer(0, "r1")]) == []


def test_follow_sessions__side_by_side():
    mine = [answer(0, "r1", A), answer(2, "r3", A, C)]
    yours = [answer(1, "r2", B), answer(3, "r4", B, C)]
    assert follow_sessions([*yours, *mine]) == [mine, yours]


# joining


def test_join_clicks__the_clicks_of_the_mask_that_was_kept():
    found = join([answer(0, "r1", A), answer(1, "r2", A, B), answer(2, "r3", A, B, C)], kept("r2"))
    assert found.masks[["region", "clicks", "refined", "edited"]].values.tolist() == [["r2", 2, False, False]]
    assert found.sessions[["requests", "outcome"]].values.tolist() == [[3, "kept"]]


def test_join_clicks__a_box_counts_as_one():
    found = join([answer(0, "r1", A, B, box=(1, 2, 3, 4))], kept("r1"))
    assert found.masks["clicks"].tolist() == [3]


def test_join_clicks__drawn_on_by_hand():
    entries = [answer(0, "r1", A, drawn=3), answer(1, "r2", B, drawn=3)]
    found = join(entries, kept("r1", drawn=3), kept("r2", drawn=4))
    assert found.masks["edited"].tolist() == [False, True]


def test_join_clicks__saved_again_the_last_mask_counts():
    entries = [answer(0, "r1", A, drawn=3)]
    found = join(entries, kept("r1", drawn=3, minutes=60), kept("r1", drawn=5, minutes=70, label="Nucleus"))
    assert found.masks[["label", "edited"]].values.tolist() == [["Nucleus", True]]


def test_join_clicks__a_refined_mask_takes_the_clicks_of_both_sessions():
    entries = [
        answer(0, "old", A),
        answer(1, "r1", A, B, drawn=2),
        answer(9, "r1", C, drawn=3, refined=True),
        answer(10, "r1", C, D, drawn=4, refined=True),
    ]
    found = join(entries, kept("r1", drawn=4))
    assert found.masks[["clicks", "refined", "edited"]].values.tolist() == [[4, True, False]]
    assert found.sessions["outcome"].tolist() == ["kept", "kept"]


def test_join_clicks__a_refinement_that_was_rejected_is_given_up():
    entries = [answer(0, "r1", A, B, drawn=2), answer(9, "r1", C, drawn=3, refined=True)]
    found = join(entries, kept("r1", drawn=2))
    assert found.masks[["clicks", "refined", "edited"]].values.tolist() == [[2, False, False]]
    assert found.sessions["outcome"].tolist() == ["kept", "given up"]


def test_join_clicks__given_up_or_only_not_submitted_yet():
    entries = [
        answer(0, "r1", A),
        answer(0, "r2", A, task=8),  # never submitted, and that for more than a day
        answer(1400, "r3", A, task=9),
        answer(2000, "r4", B),  # after its task was submitted
    ]
    found = join(entries, kept("other", minutes=60))
    assert found.sessions["outcome"].tolist() == ["given up", "given up", "pending", "pending"]


def test_join_clicks__a_withdrawn_annotation_was_kept_once():
    found = join([answer(0, "r1", A)], kept("r1"), kept("", drawn=0, minutes=90))
    assert found.masks["region"].tolist() == ["r1"]


def test_join_clicks__the_same_id_in_another_task_is_another_region():
    found = join([answer(0, "r1", A, task=8)], kept("r1", task=7))
    assert found.masks.empty
    assert found.unknown == 1


def test_join_clicks__masks_of_which_the_journal_knows_nothing():
    found = join([answer(0, "r1", A)], kept("r1"), kept("r2"), kept("drawn", prompts=False))
    assert found.unknown == 1


def test_join_clicks__no_answer_and_no_task():
    entries = [
        answer(0, None, A, outcome="superseded", image_sha256=None),
        answer(1, None, A, B, outcome="nothing"),
        answer(2, "r1", C, task=None),
    ]
    found = join(entries, kept("r1"))
    assert found.masks.empty
    assert found.sessions["requests"].tolist() == [2, 1]


# figures


@pytest.fixture
def found():
    """Four masks of 1, 2, 1 and 8 clicks, one of them drawn on; one session of five given up."""
    many = tuple(Click(20.0, col) for col in range(8))
    entries = [
        answer(0, "r1", A, model="v9", milliseconds=10.0),
        answer(1, None, B, model="v9", milliseconds=900.0, outcome="superseded"),
        answer(2, "r2", B, C, model="v9", milliseconds=20.0),
        answer(3, "r3", C, model="v10", milliseconds=30.0, label="Nucleus"),
        answer(4, "r4", *many, model="v10", milliseconds=40.0),
        answer(5, "r5", D, model="v10", milliseconds=50.0),
    ]
    rows = [kept("r1"), kept("r2", drawn=9), kept("r3", label="Nucleus"), kept("r4")]
    return join(entries, *rows)


def test_click_figures__by_hand(found):
    assert click_figures(found) == pytest.approx(
        {
            "masks": 4,
            "clicks_mean": 3.0,
            "clicks_median": 1.5,
            "clicks_p90": 6.2,  # of 1, 1, 2, 8: place 2.7, so 2 + 0.7 * 6
            "share_edited": 0.25,
            "sessions_given_up": 1,
            "share_given_up": 0.2,
            "requests": 6,
            "milliseconds_p50": 30.0,
            "milliseconds_p95": 48.0,
        }
    )


def test_click_figures__nothing_known_is_left_out():
    assert click_figures(join([])) == {"masks": 0, "sessions_given_up": 0, "requests": 0}


def test_click_table__versions_in_the_order_they_served(found):
    table = click_table(found, "model")
    assert table.index.tolist() == ["v9", "v10"]
    assert table["clicks_mean"].tolist() == [1.5, 4.5]
    assert table["share_given_up"].tolist() == pytest.approx([0, 1 / 3])
    assert table["milliseconds_p50"].tolist() == [15, 40]


def test_click_table__by_label_and_day(found):
    assert click_table(found, "label")["masks"].to_dict() == {"Cell": 3, "Nucleus": 1}
    assert click_table(found, "day")["masks"].to_dict() == {"2026-11-25": 4}
    assert click_table(join([]), "day").empty


# plots


def test_write_click_plots__png_and_svg(found, tmp_path):
    png, svg = write_click_plots(found, tmp_path / "reports")
    with Image.open(png) as picture:
        assert picture.width > picture.height > 300
    text = svg.read_text()
    assert "v9: 2 masks, 1.50 clicks on average" in text
    assert write_click_plots(found, tmp_path / "again")[1].read_text() == text


def test_write_click_plots__no_masks_no_plot(tmp_path):
    assert write_click_plots(join([]), tmp_path) == []


def test_draw_clicks__bars_are_shares_of_a_version(found):
    bars, line = draw_clicks(found.masks).axes
    assert [[round(bar.get_height()) for bar in version] for version in bars.containers] == [
        [50, 50, 0, 0, 0, 0, 0, 0, 0, 0],
        [50, 0, 0, 0, 0, 0, 0, 50, 0, 0],
    ]
    assert line.lines[0].get_ydata().tolist() == pytest.approx([np.nan, 1.5], nan_ok=True)
    assert line.lines[1].get_ydata().tolist() == pytest.approx([1.5, 4 / 3, 3])


def test_draw_clicks__many_versions_and_names_that_are_markup(tmp_path):
    names = [f"v{number}" for number in range(9)] + ["_$x^2$ <b>"]
    times = pd.date_range("2026-11-25", periods=20, freq="h", tz="UTC")
    masks = pd.DataFrame({"time": times, "model": np.repeat(names, 2), "clicks": range(1, 21)})
    assert list(dict.fromkeys(_versions(masks))) == ["older", *names[-4:]]
    bars, _ = draw_clicks(masks).axes
    assert bars.get_legend_handles_labels()[1][-1].startswith("$x^2$ <b>: 2 masks")


def test_stretches__a_version_that_came_back():
    assert _stretches(pd.Series(["a", "a", "b", "a"])) == [(0, 2), (2, 3), (3, 4)]


# the repository, and the command


def test_read_masks__of_the_newest_snapshot(repository):
    assert read_masks(repository).empty
    with open_worktree(repository, "one", print) as worktree:
        collected = collect(FakeProject(), worktree.path, read_snapshot(worktree.path))
        worktree.commit_snapshot(collected.snapshot)
    before = git(repository, "branch", "--list")
    assert (read_masks(repository)["rle"] != "").sum() == collected.masks > 0
    assert git(repository, "branch", "--list") == before
    assert git(repository, "status", "--porcelain") == ""


def test_report_clicks__beside_the_reports_of_a_retrain(repository, tmp_path):
    write(tmp_path / "journal", answer(0, "r1", A), answer(1, "r2", B))
    rows = (kept("r1"), kept("r2", drawn=5))
    write_snapshot(repository, Snapshot(version=1, masks=2, shards=write_shards(repository, "0001", rows)))
    figures = report_clicks(str(tmp_path / "journal"), tmp_path / "copies", repository)
    assert (figures["masks"], figures["clicks_mean"], figures["share_edited"]) == (2, 1.0, 0.5)
    reports = repository / "reports"
    assert json.loads((reports / "real_clicks.json").read_text()) == figures
    assert {file.name for file in reports.iterdir()} == {
        "real_clicks.json",
        "real_clicks.png",
        "real_clicks.svg",
    }


def test_command__prints_tables_and_draws(repository, tmp_path):
    write(tmp_path / "journal", answer(0, "r1", A), answer(1, "r2", A, B))
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(tmp_path / "journal"), "--root", str(repository)])
    assert result.exit_code == 0, result.output
    assert "2 requests, 2 of them new, 0 damaged lines" in result.output
    assert "0 masks kept; of 1 sessions 0 given up, 1 not submitted yet" in result.output
    assert "maskloop-v2" in result.output
    assert len(list((repository / CLICKS).glob("*/clicks.log"))) == 1


# trails


def trails(folder, *entries):
    write(folder / "journal", *entries)
    collect_clicks(open_source(str(folder / "journal")), folder / "copies")
    return Trails(folder / "copies")


def test_trails__clicks_of_the_last_request_of_each_session(tmp_path):
    found = trails(
        tmp_path,
        answer(0, "one", A),
        answer(1, "two", A, B, drawn=2),
        answer(2, "two", D, refined=True, drawn=3),
        answer(3, "two", C, refined=True, drawn=5),
    )
    assert found.clicks(7, "two", Runs.of(mask(3))) == [A, B, D], "the last correction was rejected"
    assert found.clicks(7, "two", Runs.of(mask(5))) == [A, B, D, C]
    assert found.clicks(7, "two", Runs.of(mask(9))) == [A, B, D, C], "somebody drew on the last"
    assert found.clicks(7, "one", Runs.of(mask(1))) == [A]


def test_trails__task_or_region_that_the_journal_does_not_know(tmp_path):
    found = trails(tmp_path, answer(0, "one", A))
    assert found.clicks(8, "one", Runs.of(mask(1))) == []
    assert found.clicks(7, "two", Runs.of(mask(1))) == []
    assert Trails(tmp_path / "nothing").clicks(7, "one", Runs.of(mask(1))) == []


def test_trails__tasks_in_any_order_and_labels_that_look_like_tasks(tmp_path):
    label = '"task":8,'
    found = trails(
        tmp_path,
        answer(0, "one", A, label=label),
        answer(1, "one", B, task=8),
        answer(2, "one", C, task=None),
    )
    for _ in range(2):
        assert found.clicks(7, "one", Runs.of(mask(1))) == [A]
        assert found.clicks(8, "one", Runs.of(mask(1))) == [B]


def test_trails__damaged_and_repeated_lines(tmp_path):
    entries = (answer(0, "one", A, drawn=1), answer(1, "one", A, B, drawn=2))
    trails(tmp_path, *entries)
    (lines,) = tmp_path.glob("copies/*/clicks.log")
    first, second = lines.read_bytes().splitlines(keepends=True)
    lines.write_bytes(first + first.replace(b"7", b"7 ", 1) + b"\n" + first + second[:-9] + b"\n" + second)
    assert Trails(tmp_path / "copies").clicks(7, "one", Runs.of(mask(2))) == [A, B]


def test_collect_trails__journal_that_cannot_be_read_is_a_warning(tmp_path):
    trails(tmp_path, answer(0, "one", A))
    said = []
    for journal, warnings in (("", 0), (str(tmp_path / "nothing"), 1), (str(tmp_path / "journal"), 1)):
        found = collect_trails(journal, tmp_path / "copies", said.append)
        assert found.clicks(7, "one", Runs.of(mask(1))) == [A]
        assert len(said) == warnings
    assert "newest clicks stay unknown" in said[0]


def test_collect__clicks_of_the_journal_reach_the_row(tmp_path):
    project = FakeProject()
    region = project.tasks[0]["annotations"][0]["result"][0]["id"]
    found = trails(tmp_path, answer(0, region, A, C, task=24))
    snapshot = collect(project, tmp_path, Snapshot(), found.clicks).snapshot
    rows = {row["region_id"]: json.loads(row["clicks"]) for row in read_rows(tmp_path, snapshot).to_pylist()}
    assert rows.pop(region) == [[1.0, 2.0, 1], [3.0, 6.0, 0]]
    assert set(map(str, rows.values())) == {"[]"}
