"""One JSON document from a provider's interface: bounded in time and size, and every fault a sentence without the key."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cloudtrain.pricing import _http
from cloudtrain.pricing._http import Door, Pages, Patience, asked_price, dollars

from cloudtrain.errors import MissingCredentials, Permission, ProviderError, Rejected, Unavailable, UsageError
from cloudtrain.simulator.http_server import Front, Reply, Request

VARIABLE, KEY = "CLOUDTRAIN_RUNPOD_URL", "PLANTED-SECRET-key"


class Provider(Front):
    """Answers as a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Request] = []
        self.replies: list[Reply] = []  # the last one for ever

    def answer(self, request: Request) -> Reply | None:
        self.asked.append(request)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """A provider that the environment points at; nobody waits before a repeat, but the waits are written down."""
    provider = Provider()
    monkeypatch.setenv(VARIABLE, provider.url)
    yield provider
    provider.stop()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, without waiting."""
    found: list[float] = []
    monkeypatch.setattr(_http, "sleep", found.append)
    return found


def door() -> Door:
    """The provider's, with a key."""
    return Door(
        "Somebody", "https://api.example.invalid", VARIABLE, {"Authorization": f"Bearer {KEY}"}, "make a new key"
    )


def ask(seconds: float = 20.0, path: str = "/prices", **params: str) -> dict[str, Any]:
    """What it answers."""
    return door().get(path, Patience(seconds), **params)


def fails(error: type[ProviderError], words: str, seconds: float = 20.0) -> ProviderError:
    """The error that asking ends with; it names the provider, and no key."""
    with pytest.raises(error, match=words) as raised:
        ask(seconds)
    assert type(raised.value) is error
    assert "Somebody" in raised.value.message
    assert KEY not in f"{raised.value.message} {raised.value.hint}"
    return raised.value


def test_numbers_are_decimals_and_headers_go_along(provider: Provider) -> None:
    """Integers too; the query as it was given."""
    provider.replies = [Reply(200, b'{"usd": 0.1, "count": 3, "text": "0.30"}')]
    assert ask(page="2", kind="a b") == {"usd": Decimal("0.1"), "count": Decimal(3), "text": "0.30"}
    (request,) = provider.asked
    assert (request.query, request.headers["authorization"]) == ({"page": ["2"], "kind": ["a b"]}, f"Bearer {KEY}")


def test_a_question_with_a_body_is_sent_as_json(provider: Provider) -> None:
    """POST, for interfaces that read so."""
    provider.replies = [Reply(200, b'{"data": {}}')]
    assert door().post("/graphql", Patience(20.0), {"query": "q"}) == {"data": {}}
    assert (provider.asked[0].method, json.loads(provider.asked[0].body)) == ("POST", {"query": "q"})


@pytest.mark.parametrize(("body", "found"), [(b"[1]", [Decimal(1)]), (b"null", []), (b"[]", [])])
def test_a_bare_list_is_asked_for_as_one(provider: Provider, body: bytes, found: list[Any]) -> None:
    """`null` is an empty one; an object is none."""
    provider.replies = [Reply(200, body), Reply(200, b"{}")]
    assert door().get_list("/free", Patience(20.0)) == found
    with pytest.raises(Unavailable, match="another form"):
        door().get_list("/free", Patience(20.0))


DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@pytest.mark.parametrize(
    "body",
    [b"<!DOCTYPE html><p>Soon</p>", b"", b"[]", b"null", b'"x"', b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1', DEEP],
    ids=["html", "nothing", "list", "null", "text", "nan", "infinity", "half", "deep"],
)
def test_what_is_no_object_is_unavailable(provider: Provider, body: bytes) -> None:
    """A page for people with 200, figures that are none, and what would exhaust the reader."""
    provider.replies = [Reply(200, body)]
    fails(Unavailable, "Somebody answers with")


def test_bytes_that_are_no_text_are_unavailable(provider: Provider) -> None:
    """No decoder's error reaches anybody."""
    provider.replies = [Reply(200, b'{"a": "\xff\xfe"}')]
    fails(Unavailable, "no JSON")


@pytest.mark.parametrize("packed", [False, True])
def test_an_endless_body_is_left_off(provider: Provider, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    """Counted as it is unpacked: a small archive of much is as large."""
    monkeypatch.setattr(_http, "MOST_BYTES", 1 << 20)
    body = b'{"a": "' + b"x" * (8 << 20) + b'"}'
    headers = {"Content-Encoding": "gzip"} if packed else {}
    provider.replies = [Reply(200, gzip.compress(body) if packed else body, headers)]
    fails(Unavailable, "more than 1 MiB")
    monkeypatch.setattr(_http, "MOST_BYTES", 32 << 20)
    assert len(ask()["a"]) == 8 << 20


@pytest.mark.parametrize("seconds_a_byte", [0.02, 600.0], ids=["dripping", "stalled"])
def test_a_slow_body_ends_with_the_patience(provider: Provider, seconds_a_byte: float) -> None:
    """Though each byte of it comes in time."""
    provider.replies = [Reply(200, b'{"a": "' + b"x" * 10_000 + b'"}', {}, seconds_a_byte=seconds_a_byte)]
    began = time.monotonic()
    fails(Unavailable, "Somebody did", 0.4) if seconds_a_byte < 1 else fails(Unavailable, "does not answer", 0.4)
    assert time.monotonic() - began < 10


def test_a_cut_body_is_unavailable(provider: Provider) -> None:
    """Half a document is none, whatever it says."""
    provider.replies = [Reply(200, b'{"a": 1}' + b" " * 100, cut=True)]
    fails(Unavailable, "does not answer")


def test_nobody_is_asked_without_patience(provider: Provider) -> None:
    """A refresh whose time is up asks no more."""
    provider.replies = [Reply(200, b"{}")]
    fails(Unavailable, "in time", 0.0)
    assert provider.asked == []


def test_who_is_not_there_is_unavailable(provider: Provider) -> None:
    """No address of the system's error is shown."""
    provider.stop()
    fails(Unavailable, "does not answer")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(provider: Provider, status: int) -> None:
    """The key would go wherever it leads."""
    provider.replies = [Reply(status, b"", {"Location": f"{provider.url}/elsewhere"})]
    fails(Rejected, f"answers {status}")
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, MissingCredentials), (403, Permission), (400, Rejected), (404, Rejected), (410, Rejected)],
)
def test_a_refusal_is_its_error_at_once(provider: Provider, status: int, error: type[ProviderError]) -> None:
    """It is not asked again; what it says of the key is not shown."""
    provider.replies = [Reply(status, f'{{"message": "bad key {KEY}"}}'.encode())]
    found = fails(error, "Somebody")
    assert (len(provider.asked), found.hint == "make a new key") == (1, status in (401, 403))


@pytest.mark.parametrize(
    ("after", "waited"),
    [("7", 7.0), ("0", 0.0), ("999", 30.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.5), ("-3", 0.5), ("", 0.5)],
)
def test_a_busy_provider_is_waited_for(provider: Provider, waits: list[float], after: str, waited: float) -> None:
    """As long as it asks for, and never longer than half a minute."""
    provider.replies = [Reply(429, b"", {"Retry-After": after}), Reply(200, b'{"a": 1}')]
    assert ask(60.0) == {"a": Decimal(1)}
    assert waits == [waited]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_provider_that_stays_busy_is_unavailable(provider: Provider, waits: list[float], status: int) -> None:
    """After four questions, with doubled waits."""
    provider.replies = [Reply(status)]
    fails(Unavailable, f"answers {status}")
    assert (len(provider.asked), waits) == (4, [0.5, 1.0, 2.0])


def test_no_wait_goes_beyond_the_patience(provider: Provider, waits: list[float]) -> None:
    """Who asks for more than is left gets no second question."""
    provider.replies = [Reply(429, b"", {"Retry-After": "20"})]
    fails(Unavailable, "answers 429", 5.0)
    assert (len(provider.asked), waits) == (1, [])


@pytest.mark.parametrize(
    "page",
    [
        "http://127.0.0.1:1/next",
        "https://api.example.invalid/next",
        "http://user@127.0.0.1/next",
        "http://127.0.0.1:x/next",
        "http://[::1/next",
    ],
)
def test_a_next_page_on_another_host_is_refused(provider: Provider, page: str) -> None:
    """The key goes nowhere else."""
    with pytest.raises(Unavailable, match="another host"):
        ask(path=page)
    assert provider.asked == []


def test_a_next_page_of_the_same_host_is_asked(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its whole address; Azure's name the port that https has anyway."""
    provider.replies = [Reply(200, b"{}")]
    assert ask(path=f"{provider.url}/next?cursor=2") == {}
    assert provider.asked[0].target == "/next?cursor=2"
    monkeypatch.delenv(VARIABLE)
    assert door()._url("https://api.example.invalid:443/next") == "https://api.example.invalid:443/next"
    with pytest.raises(Unavailable, match="another host"):
        door()._url("http://api.example.invalid/next")


def test_each_page_is_asked_for_once(provider: Provider) -> None:
    """A page that names one which was had, something else, or ever new ones, has no end."""
    assert Pages(door()).following("") == Pages(door()).following(None) == ""
    pages = Pages(door())
    assert [pages.following("b"), pages.following("c")] == ["b", "c"]
    for bad in ("b", 3, ["d"], {"e": 1}):
        with pytest.raises(Unavailable, match="without an end"):
            pages.following(bad)
    for number in range(_http.MOST_PAGES - 2):
        pages.following(f"new {number}")
    with pytest.raises(Unavailable, match="without an end"):
        pages.following("one more")


def test_a_netrc_file_never_takes_the_place_of_the_key(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither for a fake nor where the environment is trusted."""
    provider.replies = [Reply(200, b"{}")]
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password theirs\ndefault login me password theirs\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    ask()
    trusting = door()
    trusting.is_fake = False
    trusting.get("/prices", Patience(20.0))
    assert {request.headers["authorization"] for request in provider.asked} == {f"Bearer {KEY}"}


def test_proxies_are_used_but_not_to_a_fake(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A company's proxy is the way out; loopback has none."""
    provider.replies = [Reply(200, b"{}")]
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, provider.url)
    ask()
    assert provider.asked[0].target == "/prices"
    monkeypatch.delenv(VARIABLE)
    outside = Door("Somebody", "http://prices.example.invalid", VARIABLE, {})
    outside.get("/prices", Patience(20.0))
    assert provider.asked[1].target == "http://prices.example.invalid/prices"


def test_a_fake_is_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else somebody's variable would send the key away."""
    monkeypatch.setenv(VARIABLE, "https://evil.example.invalid")
    with pytest.raises(UsageError, match=VARIABLE):
        door()


NO_PRICE: tuple[Any, ...] = (
    Decimal(-1),
    Decimal("NaN"),
    Decimal("Infinity"),
    Decimal(10**6),
    "x",
    "",
    "1" * 31,
    [1],
    {},
)


@pytest.mark.parametrize("read", [dollars, asked_price])
def test_a_price_is_a_number_or_its_text(read: Callable[[Any], Decimal | None]) -> None:
    """Exactly; no text of a length that costs."""
    assert (read(Decimal("2.39")), read("2.390")) == (Decimal("2.39"), Decimal("2.390"))
    assert [read(each) for each in (None, Decimal(0), Decimal("0.00"), "0", "0.000")] == [None] * 5


@pytest.mark.parametrize("value", NO_PRICE, ids=str)
def test_what_is_no_price_is_told_from_not_offered(value: Any) -> None:
    """Nothing comes of it in either way."""
    assert dollars(value) is None
    with pytest.raises(ValueError, match="no price"):
        asked_price(value)
