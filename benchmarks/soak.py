"""Ten thousand clicks of several people at once, while the model is swapped.

Every answer is checked: that it is one, that its model is never older than one answered before, and that its
mask is, pixel by pixel, what the same checkpoint answers offline for this image and these clicks. Images are
small and the networks untrained, since the service is what is tried; its memory is drawn.
"""

import argparse
import http.server
import io
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.backend import Backend, question, running_backend, serve_files
from maskloop.checkpoint import save_checkpoint
from maskloop.clicks import Click
from maskloop.images import decode_image
from maskloop.masks import decode_brush
from maskloop.model import CSFPN, ModelConfig
from maskloop.predictor import Predictor

HEIGHT, WIDTH = 96, 128
CLICKS = 4
MODELS = 3


@dataclass
class Registry:
    """Answers as MLflow's registry does: version `current` is champion, one of a few checkpoints in turn."""

    folders: list[Path]
    digests: list[str]
    current: int = 0
    url: str = ""


@contextmanager
def serve_registry(registry: Registry) -> Iterator[Registry]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            if url.path.endswith("/alias"):
                number = registry.current
                tags = [{"key": "sha256", "value": registry.digests[number % MODELS]}]
                body = json.dumps({"model_version": {"version": str(number), "tags": tags}}).encode()
            else:
                folder = registry.folders[int(query["version"][0]) % MODELS]
                body = (folder / query["path"][0]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield registry
        server.shutdown()


def checkpoints(folder: Path) -> Registry:
    folders = [folder / str(number) for number in range(MODELS)]
    digests = []
    for number, one in enumerate(folders):
        torch.manual_seed(number)
        model = CSFPN(ModelConfig(channels=12, hires_channels=8, long_side=96))
        digests.append(save_checkpoint(model, one, f"soak-{number}", {}))
    return Registry(folders, digests)


def photo(number: int) -> bytes:
    draw = np.random.default_rng(number)
    small = draw.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def session(number: int) -> list[Click]:
    """The clicks on an image: always the same, so that what they must give can be known."""
    draw = np.random.default_rng(number)
    return [
        Click(
            float(draw.integers(HEIGHT)), float(draw.integers(WIDTH)), count == 0 or bool(draw.random() < 0.7)
        )
        for count in range(CLICKS)
    ]


@dataclass
class Run:
    """What the clients share."""

    backend: Backend
    predictors: list[Predictor]
    images: list[np.ndarray]
    lock: threading.Lock = field(default_factory=threading.Lock)
    expected: dict[tuple[int, int], list[np.ndarray]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    answers: dict[int, int] = field(default_factory=dict)
    memory: list[tuple[int, float]] = field(default_factory=list)

    def masks(self, model: int, image: int) -> list[np.ndarray]:
        """What a version answers offline to each click of an image's session."""
        model %= MODELS
        with self.lock:
            if (model, image) not in self.expected:
                previous, masks = None, []
                for count in range(1, CLICKS + 1):
                    previous = self.predictors[model].predict(
                        self.images[image], session(image)[:count], previous
                    )
                    masks.append(previous.mask)
                self.expected[model, image] = masks
            return self.expected[model, image]


def client(run: Run, seed: int, clicks: int) -> None:
    draw = np.random.default_rng(seed)
    newest = 0
    with httpx.Client(base_url=run.backend.url, timeout=60, trust_env=False) as http_client:
        for _ in range(clicks // CLICKS):
            image = int(draw.integers(len(run.images)))
            for count in range(1, CLICKS + 1):
                body = question(image, f"/{image}.png", session(image)[:count], HEIGHT, WIDTH)
                reply = http_client.post("/predict", content=body)
                newest = check(run, reply, image, count, newest)


def check(run: Run, reply: httpx.Response, image: int, count: int, newest: int) -> int:
    """Note whatever is wrong with an answer; returns the number of its model."""
    model = newest
    if reply.status_code != 200:
        run.failures.append(f"HTTP {reply.status_code}: {reply.text[:200]}")
    else:
        (answer,) = reply.json()["results"]
        mask = np.zeros((HEIGHT, WIDTH), bool)
        if answer:
            model = int(answer["model_version"].removeprefix("maskloop-v"))
            mask = decode_brush(answer["result"][0]["value"]["rle"], HEIGHT, WIDTH)
            if model < newest:
                run.failures.append(f"model {model} after {newest}")
        # an empty mask names no model, so any that has just been served may have given it
        if not any(
            (mask == run.masks(one, image)[count - 1]).all() for one in ([model] if answer else range(MODELS))
        ):
            run.failures.append(f"image {image}, click {count}, model {model}: another mask")
    with run.lock:
        run.answers[model] = run.answers.get(model, 0) + 1
        total = sum(run.answers.values())
        if total % 50 == 0:
            run.memory.append((total, run.backend.resident_megabytes()))
    return model


def plot(memory: list[tuple[int, float]], swaps: list[int], path: Path) -> None:
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*memory, strict=True), color="#0072B2")
    for swap in swaps:
        axes.axvline(swap, color="#D55E00", linestyle="--", linewidth=1)
    axes.set(xlabel="clicks answered (dashed: model swapped)", ylabel="resident memory, MB", ylim=(0, None))
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--swaps", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.monotonic()
    with serve_files() as files, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files.content |= {f"/{number}.png": photo(number) for number in range(arguments.images)}
        with serve_registry(checkpoints(folder)) as registry:
            settings = {"mlflow_url": registry.url, "poll_seconds": "0.5", "threads": "1"}
            # less memory than the images and masks need, so that what was forgotten is made again
            settings |= {"image_cache_mb": "3", "mask_cache_mb": "4", "journal": str(folder / "journal")}
            with running_backend(files, folder / "log", **settings) as backend:
                images = [decode_image(files.content[f"/{n}.png"]) for n in range(arguments.images)]
                run = Run(backend, [Predictor.load(one) for one in registry.folders], images)
                swaps = go(run, registry, arguments)
    report(run, swaps, time.monotonic() - start)
    if arguments.plot:
        plot(run.memory, swaps, arguments.plot)
    if run.failures:
        raise SystemExit(1)


def go(run: Run, registry: Registry, arguments: argparse.Namespace) -> list[int]:
    """Let the clients click, and swap the model after equal shares of the clicks."""
    swaps = []
    with ThreadPoolExecutor(arguments.clients) as pool:
        share = arguments.clicks // arguments.clients
        work = [pool.submit(client, run, seed, share) for seed in range(arguments.clients)]
        for number in range(1, arguments.swaps + 1):
            due = arguments.clicks * number / (arguments.swaps + 1)
            while sum(run.answers.values()) < due and not all(one.done() for one in work):
                time.sleep(0.1)
            registry.current = number
            swaps.append(sum(run.answers.values()))
        for one in work:
            one.result()
    return swaps


def report(run: Run, swaps: list[int], seconds: float) -> None:
    total = sum(run.answers.values())
    print(
        f"{total} clicks in {seconds:.0f} s, swapped after {swaps}, "
        f"by model {dict(sorted(run.answers.items()))}"
    )
    print(f"failures: {len(run.failures)}", *run.failures[:5], sep="\n")
    settled = [(count, size) for count, size in run.memory if count > swaps[-1] + 200]
    if len(settled) > 2:
        slope = np.polyfit(*zip(*settled, strict=True), 1)[0]
        print(
            f"memory after the last swap: {settled[0][1]:.0f} to {settled[-1][1]:.0f} MB, "
            f"{slope * 1000:+.2f} MB per 1,000 clicks"
        )
    print(
        f"memory at first and at most: {run.memory[0][1]:.0f}, {max(size for _, size in run.memory):.0f} MB"
    )


if __name__ == "__main__":
    main()
