"""`cloudtrain prices publish`: makes and signs what `prices pull` takes; for the job that runs every night."""

from __future__ import annotations

from pathlib import Path

import click

from cloudtrain.cli.output import print_message
from cloudtrain.errors import UsageError

FOLDER = click.Path(path_type=Path)


@click.command("publish", short_help="Archive and sign the price lists of a folder.")
@click.argument("folder", type=FOLDER)
@click.option("--to", "target", type=FOLDER, required=True, help="Where to write the three files.")
@click.option("--key-env", metavar="NAME", required=True, help="The variable with the private key (Ed25519, PEM).")
@click.option("--against", type=FOLDER, help="Compare with the lists of this folder.  [default: the shipped ones]")
def command(folder: Path, target: Path, key_env: str, against: Path | None) -> None:
    """Archive, sign and announce the lists of FOLDER that pass the gate. FOLDER is one that a refresh made.

    Prints the three files in the order in which they are to be uploaded: the manifest last, because with it they count.
    A list that does not pass is left out, and whoever pulled it before keeps what they have.

    Exit codes: 0 all lists are in it; 2 one was left out (the files are written all the same), or there is none.
    """
    from cloudtrain import settings
    from cloudtrain.prices.published import keys
    from cloudtrain.prices.published.publish import publish

    verdicts, files = publish(folder, against, target, keys.private(key_env), settings.now())
    click.echo("\n".join(map(str, files)))
    failed = [each for each in verdicts if each.faults]
    for each in failed:
        for fault in each.faults:
            print_message(f"{each.provider}: {f'{fault.region}: ' if fault.region else ''}{fault.message}")
    if failed:
        raise UsageError(f"left out, because they do not pass the gate: {', '.join(each.provider for each in failed)}")
