"""Milliseconds of a click through HTTP: our service beside MobileSAM, the same 12-megapixel photos, one run.

MobileSAM is asked as Label Studio's own example backend does: it keeps the embedding of one image, uses all
points, and encodes its mask by the SDK. Photos are sample photos of the demo, enlarged to 4000 x 3000.

Each request has a connection of its own, as Label Studio's have, but all share one client: making a client
reads the certificates of every authority, 25 ms that no service spends.
"""

import argparse
import io
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
import uvicorn
from label_studio_sdk.converter.brush import mask2rle
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.backend import Backend, Files, question, running_backend, serve_files
from maskloop.clicks import Click
from maskloop.images import decode_image
from maskloop.masks import Runs, encode_brush
from maskloop.predictor import Predictor
from maskloop.rivals import open_segmenter
from ml_backend.settings import Settings
from pipelines.data.samples import load_samples

HEIGHT, WIDTH = 3000, 4000
STAGES = ("parse", "fetch", "queue", "prepare", "predict", "encode")
RADII = (45, 150)
"""Of the stored masks in pixels: a hundred take 1.8 MB of JSON, and twice that."""


def photos(count: int) -> list[bytes]:
    """JPEG files of 12 megapixels, all different."""
    samples = [Image.fromarray(decode_image(sample.image_bytes)) for sample in load_samples()]
    files = []
    for number in range(count):
        image = (
            samples[number % len(samples)].convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        )
        image.putpixel((0, 0), (number % 256, 0, 0))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def session(seed: int, count: int) -> list[Click]:
    """Clicks about the centre, every third negative."""
    draw = np.random.default_rng(seed)
    places = draw.normal((HEIGHT / 2, WIDTH / 2), (HEIGHT / 10, WIDTH / 10), (count, 2))
    return [Click(float(row), float(col), number % 3 != 2) for number, (row, col) in enumerate(places)]


def stored_masks(count: int, radius: int) -> list[dict[str, Any]]:
    """A draft with regions at the upper border of the image; the larger they are, the longer its JSON."""
    rows, cols = np.ogrid[:HEIGHT, :WIDTH]
    results = []
    for number in range(count):
        wave = radius * (1 + np.sin(np.arctan2(rows - 300, cols - 300 - 30 * number) * 40) / 8)
        mask = np.hypot(rows - 300, cols - 300 - 30 * number) < wave
        value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["Object"]}
        size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
        results.append(
            {"id": f"r{number}", "type": "brushlabels", "from_name": "brush", "value": value} | size
        )
    return [{"id": 1, "result": results, "updated_at": "2026-01-01T00:00:00Z"}]


def mobile_sam_app(files: Files) -> Starlette:
    segmenter = open_segmenter("mobile_sam")
    client = open_client(files.url)
    kept: dict[str, Any] = {}

    def predict(request_body: bytes) -> dict[str, Any]:
        body = json.loads(request_body)
        address = body["tasks"][0]["data"]["image"]
        if address not in kept:
            kept.clear()
            kept[address] = decode_image(client.get(address).content)
        clicks = [
            Click(
                one["value"]["y"] / 100 * HEIGHT - 0.5,
                one["value"]["x"] / 100 * WIDTH - 0.5,
                one["is_positive"],
            )
            for one in body["params"]["context"]["result"]
        ]
        mask = segmenter.predict(kept[address], clicks).mask
        return {"results": [{"result": [{"value": {"rle": mask2rle(mask.astype(np.uint8) * 255)}}]}]}

    async def route(request: Request) -> JSONResponse:
        return JSONResponse(predict(await request.body()))

    return Starlette(routes=[Route("/predict", route, methods=["POST"])])


def open_client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=120, trust_env=False, headers={"Connection": "close"})


def ask(client: httpx.Client, body: bytes) -> float:
    """Milliseconds until the answer is read."""
    start = time.perf_counter()
    reply = client.post("/predict", content=body)
    seconds = time.perf_counter() - start
    assert reply.status_code == 200, reply.text
    return seconds * 1000


def measure(client: httpx.Client, names: Sequence[str], clicks: int) -> tuple[list[float], list[float]]:
    """Milliseconds of first clicks, and of those that follow."""
    first, following = [], []
    for number, name in enumerate(names):
        places = session(number, clicks)
        for count in range(1, clicks + 1):
            taken = ask(client, question(number, name, places[:count], HEIGHT, WIDTH))
            (first if count == 1 else following).append(taken)
    return first, following


def tell(name: str, values: Sequence[float]) -> None:
    p95 = np.percentile(values, 95, method="nearest")
    print(
        f"{name:<34} p50 {statistics.median(values):7.1f} ms   p95 {p95:7.1f} ms   n {len(values)}",
        flush=True,
    )


def tell_overhead(client: httpx.Client, backend: Backend, names: Sequence[str], count: int) -> None:
    """Where the milliseconds of first clicks on cached images go, in the mean."""
    before = {stage: backend.stage_seconds(stage) for stage in STAGES}
    taken = [
        ask(client, question(1, names[n % len(names)], session(500 + n, 1), HEIGHT, WIDTH))
        for n in range(count)
    ]
    stages = {stage: (backend.stage_seconds(stage) - before[stage]) * 1000 / count for stage in STAGES}
    whole = statistics.fmean(taken)
    parts = ", ".join(f"{stage} {milliseconds:.1f}" for stage, milliseconds in stages.items())
    print(f"around the model: {whole - stages['predict']:.1f} of {whole:.1f} ms ({parts})", flush=True)


def tell_predictor(images: Sequence[bytes], count: int) -> None:
    """What the stage `predict` holds beside the predictor: pixels, runs and score of masks, by image."""
    predictor = Predictor.load(Settings().checkpoint)
    for image in images:
        prepared = predictor.prepare(decode_image(image))
        times = []
        for number in range(count):
            start = time.perf_counter()
            prediction = predictor.predict(prepared, session(500 + number, 1))
            predicted = time.perf_counter()
            _ = Runs.of(prediction.drawn()[0])
            times.append((predicted - start, time.perf_counter() - predicted))
        own, drawing = (statistics.fmean(part) * 1000 for part in zip(*times, strict=True))
        print(f"of predict: predictor {own:.1f} ms, pixels, runs and score {drawing:.1f} ms", flush=True)


def tell_stored_masks(client: httpx.Client, name: str, radius: int, pairs: int) -> None:
    """Equal clicks without and with a hundred stored masks, in turn. The first reads the masks."""
    drafts = stored_masks(100, radius)
    times = []
    for number in range(pairs + 1):
        seeds = (10_000 * radius + 2 * number, 10_000 * radius + 2 * number + 1)  # never asked before
        bare = question(9, name, session(seeds[0], 1), HEIGHT, WIDTH)
        full = question(9, name, session(seeds[1], 1), HEIGHT, WIDTH, drafts)
        order = (bare, full) if number % 2 else (full, bare)
        taken = {body: ask(client, body) for body in order}
        times.append((taken[bare], taken[full]))
    (_, first), *times = times
    print(f"100 stored masks, {len(full) / 1e6:.1f} MB: the click that reads them first {first:.0f} ms")
    tell("without stored masks", [bare for bare, _ in times])
    tell("with 100 stored masks", [full for _, full in times])
    ratio = statistics.median(full / bare for bare, full in times)
    print(f"with them a click takes {ratio:.2f} times as long (median of pairs)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--clicks", type=int, default=6, help="a photo")
    parser.add_argument("--pairs", type=int, default=30, help="of clicks with and without stored masks")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    with serve_files() as files, tempfile.TemporaryDirectory() as folder:
        warm, *names = [f"/photo-{number}.jpg" for number in range(arguments.photos + 1)]
        files.content |= dict(zip([warm, *names], photos(len(names) + 1), strict=True))
        warming = question(0, warm, session(99, 1), HEIGHT, WIDTH)
        with running_backend(files, Path(folder) / "log", threads="2") as backend:
            client = open_client(backend.url)
            ask(client, warming)
            first, following = measure(client, names, arguments.clicks)
            tell("maskloop, first click, cold image", first)
            tell("maskloop, following clicks", following)
            tell_overhead(client, backend, names[:3], 30)
            for radius in RADII:
                tell_stored_masks(client, names[0], radius, arguments.pairs)
        tell_predictor([files.content[name] for name in names[:3]], 20)
        rival = uvicorn.Server(uvicorn.Config(mobile_sam_app(files), port=0, log_level="error"))
        threading.Thread(target=rival.run, daemon=True).start()
        while not rival.started:
            time.sleep(0.05)
        client = open_client(f"http://127.0.0.1:{rival.servers[0].sockets[0].getsockname()[1]}")
        ask(client, warming)
        theirs, their_following = measure(client, names, arguments.clicks)
        tell("MobileSAM, first click", theirs)
        tell("MobileSAM, following clicks", their_following)
        print(f"first click: {statistics.median(theirs) / statistics.median(first):.1f} times as fast")


if __name__ == "__main__":
    main()
