"""A log of 1 GB out of a bucket on loopback: MB/s and the reader's highest memory.

    python tests/bench/log_stream.py [megabytes]

Aim: at least 100 MB/s, and memory that does not grow with the log. The bucket is a plain server in a process of its own
that knows one log and speaks as much of S3 as the reader asks for, because a fake that checks everything is slower
than the reader. Chunks are as the machine makes them, 64 KiB each.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CHUNK = 65536
PAGE = 1000
BLOCK = bytes(range(256)) * (CHUNK // 256)
ABSENT = b"HTTP/1.1 404 Not Found\r\nContent-Length: 39\r\n\r\n<Error><Code>NoSuchKey</Code></Error>\r\n"
READ = """
import os, resource, time
from types import SimpleNamespace
from cloudtrain.runs import remote
from cloudtrain.runs.record import Run
from cloudtrain.state.store import open_store
run = Run(open_store(os.environ["CLOUDTRAIN_STATE"]), "one")
size, began = 0, time.monotonic()
over = SimpleNamespace(poll=lambda: "ended", pace=remote.Pace())
for data in remote.stream(run, 0, over):
    size += len(data)
seconds = time.monotonic() - began
print(size, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def document(query: str, count: int) -> bytes:
    """A page of the list."""
    at = re.search(r"continuation-token=(\d+)", query)
    first = int(at[1]) if at else 0
    names = range(first, min(count, first + PAGE))
    rows = "".join(
        f"<Contents><Key>runs/one/log/{n * CHUNK:016d}</Key><LastModified>2026-11-24T00:00:00.000Z</LastModified>"
        f'<ETag>"e"</ETag><Size>{CHUNK}</Size><StorageClass>STANDARD</StorageClass></Contents>'
        for n in names
    )
    more = names.stop < count
    token = f"<NextContinuationToken>{names.stop}</NextContinuationToken>" if more else ""
    head = f"<Name>bench</Name><KeyCount>{len(names)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
    return f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>{head}{token}{rows}</ListBucketResult>'.encode()


def answer(near: socket.socket, count: int) -> None:
    """The requests of one connection."""
    common = 'HTTP/1.1 200 OK\r\nETag: "e"\r\nLast-Modified: Tue, 24 Nov 2026 00:00:00 GMT\r\nContent-Length: '
    whole = f"{common}{CHUNK}\r\n\r\n".encode() + BLOCK
    with near:
        waiting = b""
        while True:
            while b"\r\n\r\n" not in waiting:
                data = near.recv(65536)
                if not data:
                    return
                waiting += data
            head, _, waiting = waiting.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            at = re.search(r"/log/(\d+)$", path)
            if at and int(at[1]) < count * CHUNK:
                near.sendall(whole)
            elif at:
                near.sendall(ABSENT)
            else:
                body = document(path, count)
                near.sendall(f"{common}{len(body)}\r\n\r\n".encode() + body)


def serve(count: int, told: Connection) -> None:
    """The bucket."""
    door = socket.create_server(("127.0.0.1", 0), backlog=64)
    told.send(door.getsockname()[1])
    while True:
        near, _ = door.accept()
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=answer, args=(near, count), daemon=True).start()


def environment(port: int, home: str) -> dict[str, str]:
    """How a client finds the bucket."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "PYTHONPATH": str(ROOT),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
        "CLOUDTRAIN_STATE": "s3://bench",
    }


def main() -> None:
    """Measure it at a tenth of the size, and at the whole, for the memory."""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for size in (megabytes // 10, megabytes):
        count = size * 1_000_000 // CHUNK
        here, there = multiprocessing.Pipe()
        bucket = multiprocessing.Process(target=serve, args=(count, there), daemon=True)
        bucket.start()
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run(
                [sys.executable, "-c", READ],
                env=environment(here.recv(), home),
                capture_output=True,
                text=True,
                check=False,
            )
        bucket.kill()
        assert done.returncode == 0, done.stderr
        read, seconds, peak = (float(word) for word in done.stdout.split())
        assert read == count * CHUNK, f"{read:.0f} bytes of {count * CHUNK}"
        print(f"{read / 1e6:.0f} MB: {read / 1e6 / seconds:.0f} MB/s, at most {peak / 1e6:.0f} MB of memory")


if __name__ == "__main__":
    main()
