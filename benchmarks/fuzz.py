"""Label Studio's requests, damaged at random, against the service in this process: what does it answer?

python -m benchmarks.fuzz --requests 10000
"""

import argparse
import copy
import json
import logging
import random
import resource
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from maskloop.regions import Shape, region_value
from tests.ml_backend.conftest import WIRE, encode
from tests.ml_backend.fake_label_studio import serve_label_studio
from tests.ml_backend.test_app import TASK_24, TASK_25, Backend

ANSWERS = {200, 400, 413, 422, 424, 502, 503}
"""What a damaged request may be answered with."""

SHAPE = (48, 64)

ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    10**15,
    10**30,
    -(10**400),
    1e-300,
    1e308,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "nan",
    "-inf",
    "1e999",
    "\0",
    "ä\u202e😀" * 20,
    "\ud800",
    "../../etc/passwd",
    "http://[::1",
    "//backend.example:99999/x",
    "s3://bucket/" + "x" * 3000,
    "<View/>",
    "<" * 50,
    [],
    [[]],
    [[[[[[]]]]]],
    [0, -1, 256, 10**30],
    [None, {}, "x"],
    {},
    {"id": {"id": []}},
    {"x": -5, "y": 1e9, "width": -3, "height": "nan"},
]


def seeds() -> dict[str, list[Any]]:
    """Bodies that were captured, by path, and clicks on regions of each shape that are stored."""
    bodies = {
        path: [json.loads(file.read_text())["body"] for file in sorted(WIRE.glob(f"{path[1:]}_*.json"))]
        for path in ("/predict", "/webhook")
    }
    click = next(body for body in bodies["/predict"] if body["params"] and body["params"].get("context"))
    for shape in ("brush", "polygon", "bitmask"):
        bodies["/predict"].append(_refining(json.loads(json.dumps(click)), shape))
    return bodies


def _refining(body: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """A negative click into a disc that is drafted, submitted and predicted in one shape."""
    rows, cols = np.ogrid[: SHAPE[0], : SHAPE[1]]
    disc = (rows - 20) ** 2 + (cols - 21) ** 2 <= 100
    kind = f"{shape}labels"
    region = {"id": "disc", "type": kind, "from_name": "brush", "to_name": "image", "image_rotation": 0}
    region |= {"original_height": SHAPE[0], "original_width": SHAPE[1]}
    region["value"] = region_value(disc, shape) | {kind: ["Cell"]}
    drawn = {"x": 10, "y": 10, "width": 60, "height": 60, "rotation": 0, "rectanglelabels": ["Cell"]}
    box = region | {"id": "box", "type": "rectanglelabels", "from_name": "box", "value": drawn}
    stored = {"id": 3, "updated_at": "2026-11-22T07:00:00Z", "result": [region, box]}
    for holder in ("drafts", "annotations", "predictions"):
        body["tasks"][0][holder] = [stored]
    tag = {"brush": "BrushLabels", "polygon": "PolygonLabels", "bitmask": "BitmaskLabels"}[shape]
    body["label_config"] = body["label_config"].replace("BrushLabels", tag)
    body["params"]["context"]["result"][0]["is_positive"] = False
    return body


def damaged(body: Any, chance: random.Random) -> bytes:
    """A body as JSON with one to four nodes replaced, deleted or doubled, and now and then bytes as well."""
    body = json.loads(json.dumps(body))
    for _ in range(chance.randint(1, 4)):
        places = list(_places(body))
        if places:
            _damage(*chance.choice(places), chance)
    content = bytearray(json.dumps(body, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass"))
    if chance.random() < 0.1:
        content[chance.randrange(len(content))] = chance.randrange(256)
    if chance.random() < 0.02:
        del content[chance.randrange(len(content)) :]
    return bytes(content)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Each container with each of its keys; of long lists of numbers a few."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys if len(keys) < 40 else list(keys)[:: len(keys) // 8]:
        yield node, key
        yield from _places(node[key])


def _damage(node: Any, key: Any, chance: random.Random) -> None:
    value = node[key]
    kind = chance.random()
    if kind < 0.2:
        del node[key]
    elif kind < 0.3 and isinstance(value, list):
        node[key] = value * chance.choice([2, 3, 200])
    elif kind < 0.4 and isinstance(value, list | str):
        node[key] = value[: chance.randint(0, len(value))]
    elif kind < 0.5 and isinstance(value, int | float):
        node[key] = value * chance.choice([-1, 0, 2, 10**6])
    elif kind < 0.6 and isinstance(node, list):
        node.insert(key, copy.deepcopy(value))
    else:
        node[key] = copy.deepcopy(chance.choice(ODD))


def resident_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def fuzz(requests: int, seed: int) -> Counter[int]:
    """Ask so many requests, and print how the memory goes. Returns how often each status was answered."""
    chance, bodies, statuses = random.Random(seed), seeds(), Counter[int]()

    async def ask(client: httpx.AsyncClient) -> None:
        for number in range(1, requests + 1):
            path = chance.choices(("/predict", "/webhook"), (3, 1))[0]
            content = damaged(chance.choice(bodies[path]), chance)
            try:
                statuses[(await client.post(path, content=content)).status_code] += 1
            except Exception:
                print(f"request {number} of seed {seed}: {path} {content[:3000]!r}")
                raise
            if number % max(requests // 10, 1) == 0:
                print(f"{number:>8,} requests, {resident_mb():6.0f} MB resident")

    photo = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder, serve_label_studio() as label_studio:
        label_studio.files |= {TASK_24: encode(photo), TASK_25: encode(photo)}
        Backend(label_studio.url, journal=Path(folder) / "journal", prefetch=2).run(ask)
    return statuses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    statuses = fuzz(arguments.requests, arguments.seed)
    for status, count in sorted(statuses.items()):
        print(f"{status}: {count:>8,}")
    if not set(statuses) <= ANSWERS:
        raise SystemExit(f"Statuses that nothing should cause: {sorted(set(statuses) - ANSWERS)}.")


if __name__ == "__main__":
    main()
