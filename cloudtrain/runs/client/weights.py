"""Where the machine that trains gets the model's files, at which commit, and whether it may read them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.models import registry, tokenizer_files
from cloudtrain.runs import prepare
from cloudtrain.runs.client import hub
from cloudtrain.runs.transfer import multipart, ticket
from cloudtrain.settings import cache_folder

if TYPE_CHECKING:
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.runs.prepare import Prepared
    from cloudtrain.state.protocol import Store


class Source(NamedTuple):
    """`kind`: a folder of this machine, the state, this machine's cache of the hub, or the hub itself.

    `commit` is the hub's newest where it was asked for; `files` are those of that commit. `note`: why it was not.
    """

    kind: Literal["folder", "state", "cache", "hub"]
    name: str
    commit: str | None = None
    files: tuple[str, ...] = ()
    gated: bool | None = None  # as the hub says
    note: str = ""

    def describe(self, revision: str | None) -> str:
        """One line of a plan."""
        if self.kind == "folder":
            return f"the folder {self.name}"
        if self.kind == "state":
            return f"{self.name} in the state"
        at = f" at {revision[:12]}" if revision else ", whatever is newest when they are fetched: not pinned"
        return f"{self.name} of the hub{at}{f' ({self.note})' if self.note else ''}"


def find(prepared: Prepared, store: Store, direct: bool, token: str | None) -> Source:
    """Where they are for a run on this machine (`direct`) or on a rented one; the hub is asked for its newest commit.

    Raises UsageError for a folder of this machine that a rented one cannot reach.
    """
    spec, model = prepared.spec, prepared.model
    is_folder = bool(model.path) and Path(spec.model).is_dir()
    if direct and (is_folder or not model.hub_id):
        return Source("folder", model.path)
    if not direct:
        named = prepare.model_name(prepared)
        if ticket.files_of_weights(store, named):
            return Source("state", ticket.folder_of_weights(named))
    kind: Literal["cache", "hub"] = "cache" if direct and registry.has_weights(model.hub_id) else "hub"
    if spec.revision is not None:
        return Source(kind, model.hub_id)
    try:
        found = hub.repository(model.hub_id, token)
    except hub.Unasked as why:
        return Source(kind, model.hub_id, note=str(why))
    return Source(kind, model.hub_id, found.commit, found.files, found.gated)


def refusal(model: ModelSpec, source: Source, direct: bool, token: str | None) -> UsageError | None:
    """Why the machine could not fetch them: a gated repository, and no token that may read it, or no copy."""
    is_gated = model.published.gated if source.gated is None else source.gated
    if source.kind != "hub" or not is_gated:
        return None
    page = f"accept its licence on {hub.HUB}/{model.hub_id}"
    kept = ticket.folder_of_weights(model.hub_id)
    hint = f"{page} and log in with `hf auth login`"
    if not direct:
        hint = f"{page} and name a variable with a read-only token: --hub-token-from HF_TOKEN; or copy it to {kept}/"
    if token is None:
        return UsageError(
            f"{model.hub_id} is gated: nobody can download it without a licence accepted on the hub, and a token", hint
        )
    try:
        if hub.may_read(model.hub_id, token):
            return None
    except hub.Unasked:
        return None
    return UsageError(f"the hub does not let this token read {model.hub_id}", f"{page} as the owner of the token")


def tokenizer(prepared: Prepared, source: Source, store: Store, token: str | None) -> Path | str:
    """A folder with the model's tokenizer, fetched where that is a matter of megabytes; else why there is none."""
    if tokenizer_files.are_in(Path(prepared.model.path or ".")) and prepared.model.path:
        return Path(prepared.model.path)
    cached = registry.cached_snapshot(prepared.model.hub_id)
    if cached is not None and tokenizer_files.are_in(cached):
        return cached
    try:
        if source.kind == "state":
            return from_state(store, source.name)
        if source.commit is None:
            return f"its tokenizer is not on this machine ({source.note or 'the hub was not asked'})"
        folder = own_folder(source.name, source.commit)
        if not tokenizer_files.are_in(folder):
            hub.fetch_tokenizer(source.name, source.commit, sorted(source.files, key=is_config), token, folder)
    except hub.Unasked as why:
        return f"its tokenizer could not be fetched: {why}"
    except OSError as error:
        return f"its tokenizer could not be kept: {error.strerror}"
    return folder if tokenizer_files.are_in(folder) else "it has no tokenizer files"


def from_state(store: Store, name: str) -> Path | str:
    """The tokenizer among the weights in the state."""
    found = {path: keys for path, keys in multipart.whole_files(store, name).items() if tokenizer_files.is_one(path)}
    if tokenizer_files.CONFIG not in found:
        return f"there is no tokenizer in {name}"
    sizes = {path: sum(store.size(key) for key in keys) for path, keys in found.items()}
    folder = own_folder(store.url, *(f"{path}:{size}" for path, size in sizes.items()))
    if tokenizer_files.are_in(folder):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(found, key=is_config):
        if sizes[path] <= tokenizer_files.LARGEST_BYTES:
            (folder / path).write_bytes(b"".join(store.read(key) or b"" for key in found[path]))
    return folder


def is_config(name: str) -> bool:
    """Sorts the file last by which a tokenizer in a folder is known to be whole."""
    return name == tokenizer_files.CONFIG


def own_folder(*what: str) -> Path:
    """A folder of the cache for a tokenizer."""
    return cache_folder() / "tokenizers" / hashlib.sha256("\n".join(what).encode()).hexdigest()[:32]
