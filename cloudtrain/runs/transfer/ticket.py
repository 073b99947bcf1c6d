"""The ticket: the one document with which a rented machine begins, made before the machine.

It holds signed addresses instead of credentials: read the bundle, the weights and the checkpoint, read the request to
stop, write into the machine's folder of the run and nowhere else. All end 15 minutes after the deadline.
Format: `records/ticket.py`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtrain.errors import UsageError
from cloudtrain.providers import Stack, load
from cloudtrain.runs.chunks import log_size
from cloudtrain.runs.record import Run
from cloudtrain.runs.transfer import compiled, hub_token, kept, multipart
from cloudtrain.signing import urls
from cloudtrain.state.errors import BucketDenied, BucketUnreachable
from cloudtrain.state.store import write_record

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.records import TicketFile, TicketFiles, TicketRecord
    from cloudtrain.records.ticket import TicketAddress, TicketRented
    from cloudtrain.runs.transfer.bundle import Bundle
    from cloudtrain.state.protocol import Store

GB = 10**9
SPARE_GB = 2  # of a disk's margin, for the small files beside the weights
NO_PROGRESS_S = 3600.0  # a trainer that says nothing for so long is ended
Url = Callable[[str], str]
_STEP = re.compile(rb"[0-9]{1,12}")
MODELS = "models"  # folders with weights in the state: `models/<name of a hub id or folder, with -- for />/`


def issue(store: Store, run: Run, plan: Plan, bundle: Bundle) -> dict[str, Any]:
    """Write the attempt's ticket; returns what the machine is given (`Plan.boot`): no address in it is signed.

    Raises UsageError when weights or state are where the machine cannot reach them.
    """
    signed_at = int(time.time())
    key = run.key(f"tickets/{plan.attempt}.json")
    write_record(store, key, record(store, run, plan, bundle))
    return {"state": store.url, "ticket": key, "signed_at": signed_at}


def record(store: Store, run: Run, plan: Plan, bundle: Bundle) -> TicketRecord:
    """The ticket: who and how long, what to fetch, where to write, how the machine ends itself."""
    from cloudtrain.records.ticket import TicketAddress, TicketBundle, TicketEnd, TicketRecord, TicketRest

    now, until = time.time(), plan.deadline + urls.AFTER_DEADLINE_S

    def url(key: str) -> str:
        return urls.get_url(store.url, key, now, until - now)

    return TicketRecord(
        run=plan.run,
        attempt=plan.attempt,
        deadline=plan.deadline,
        grace_s=plan.grace_s,
        heartbeat_s=plan.heartbeat_s,
        no_progress_s=NO_PROGRESS_S,
        bundle=TicketBundle(url=url(bundle.key), sha256=bundle.sha256, bytes=bundle.bytes),
        model=(model := weights(store, plan, url)),
        hub_token=hub_token_address(run, url) if model is None else None,
        resume=checkpoint(store, run, url),
        quantised=kept.offered(store, run, plan, url, model),
        post=urls.post_policy(store.url, f"{run.machine_folder}/", now, until),
        kill=TicketAddress(url=url(run.key("kill"))),
        hb=TicketAddress(url=url(run.key("hb.json"))),  # for a machine that comes back without its disk
        exit=TicketAddress(url=url(run.key("exit.json"))),
        log_bytes=log_size(run),
        micro_batch=plan.line.recipe.batch if plan.line.recipe else None,
        end=TicketEnd(kind=plan.provider),
        rest=None if plan.rest is None else TicketRest(**plan.rest),
        rented=rented(run, plan, url),
        compiled=compiled.offered(store, run, plan, url),
    )


def rented(run: Run, plan: Plan, url: Url) -> TicketRented:
    """What the machine is to find itself to be; of several hosts, where each writes for the others to read."""
    from cloudtrain.records.ticket import TicketAddress, TicketHost, TicketRented

    cloud = load("stacks", plan.provider, Stack).cloud
    count = 1 if cloud is None else cloud.hosts(plan.line.key)
    folders = ["", *(f"hosts/{plan.attempt}/{number}/" for number in range(1, count))] if count > 1 else []
    hosts = [
        {name: TicketAddress(url=url(run.key(f"{each}{name}.json"))) for name in ("hb", "exit")} for each in folders
    ]
    return TicketRented(
        chip=plan.line.hardware, devices=plan.line.devices, hosts=tuple(TicketHost(**each) for each in hosts)
    )


def weights(store: Store, plan: Plan, url: Url) -> TicketFiles | None:
    """The model's files when they are in the state; None: the machine takes them from the hub.

    Raises UsageError for a model that is only a folder of this machine (weights never travel from here), and for a
    folder in the state that is larger than the plan's disk allows.
    """
    from cloudtrain.records import TicketFiles

    name = str(plan.job["model"])
    found = files_of_weights(store, name)
    if not found:
        return None
    folder, files = folder_of_weights(name), tuple(entry(store, *each, url) for each in found.items())
    check_room(store.place(folder), sum(each.bytes for each in files), plan)
    return TicketFiles(folder=folder.rpartition("/")[2], files=files)


def files_of_weights(store: Store, name: str) -> dict[str, list[str]]:
    """The files of a hub id or a folder of this machine, as the state has them; {} where the hub has them alone.

    Raises UsageError for a folder that is on this machine alone: weights never travel from here.
    """
    folder = folder_of_weights(name)
    found = multipart.whole_files(store, folder)
    if "config.json" in found:
        return found
    if Path(name).is_absolute():
        raise UsageError(
            f"the model is a folder of this machine, `{name}`, and a rented machine cannot reach it",
            f"copy it once to {store.place(folder)}/, or name the model by its hub id",
        )
    return {}


def hub_token_address(run: Run, url: Url) -> TicketAddress | None:
    """Where the token is that was handed over for the run; None without one."""
    from cloudtrain.records.ticket import TicketAddress

    key = hub_token.key(run)
    return None if key is None else TicketAddress(url=url(key))


def weights_bytes(store: Store, name: str) -> int | None:
    """Bytes of the model's folder in the state, all of which a machine fetches; None without one."""
    found = multipart.whole_files(store, folder_of_weights(name))
    return sum(store.size(key) for keys in found.values() for key in keys) if "config.json" in found else None


def check_room(place: str, weights_bytes: int, plan: Plan) -> None:
    """Raise UsageError when the folder with the weights is larger than the machine's disk has room for."""
    line = plan.line
    planned = line.disk_parts_bytes.get("weights")
    if planned is None or line.disk_gb is None or line.disk_needed_gb is None:
        return  # a row of an older version
    needed_gb = line.disk_needed_gb + (weights_bytes - planned) / GB
    if needed_gb > line.disk_gb + SPARE_GB:
        raise UsageError(
            f"{place}/ holds {weights_bytes / GB:,.0f} GB, and the machine's disk of {line.disk_gb:,} GB has room for "
            f"{(planned / GB) + line.disk_gb - line.disk_needed_gb:,.0f} GB of weights",
            "the same command again plans with what is there now",
        )


def folder_of_weights(name: str) -> str:
    """Where the weights of a hub id, or of a folder of this machine, are looked for in the state."""
    return f"{MODELS}/{Path(name).name if Path(name).is_absolute() else name.replace('/', '--')}"


def checkpoint(store: Store, run: Run, url: Url) -> TicketFiles | None:
    """The newest whole checkpoint, to resume from; None without one."""
    from cloudtrain.records import TicketFiles

    latest = store.read_from(run.key("ckpt/LATEST"), 0, 64).strip()
    if not _STEP.fullmatch(latest):
        return None
    step = int(latest)
    try:
        found = multipart.whole_files(store, run.key(f"ckpt/{step}"))
    except (BucketDenied, BucketUnreachable):
        raise
    except UsageError as error:  # it was the machine's to write it whole: the run begins again without it
        run.event("checkpoint not used", step=step, message=error.message)
        return None
    return TicketFiles(step=step, files=tuple(entry(store, *each, url) for each in found.items()))


def entry(store: Store, path: str, keys: list[str], url: Url) -> TicketFile:
    """One file to fetch, in one piece or in several."""
    from cloudtrain.records import TicketFile, TicketPiece

    pieces = tuple(TicketPiece(url=url(key), bytes=store.size(key)) for key in keys)
    if len(pieces) == 1:
        return TicketFile(path=path, sha256=None, url=pieces[0].url, bytes=pieces[0].bytes)
    return TicketFile(path=path, sha256=None, pieces=pieces, bytes=sum(piece.bytes for piece in pieces))
