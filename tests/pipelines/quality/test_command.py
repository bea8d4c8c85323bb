import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.data.collect import store_image
from pipelines.data.snapshot import Snapshot, write_snapshot
from pipelines.errors import SnapshotError
from tests.pipelines.fake_project import png
from tests.pipelines.quality.masks import row, square
from tests.pipelines.quality.test_review import extend


def run(root, *options):
    return CliRunner().invoke(app, ["quality", "--root", str(root), "--limit", "0", *options])


def test_quality__tells_what_waits_and_writes_table_and_page(repository):
    image = store_image(repository, png(0, 60, 80)).sha256
    rows = [
        row(mask, region_id=name, image_sha256=image)
        for name, mask in (("r", square(10, 10, 3)), ("s", None))
    ]
    write_snapshot(repository, extend(repository, Snapshot(), *rows))
    done = run(repository)
    assert done.exit_code == 0, done.output
    assert "1 set aside" in done.output
    assert "they are not recorded, so they train: give --record" in done.output
    assert "sliver" in done.output
    assert "task 5, annotation 50, region r (Cell): only 9 pixels" in done.output
    assert (repository / "reports/quality.csv").is_file()
    assert "1 mask to look at" in (repository / "reports/quality.html").read_text()


def test_quality__nothing_collected(repository):
    assert isinstance(run(repository).exception, SnapshotError)


@pytest.mark.parametrize("options", [["--tab"], ["--tab", "--label-studio", "http://127.0.0.1:1"]])
def test_quality__a_tab_needs_a_project_of_label_studio(repository, options):
    write_snapshot(repository, extend(repository, Snapshot(), row()))
    done = run(repository, *options)
    assert done.exit_code == 2
    assert "--token" in done.output
