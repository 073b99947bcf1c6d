"""What an attempt does before its trainer starts: environment, weights, checkpoint, the orders; and how it fails there.

Standard library only, Python 3.9 to 3.14.
"""

import os

import bucket
import compiled
import orders
import trainer
import weights
from shipping import read_json


class Ended(Exception):
    """The attempt is over before its trainer could say so."""

    def __init__(self, reason, message, code=1):
        super().__init__(message)
        self.record = {"code": code, "signal": 0, "reason": reason, "message": message}


def prepare(agent):
    """Everything up to the documents that the supervisor begins with. Raises Ended."""
    try:
        agent.enter("environment")
        job = read_json(os.path.join(agent.bundle, "job.json")) or {}
        backend = trainer.BackEnd(agent.bundle)
        maker = trainer.Maker(backend, os.path.dirname(agent.place), agent.check, agent.emit)
        python = maker.python()
        agent.enter("weights")
        found = weights.Weights(agent)
        found.bring(job)
        found.bring_checkpoint()
        orders.take_at_once(job, agent.ticket.get("micro_batch"))
        deadline = agent.stop_at - bucket.CLOCK.ahead_s
        job.update(agent.slice.job(), run=agent.ticket["run"], deadline=deadline, grace_s=agent.grace_s)
        supervision = {"attempt": agent.ticket["attempt"], "heartbeat_s": min(5.0, agent.heartbeat_s)}
        supervision["rest"] = orders.foresight(agent.ticket.get("rest"), bucket.CLOCK.ahead_s)
        supervision["env"] = {
            **orders.hub_access(agent.ticket.get("hub_token"), agent.place),
            **compiled.bring(agent, backend.about.get("compiled")),
            **agent.slice.variables(),
        }
        orders.write_documents(job, supervision, python, backend, agent.folder)
        if found.withheld and not maker.agrees(python, "check_kept", agent.at("job.json")):
            found.bring_withheld(job)
    except trainer.WrongAccelerator as error:
        raise Ended("wrong_accelerator", str(error), 70) from None
    except trainer.NoEnvironment as error:
        raise Ended("no_environment", str(error)) from None
    except bucket.Unfetched as error:
        raise Ended("no_weights", str(error)) from None
    except (KeyError, TypeError, FileNotFoundError) as error:
        raise Ended("bad_bundle", f"{type(error).__name__}: {error}") from None
    except OSError as error:
        raise Ended("no_weights", f"{error.strerror}: {error.filename}") from None
