"""Write a dataset as Parquet shards to train on: python -m maskloop.datasets sbd FOLDER OUT --split train."""

import argparse
from pathlib import Path

from maskloop.datasets import DATASETS, open_dataset, write_parquet


def main() -> None:
    """Read the command line and write the shards."""
    parser = argparse.ArgumentParser(prog="python -m maskloop.datasets", description=__doc__)
    parser.add_argument("name", choices=DATASETS)
    parser.add_argument("root", type=Path, help="folder or file of the dataset")
    parser.add_argument("out", type=Path, help="folder that the shards are written to")
    parser.add_argument("--split", help="only this split of the dataset")
    parser.add_argument("--source", help="name of the source in the shards; the dataset's without it")
    parser.add_argument("--write-split", default="train", help="split of the rows that are written (train)")
    options = parser.parse_args()
    samples = open_dataset(options.name, options.root, options.split)
    for file in write_parquet(samples, options.out, options.source or options.name, options.write_split):
        print(file)


if __name__ == "__main__":
    main()
