"""A provider that takes the machine away, and a machine that comes back without its disk."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.patience import until
from tests.templates.machine.agent_world import PREFIX, Machine, Mailbox

pytestmark = pytest.mark.machine
SLOW = json.dumps({"steps": 10000, "pause_s": 0.02})


class Metadata:
    """Both clouds' services on the machine: nothing is announced until `coming`."""

    def __init__(self) -> None:
        self.coming = False
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                right = self.path == "/latest/api/token" and self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
                self.answer(200 if right else 404, "t0ken")

            def do_GET(self) -> None:
                if self.path == "/latest/meta-data/spot/instance-action":
                    known = self.headers.get("X-aws-ec2-metadata-token") == "t0ken"
                    self.answer(401 if not known else 200 if told.coming else 404, '{"action": "terminate"}')
                elif self.headers.get("Metadata-Flavor") == "Google":
                    right = self.path == "/computeMetadata/v1/instance/preempted"
                    self.answer(200 if right else 404, "TRUE" if told.coming else "FALSE")
                else:
                    self.answer(403, "")

            def answer(self, code: int, text: str) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.environment = {"CLOUDTRAIN_IMDS": url, "CLOUDTRAIN_METADATA": url}


@pytest.fixture
def box() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    made = Metadata()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def machine(tmp_path: Path, box: Mailbox) -> Iterator[Machine]:
    made = Machine(tmp_path, box)
    made.make_environment()
    yield made
    made.off()


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_a_notice_brings_the_last_checkpoint_home(
    machine: Machine, box: Mailbox, metadata: Metadata, kind: str
) -> None:
    machine.ticket["end"] = {"kind": kind}
    machine.start(FAKE_TRAINER=SLOW, **metadata.environment)
    until(box.log)
    assert not until(lambda: box.document("hb.json"))["preempted"]
    metadata.coming = True
    assert machine.ends() == 0
    record = box.document("exit.json")
    assert (record["reason"], record["code"]) == ("preempted", 75)
    assert box.get("ckpt/LATEST") == f"{record['step']}\n".encode()
    assert box.document("hb.json")["preempted"]
    assert box.log() == machine.local_log()


def test_a_shutdown_of_the_machine_counts_as_a_notice(machine: Machine, box: Mailbox) -> None:
    machine.start(FAKE_TRAINER=SLOW)
    until(box.log)
    assert machine.process is not None
    machine.process.terminate()
    assert machine.ends() == 0
    assert box.document("exit.json")["reason"] == "preempted"


def test_a_notice_before_the_training_ends_the_attempt_too(machine: Machine, box: Mailbox, metadata: Metadata) -> None:
    metadata.coming = True
    machine.ticket["end"] = {"kind": "aws"}
    file = box.put("m/weights", b"w" * 1000)
    box.cut_after = 0
    machine.ticket["model"] = {"folder": "m", "files": [{"path": "w", **file}]}
    machine.start(**metadata.environment)
    assert machine.ends() == 0
    assert box.document("exit.json")["reason"] == "preempted"


def test_a_machine_back_without_its_disk_does_not_begin_again(machine: Machine, box: Mailbox) -> None:
    machine.ticket["hb"] = {"url": f"{box.url}/{PREFIX}hb.json"}
    box.put(PREFIX + "hb.json", json.dumps({"attempt": 1, "phase": "training", "log_shipped_bytes": 77}).encode())
    machine.start()
    assert machine.ends() == 0
    record = box.document("exit.json")
    assert (record["reason"], record["log_bytes"]) == ("preempted", 77)
    assert box.order == ["exit.json"]


def test_an_attempt_with_an_exit_record_is_over_without_disk(machine: Machine, box: Mailbox) -> None:
    machine.ticket["exit"] = {"url": f"{box.url}/{PREFIX}exit.json"}
    box.put(PREFIX + "exit.json", b'{"attempt": 1, "reason": "done"}')
    machine.start()
    assert machine.ends() == 0
    assert box.order == []


def test_an_earlier_attempts_exit_record_does_not_stop_this_one(machine: Machine, box: Mailbox) -> None:
    machine.ticket |= {"attempt": 2, "exit": {"url": f"{box.url}/{PREFIX}exit.json"}}
    box.put(PREFIX + "exit.json", b'{"attempt": 1, "reason": "preempted"}')
    machine.start()
    assert machine.ends() == 0
    assert (box.document("exit.json")["reason"], box.document("exit.json")["attempt"]) == ("done", 2)


def test_time_that_is_over_before_the_training_is_told(machine: Machine, box: Mailbox) -> None:
    machine.ticket["deadline"] = time.time() - 1
    machine.start()
    assert machine.ends() == 0
    assert box.document("exit.json")["reason"] == "deadline"
