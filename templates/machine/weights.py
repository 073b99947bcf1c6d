"""What a machine fetches before it trains: model, kept 4-bit weights, checkpoint; and the 4-bit weights that it keeps.

Standard library only, Python 3.9 to 3.14.
"""

import os

import bucket
import shipping
from shipping import read_json, write_json

KEPT = "quantised"  # folder of the run on the machine, and below the machine's prefix
MANIFEST = "manifest.json"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")  # of a model's files those that kept ones take the place of


class Weights:
    """What the ticket offers, brought into the run's folder. `withheld`: files of the model that may not be needed."""

    def __init__(self, agent):
        self.place = agent.place
        self.folder = agent.folder
        self.fetch = agent.fetch  # (folder, files): raises bucket.Unfetched
        self.emit = agent.emit
        self.notes = agent.notes
        self.model = agent.ticket.get("model")
        self.resume = agent.ticket.get("resume")
        self.kept = agent.ticket.get(KEPT)
        self.withheld = []

    def bring(self, job):
        """Fetch model and kept weights, and write into the job where they are. Raises Unfetched."""
        complete = self.bring_kept() if self.kept else False
        if self.kept:
            place = os.path.join(self.folder, KEPT)
            facts = {"model": self.kept["weights"], "piece_bytes": int(self.kept["piece_bytes"])}
            job[KEPT] = dict(facts, folder=place, fetched=complete)
        if self.model:
            job["model"] = os.path.join(self.place, "models", os.path.basename(self.model["folder"]))
            needed = [each for each in self.model["files"] if not (complete and each["path"].endswith(WEIGHTS))]
            self.withheld = [each for each in self.model["files"] if each not in needed]
            self.fetch(job["model"], needed)

    def bring_withheld(self, job):
        """Fetch what is left of the model. Raises Unfetched."""
        self.emit("4-bit weights not used", message="they are made anew")
        self.fetch(job["model"], self.withheld)

    def bring_kept(self):
        """Fetch the pieces that an earlier machine has left; whether they are all. One that is damaged is left out."""
        place, manifest = os.path.join(self.folder, KEPT), self.kept.get("manifest")
        if not manifest:
            return False
        files = self.kept["files"]
        try:
            self.fetch(place, files)
        except bucket.Unfetched:
            for each in files:
                try:
                    self.fetch(place, [each])
                except bucket.Unfetched as why:
                    self.emit("4-bit weights incomplete", message=str(why))
        got = [each for each in manifest["pieces"] if os.path.exists(os.path.join(place, each["name"]))]
        self.notes.note(**{KEPT: {each["name"]: each["sha256"] for each in got}})
        complete = bool(manifest["complete"]) and len(got) == len(manifest["pieces"])
        write_json(os.path.join(place, MANIFEST), dict(manifest, pieces=got, complete=complete))
        return complete

    def bring_checkpoint(self):
        """Fetch the checkpoint to resume from, unless this machine is further; note which. Raises Unfetched."""
        latest = os.path.join(self.folder, "ckpt", "LATEST")
        if not self.resume or os.path.exists(latest):
            return
        step = self.resume["step"]
        self.fetch(os.path.join(self.folder, "ckpt", str(step)), self.resume["files"])
        with open(latest, "w", encoding="ascii") as file:
            file.write(f"{step}\n")
        self.notes.note(checkpoint=step)


class KeptShipper(shipping.Shipper):
    """Pieces of 4-bit weights as the trainer writes them, each before the manifest that names it.

    At the end of the attempt nothing more is sent: what is missing the next machine makes.
    """

    def __init__(self, mailbox, folder, notes, kept):
        super().__init__(mailbox, os.path.join(folder, KEPT), notes)
        self.most_bytes = int(kept["most_bytes"]) if kept else 0
        self.seen = None

    def run(self):
        while self.most_bytes and not self.closing.is_set():
            try:
                more = self.step(False)
            except (OSError, ValueError, KeyError, TypeError):  # the trainer has just replaced it
                more = False
            if not more:
                self.closing.wait(shipping.LOOK_S)

    def finish(self):
        self.closing.set()

    def step(self, last):
        path = os.path.join(self.folder, MANIFEST)
        stamp = os.stat(path).st_mtime_ns if os.path.exists(path) else None
        if stamp == self.seen:
            return False
        manifest = read_json(path) or {"pieces": []}
        there = self.notes[KEPT] or {}  # in the bucket: name -> hash
        missing = [each for each in manifest["pieces"] if there.get(each["name"]) != each["sha256"]]
        size = sum(each["bytes"] for each in manifest["pieces"])
        if missing and size <= self.most_bytes:
            name = missing[0]["name"]
            if not self.mailbox.ship(f"{KEPT}/{name}", os.path.join(self.folder, name)):
                return False
            self.notes.note(**{KEPT: {**there, name: missing.pop(0)["sha256"]}})
        sent = [each for each in manifest["pieces"] if each not in missing]
        if sent:
            document = dict(manifest, pieces=sent, complete=bool(manifest.get("complete")) and not missing)
            if not self.mailbox.ship(f"{KEPT}/{MANIFEST}", shipping.as_bytes(document)):
                return False
        if not missing or size > self.most_bytes:
            self.seen = stamp
        return bool(missing)
