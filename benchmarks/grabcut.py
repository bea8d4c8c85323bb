"""Number of clicks of a checkpoint beside OpenCV's grabCut: same simulated annotator, same images.

python -m benchmarks.grabcut parquet PATH [--checkpoint DIR] [--limit N]
"""

import argparse
from pathlib import Path

from maskloop.datasets import open_dataset
from maskloop.evaluation import Report, evaluate
from maskloop.predictor import Predictor
from maskloop.rivals import GrabCut


def table(reports: dict[str, Report]) -> str:
    """The figures side by side, one line each."""
    figures = {name: report.to_dict() for name, report in reports.items()}
    lines = [f"{'':18}" + "".join(f"{name:>14}" for name in figures)]
    for key in ("objects", "noc85", "noc90", "noc95", "nof90", "seconds_per_click"):
        lines.append(f"{key:18}" + "".join(f"{values[key]:14.2f}" for values in figures.values()))
    for click in (1, 3, 5, 10, 20):
        cells = "".join(f"{values['iou_at_click'][click - 1]:14.3f}" for values in figures.values())
        lines.append(f"{f'IoU at click {click}':18}" + cells)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset")
    parser.add_argument("root", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/default"))
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    samples = open_dataset(arguments.dataset, arguments.root, limit=arguments.limit)
    predictor = Predictor.load(arguments.checkpoint)
    print(table({predictor.version: evaluate(predictor, samples), "grabCut": evaluate(GrabCut(), samples)}))


if __name__ == "__main__":
    main()
