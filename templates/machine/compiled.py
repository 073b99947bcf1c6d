"""Compiled programs beside the run: what an earlier machine compiled is fetched, what this one compiles is sent.

A back end that keeps its compiled programs in a folder names the variable that says where (`compiled` in its
`backend.json`). Nothing of it is needed: what cannot be fetched or sent is compiled again, and no more.
Standard library only, Python 3.9 to 3.14.
"""

import os
import time

import bucket
import shipping

FOLDER = "compiled"  # of the run on the machine, and below the machine's prefix
STALL_S = 60.0
SETTLED_S = 3.0  # a file that was not written for so long is whole


def bring(agent, variable):
    """The variable with its folder, filled with what the ticket offers; {} where nothing is kept."""
    offered = agent.ticket.get(FOLDER)
    if not offered or not variable:
        return {}
    folder = agent.at(FOLDER)
    os.makedirs(folder, exist_ok=True)
    agent.notes.note(compiled=sorted(each["path"] for each in offered["files"]))
    try:
        if offered["files"]:
            agent.fetch(folder, offered["files"], STALL_S)
    except bucket.Unfetched as why:
        agent.emit("compiled programs not fetched", message=str(why))
    return {variable: folder}


class CompiledShipper(shipping.Shipper):
    """Sends each file of the folder once, up to so many bytes in all."""

    def __init__(self, mailbox, folder, notes, offered):
        super().__init__(mailbox, os.path.join(folder, FOLDER), notes)
        self.left_bytes = int(offered["most_bytes"]) if offered else 0

    def step(self, last):
        there = self.notes[FOLDER] or []
        for name in sorted(os.listdir(self.folder)) if self.left_bytes and os.path.isdir(self.folder) else ():
            path = os.path.join(self.folder, name)
            about = os.stat(path)
            settled = last or time.time() - about.st_mtime > SETTLED_S
            if name in there or not os.path.isfile(path) or name.endswith(("-atime", ".part")) or not settled:
                continue
            fits = about.st_size <= self.left_bytes
            if fits and not self.mailbox.ship(f"{FOLDER}/{name}", path):
                return False
            self.left_bytes -= about.st_size if fits else 0
            self.notes.note(**{FOLDER: [*there, name]})
            return True
        return False
