"""The page in a real browser: it is drawn without asking anybody for anything. Needs Debian's `chromium`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from cloudtrain.report.page.document import render
from tests.report.histories import year

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (  # what a browser asks its own makers for, whatever it shows
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--disable-default-apps", "--disable-extensions", "--metrics-recording-only",
    "--disable-domain-reliability", "--disable-client-side-phishing-detection", "--no-pings",
    "--disable-features=OptimizationHints,MediaRouter,Translate",
)  # fmt: skip
PICTURE = '<img src="http://example.test/picture.png"/>'  # what the proxy must see when there is such a thing


class Proxy(HTTPServer):
    """Counts what it is asked for, and answers that there is no such thing."""

    asked: list[str]


class Answer(BaseHTTPRequestHandler):
    """One request of a browser."""

    server: Proxy

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_error(404)

    do_CONNECT = do_POST = do_HEAD = do_GET  # noqa: N815 - names of the base class

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: it counts."""


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy on this machine, through which a browser has to go."""
    server = Proxy(("127.0.0.1", 0), Answer)
    server.asked = []
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def drawn(page: str, folder: Path, proxy: Proxy, *more: str) -> bytes:
    """The page as a picture of 1000 pixels in width."""
    assert BROWSER is not None
    file, picture = folder / "page.html", folder / "page.png"
    file.write_text(page)
    through = f"--proxy-server=http://127.0.0.1:{proxy.server_port}"
    subprocess.run(
        [BROWSER, *QUIET, through, "--proxy-bypass-list=<-loopback>", f"--user-data-dir={folder / 'profile'}", *more,
         "--window-size=1000,3000", f"--screenshot={picture}", file.as_uri()],
        check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    return picture.read_bytes()


def of_pages(asked: list[str]) -> list[str]:
    """What was asked for on behalf of a page: not what the browser asks its makers for."""
    return [each for each in asked if not any(host in each for host in ("google", "gvt1", "gstatic", "chromium"))]


@pytest.mark.soak
def test_a_parser_of_html5_has_nothing_to_repair() -> None:
    """By the specification's own rules. Needs `html5lib`."""
    html5lib = pytest.importorskip("html5lib", reason="no html5lib here: uv pip install html5lib")
    parser = html5lib.HTMLParser()
    parser.parse(render(year(365)))
    assert parser.errors == []


@pytest.mark.soak
@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
def test_a_browser_asks_for_nothing(tmp_path: Path, proxy: Proxy) -> None:
    """Of a year's page, in light and in dark. The same proxy sees a picture that another page asks for."""
    page = render(year(365))
    light = drawn(page, tmp_path, proxy)
    dark = drawn(page, tmp_path, proxy, "--blink-settings=preferredColorScheme=0")
    assert len(light) > 100_000
    assert light != dark
    assert of_pages(proxy.asked) == []
    drawn(f"<!DOCTYPE html><html><body>{PICTURE}</body></html>", tmp_path, proxy)
    assert of_pages(proxy.asked) == ["http://example.test/picture.png"]


@pytest.mark.soak
@pytest.mark.skipif(BROWSER is None, reason="no chromium here: apt-get install chromium")
def test_the_policy_of_the_page_holds_in_a_browser(tmp_path: Path, proxy: Proxy) -> None:
    """Even if something came into it: the picture is not asked for, and a script does not run."""
    page = render(year(3))
    broken = page.replace("</main>", f"{PICTURE}<script>document.body.remove()</script></main>")
    assert broken != page
    drawn(broken, tmp_path, proxy)
    assert of_pages(proxy.asked) == []
