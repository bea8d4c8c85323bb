"""Milliseconds of a click through HTTP: our service beside MobileSAM, the same 12-megapixel photos, one run.

MobileSAM is asked as Label Studio's own example backend does: it keeps the embedding of one image, uses all
points, and encodes its mask by the SDK. Photos are sample photos of the demo, enlarged to 4000 x 3000.
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

from benchmarks.backend import Files, question, running_backend, serve_files
from maskloop.clicks import Click
from maskloop.images import decode_image
from maskloop.masks import encode_brush
from maskloop.rivals import open_segmenter
from pipelines.samples import load_samples

HEIGHT, WIDTH = 3000, 4000


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


def stored_masks(count: int) -> list[dict[str, Any]]:
    """A draft with regions at the border of the image, about 17 kB of JSON each."""
    rows, cols = np.ogrid[:HEIGHT, :WIDTH]
    results = []
    for number in range(count):
        wave = 150 + 20 * np.sin(np.arctan2(rows - 300, cols - 300 - 30 * number) * 40)
        mask = np.hypot(rows - 300, cols - 300 - 30 * number) < wave
        value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["Object"]}
        size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
        results.append(
            {"id": f"r{number}", "type": "brushlabels", "from_name": "brush", "value": value} | size
        )
    return [{"id": 1, "result": results, "updated_at": "2026-01-01T00:00:00Z"}]


def mobile_sam_app(files: Files) -> Starlette:
    segmenter = open_segmenter("mobile_sam")
    kept: dict[str, Any] = {}

    def predict(request_body: bytes) -> dict[str, Any]:
        body = json.loads(request_body)
        address = body["tasks"][0]["data"]["image"]
        if address not in kept:
            kept.clear()
            kept[address] = decode_image(httpx.get(files.url + address, trust_env=False).content)
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


def ask(url: str, body: bytes) -> float:
    start = time.perf_counter()
    reply = httpx.post(f"{url}/predict", content=body, timeout=120, trust_env=False)
    seconds = time.perf_counter() - start
    assert reply.status_code == 200, reply.text
    return seconds * 1000


def measure(url: str, files: Files, names: Sequence[str], clicks: int) -> tuple[list[float], list[float]]:
    """Milliseconds of first clicks, and of those that follow."""
    first, following = [], []
    for number, name in enumerate(names):
        places = session(number, clicks)
        for count in range(1, clicks + 1):
            taken = ask(url, question(number, name, places[:count], HEIGHT, WIDTH))
            (first if count == 1 else following).append(taken)
    return first, following


def tell(name: str, values: Sequence[float]) -> None:
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    print(
        f"{name:<34} p50 {statistics.median(values):7.0f} ms   p95 {p95:7.0f} ms   n {len(values)}",
        flush=True,
    )


def paired_with_masks(
    url: str, name: str, drafts: list[dict[str, Any]], pairs: int
) -> list[tuple[float, float]]:
    """Milliseconds of equal clicks without and with stored masks, in turn."""
    times = []
    for number in range(pairs):
        clicks = session(1000 + number, 1)
        bare = ask(url, question(9, name, clicks, HEIGHT, WIDTH))
        clicks = session(2000 + number, 1)
        times.append((bare, ask(url, question(9, name, clicks, HEIGHT, WIDTH, drafts))))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--clicks", type=int, default=6, help="a photo")
    parser.add_argument("--rival-photos", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    with serve_files() as files, tempfile.TemporaryDirectory() as folder:
        names = [f"/photo-{number}.jpg" for number in range(arguments.photos)]
        files.content |= dict(zip(names, photos(len(names)), strict=True))
        with running_backend(files, Path(folder) / "log", threads="2") as backend:
            ask(backend.url, question(0, names[-1], session(99, 1), HEIGHT, WIDTH))  # both start warm
            first, following = measure(backend.url, files, names[:-1], arguments.clicks)
            tell("maskloop, first click, cold image", first)
            tell("maskloop, following clicks", following)
            before = backend.stage_seconds("predict")
            extra = [
                ask(backend.url, question(1, names[0], session(500 + n, 1), HEIGHT, WIDTH)) for n in range(20)
            ]
            model = (backend.stage_seconds("predict") - before) * 1000 / len(extra)
            print(
                f"around the model: {statistics.fmean(extra) - model:.0f} of {statistics.fmean(extra):.0f} ms"
            )
            pairs = paired_with_masks(backend.url, names[0], stored_masks(100), 21)[1:]
            tell("without stored masks", [bare for bare, _ in pairs])
            tell("with 100 stored masks", [full for _, full in pairs])
            ratio = statistics.median(full / bare for bare, full in pairs)
            print(f"with 100 stored masks a click takes {ratio:.2f} times as long (median of pairs)")
        rival = uvicorn.Server(uvicorn.Config(mobile_sam_app(files), port=0, log_level="error"))
        threading.Thread(target=rival.run, daemon=True).start()
        while not rival.started:
            time.sleep(0.05)
        port = rival.servers[0].sockets[0].getsockname()[1]
        theirs, their_following = measure(
            f"http://127.0.0.1:{port}", files, names[: arguments.rival_photos], arguments.clicks
        )
        tell("MobileSAM, first click", theirs)
        tell("MobileSAM, following clicks", their_following)
        print(f"first click: {statistics.median(theirs) / statistics.median(first):.1f} times as fast")


if __name__ == "__main__":
    main()
