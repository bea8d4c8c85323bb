import pytest

from maskloop.datasets import DATASETS, open_dataset
from maskloop.errors import DatasetError


class TestOpenDataset:
    def test_open_dataset__unknown_name(self, tmp_path):
        with pytest.raises(DatasetError, match=r"'voc'.*Known: parquet, grabcut, .*sstem\."):
            open_dataset("voc", tmp_path)

    @pytest.mark.parametrize("name", DATASETS)
    def test_open_dataset__no_such_folder(self, name, tmp_path):
        with pytest.raises(DatasetError, match=r"nowhere.*There is no such folder"):
            open_dataset(name, tmp_path / "nowhere")

    @pytest.mark.parametrize("limit", [0, -1])
    def test_open_dataset__limit_that_leaves_none(self, limit, tmp_path):
        with pytest.raises(DatasetError, match=f"limit of {limit}"):
            open_dataset("parquet", tmp_path, limit=limit)
