"""A job's identity becomes a service account's token and signatures, and says what is wrong when it does not."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.signing import expiry, gcs, keyless, urls
from cloudtrain.signing.keyless import google, identity
from cloudtrain.simulator.ci_identity import BEARER, GithubTokens
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.iam import EMAIL, PROVIDER, IamCloud
from cloudtrain.simulator.gcp.storage import GcsCloud
from cloudtrain.state import federated, token_request
from cloudtrain.state.bucket import ObjectFolder
from cloudtrain.state.errors import BucketDenied
from tests.keyless_world import Google, enter_google, google_world, secrets_in
from tests.patience import PATIENCE_S

HOUR = 3600.0
FILE = "GOOGLE_APPLICATION_CREDENTIALS"
Made = tuple[GcsCloud, IamCloud, GithubTokens]


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    with google_world() as world:
        yield world


@pytest.fixture
def world(made: Made, monkeypatch: pytest.MonkeyPatch) -> Google:
    monkeypatch.setattr(token_request, "PAUSE_S", 0.0)
    return enter_google(made, monkeypatch, Clock())


def fetched(url: str) -> int:
    """The status of an address."""
    try:
        with urlopen(url, timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except HTTPError as refused:
        return refused.code


def test_two_variables_are_enough(world: Google) -> None:
    """State, addresses and forms; the account's token is exchanged once."""
    assert keyless.take() == ()
    ObjectFolder(world.state).write("runs/r/a", b"hello")
    assert ObjectFolder(world.state).read("runs/r/a") == b"hello"
    assert fetched(urls.get_url(world.state, "runs/r/a", time.time(), 60.0)) == 200
    form = urls.post_policy(world.state, "runs/r/machine/", time.time(), time.time() + 60)
    assert EMAIL in form["fields"]["x-goog-credential"]
    assert world.iam.calls == ["STS.Token", "IAM.generateAccessToken", "IAM.signBlob", "IAM.signBlob"]
    assert world.issuer.calls == ["GetIdToken"]


def test_the_file_is_ours_alone_and_like_googles_own(world: Google) -> None:
    """As google-github-actions/auth writes it; a second call makes none."""
    keyless.take()
    path = Path(os.environ[FILE])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    document = json.loads(path.read_text())
    assert document["type"] == "external_account"
    assert document["audience"] == f"//iam.googleapis.com/{PROVIDER}"
    assert document["credential_source"]["headers"] == {"Authorization": f"Bearer {BEARER}"}
    keyless.take()
    assert os.environ[FILE] == str(path)


def test_googles_own_client_reads_the_file(world: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    """With which the stacks ask for machines."""
    from google import auth
    from google.auth.transport.requests import Request

    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "simulation-project")
    keyless.take()
    found, _ = auth.default(scopes=[federated.SCOPE])
    found.refresh(Request())  # type: ignore[no-untyped-call]
    assert world.iam.tokens[found.token].who == EMAIL


def test_a_file_that_another_action_wrote_is_used(
    world: Google, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without our variables, and with the token in a file, as GitLab has it."""
    keyless.take()
    document = json.loads(Path(os.environ[FILE]).read_text())
    (tmp_path / "token").write_text(world.issuer.token(f"https://iam.googleapis.com/{PROVIDER}"))
    document["credential_source"] = {"file": str(tmp_path / "token")}
    (tmp_path / "auth.json").write_text(json.dumps(document))
    monkeypatch.setenv(FILE, str(tmp_path / "auth.json"))
    for name in (google.PROVIDER, google.ACCOUNT):
        monkeypatch.delenv(name)
    assert keyless.take() == ()
    assert fetched(urls.get_url(world.state, "nothing", time.time(), 60.0)) == 404


def test_a_key_file_wins(world: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing changes for people."""
    monkeypatch.setenv(FILE, world.cloud.key_file)
    keyless.take()
    assert os.environ[FILE] == world.cloud.key_file
    assert isinstance(gcs.signer(urls.bucket_of(world.state)), gcs.Signer)
    now = time.time()
    assert expiry.limit(world.state, now).deadline == now + urls.LONGEST_S - expiry.SHIPPING_S


def test_a_machine_lives_no_longer_than_googles_signatures(world: Google) -> None:
    """Twelve hours, whatever the address says; after Google's keys have changed it is refused."""
    keyless.take()
    ObjectFolder(world.state).write("a", b"hello")
    now = world.cloud.clock.now()
    deadline = expiry.limit(world.state, now).deadline
    assert deadline == now + 12 * HOUR - expiry.SHIPPING_S
    url = urls.get_url(world.state, "a", now, 2 * 86400.0)
    world.cloud.clock.advance(deadline + expiry.SHIPPING_S - now - 1)
    assert fetched(url) == 200
    world.cloud.clock.advance(1.5 * HOUR)
    assert fetched(url) == 403


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sub": "repo:another/fine-tunes:ref:refs/heads/main"}, "unauthorized_client"),
        ({"sub": "repo:somebody/fine-tunes:ref:refs/heads/other"}, "unauthorized_client"),
        ({"sub": "repo:somebody/fine-tunes:pull_request"}, "unauthorized_client"),
        ({"aud": "sts.amazonaws.com"}, "invalid_grant"),
        ({"exp": 1}, "invalid_grant"),
    ],
)
def test_a_job_that_is_not_trusted_ends_with_4(world: Google, wrong: dict[str, object], message: str) -> None:
    """Repository, branch, a pull request, audience, time; no secret with it."""
    world.issuer.claims |= wrong
    keyless.take()
    with pytest.raises(BucketDenied, match=message) as told:
        ObjectFolder(world.state).read("a")
    assert told.value.exit_code == 4
    assert not secrets_in(told.value.message + told.value.hint)


def test_another_providers_audience_is_refused(world: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names no pool of this project."""
    monkeypatch.setenv(google.PROVIDER, PROVIDER.replace("github", "gitlab"))
    keyless.take()
    with pytest.raises(BucketDenied, match="invalid_target"):
        ObjectFolder(world.state).read("a")


def test_a_missing_role_is_named_with_its_command(world: Google) -> None:
    """To act as the account, and to sign as it: two roles."""
    keyless.take()
    world.iam.trust.creators = set()
    with pytest.raises(BucketDenied, match="serviceAccountTokenCreator") as told:
        urls.get_url(world.state, "a", time.time(), 60.0)
    assert told.value.hint.startswith("gcloud iam service-accounts add-iam-policy-binding")
    world.iam.trust.users = set()
    federated._held.clear()
    with pytest.raises(BucketDenied, match="workloadIdentityUser"):
        ObjectFolder(world.state).read("a")


@pytest.mark.parametrize("address", ["https://sts.example.com/v1/token", "http://sts.googleapis.com/v1/token"])
def test_a_token_goes_to_google_only(
    world: Google, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    """The file says where it is sent, and files come from anywhere."""
    keyless.take()
    document = json.loads(Path(os.environ[FILE]).read_text())
    (tmp_path / "auth.json").write_text(json.dumps({**document, "token_url": address}))
    monkeypatch.setenv(FILE, str(tmp_path / "auth.json"))
    with pytest.raises(UsageError, match=r"not Google's|neither https"):
        urls.check(world.state)


def test_a_job_without_an_account_cannot_sign(world: Google, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Told before anything is made."""
    keyless.take()
    document = json.loads(Path(os.environ[FILE]).read_text())
    del document["service_account_impersonation_url"]
    (tmp_path / "auth.json").write_text(json.dumps(document))
    monkeypatch.setenv(FILE, str(tmp_path / "auth.json"))
    with pytest.raises(BucketDenied, match="impersonates none"):
        urls.check(world.state)


@pytest.mark.parametrize(("name", "value"), [(google.PROVIDER, "my-provider"), (google.ACCOUNT, "me@example.com")])
def test_words_of_the_wrong_form_are_refused(
    world: Google, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """With how they are written."""
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name):
        keyless.take()


def test_a_job_without_the_permission_is_told_which(world: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here too."""
    monkeypatch.delenv(identity.URL)
    with pytest.raises(BucketDenied) as told:
        keyless.take()
    assert "id-token: write" in told.value.hint


def test_a_gitlab_variable_becomes_a_file(world: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's clients read files."""
    for name in (identity.URL, identity.BEARER):
        monkeypatch.delenv(name)
    monkeypatch.setenv(identity.VARIABLE, world.issuer.token(f"https://iam.googleapis.com/{PROVIDER}"))
    keyless.take()
    ObjectFolder(world.state).write("a", b"x")
    source = json.loads(Path(os.environ[FILE]).read_text())["credential_source"]
    assert stat.S_IMODE(Path(source["file"]).stat().st_mode) == 0o600


def test_the_same_moment_gives_the_same_address(world: Google) -> None:
    """A repeat of the call that makes the machine is the same request, without a question."""
    keyless.take()
    inputs = {"boot": {"state": world.state, "ticket": "runs/r/tickets/1.json", "signed_at": 18e8}, "expires": 18e8}
    first = urls.ticket_url(inputs)
    world.cloud.clock.advance(2 * HOUR)
    assert urls.ticket_url(inputs) == first
    assert world.iam.calls.count("IAM.signBlob") == 1
