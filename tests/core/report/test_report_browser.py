"""The report in a real browser: nothing overlaps, nothing is asked of the network, everything can be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sample_report as sample
from browser import CHROMIUM, Browser, open_browser

from nnn_core.evaluation.points import Point
from nnn_core.evaluation.rankings import Occurrence
from nnn_core.report import Report, render
from nnn_core.report._sections import Hub, Shown

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

WIDTHS = (320, 390, 830, 1100, 1280)

#: Height of a page with every section on a phone: hubs and gates beyond the first few are folded.
MOST_PIXELS = 15_500

#: Pairs of labels of one drawing whose boxes share more than a hair, and labels outside their drawing.
OVERLAPS = """
(() => {
  const found = [];
  for (const drawing of document.querySelectorAll('svg.plot')) {
    const frame = drawing.getBoundingClientRect();
    const labels = [...drawing.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
    labels.forEach(([words, box], at) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1)
        found.push([words, 'outside']);
      for (const [others, other] of labels.slice(at + 1)) {
        const wide = Math.min(box.right, other.right) - Math.max(box.left, other.left);
        const high = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
        if (wide > 0.5 && high > 1.5) found.push([words, others]);
      }
    });
  }
  return found;
})()
"""

#: Text of less contrast than 4.5 to 1 against what is behind it (WCAG 2.2, 1.4.3).
PALE = """
(() => {
  const parse = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  let seen = 0;
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || ['title', 'desc'].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const [high, low] = [light(ink), light(ground(element))].sort((a, b) => b - a);
    seen += 1;
    if ((high + 0.05) / (low + 0.05) < 4.5) found.push([element.textContent.trim().slice(0, 40), style.color]);
  }
  return {seen, found};
})()
"""

#: Boxes that hold more than they show, other than those that are meant to scroll.
CLIPPED = """
[...document.querySelectorAll(
  '.scroll:not(.wide), section, .tiles > div, .strip li, .lines .rank, .hubs .body, td, th, dd')]
  .filter(box => box.checkVisibility() && box.scrollWidth > box.clientWidth + 1 && box.clientWidth > 1 &&
    (box.closest('thead')?.clientWidth ?? 2) > 1)
  .map(box => [box.className || box.tagName, box.textContent.trim().slice(0, 60)])
"""


def odd_report() -> Report:
    """What strains a layout: long words without a break, large numbers, one bin, a single k."""
    report = sample.sample_report(images=False)
    word = "Donaudampfschifffahrtsgesellschaftskapitaen" * 4
    assert report.hubness is not None
    assert report.tuning is not None
    crowd = Occurrence(((0, 9_000_000), (1, 1), (5_000_000, 3)), 1234.5, 0.9999, 0.99, 0.9999)
    nothing = Point(128, 0.0)
    return dataclasses.replace(
        report,
        title=word,
        run=dataclasses.replace(report.run, table="s3://" + word, version=None, seconds=360_000.0),
        hubness=dataclasses.replace(report.hubness, before=crowd),
        hubs=tuple(Hub(word, 5_000_000, 4_000_000, 0.5, 12_345_678, (Shown(word, word),)) for _ in range(3)),
        quality=tuple(
            dataclasses.replace(table, title=word, figures=tuple(_far(figure) for figure in table.figures))
            for table in report.quality
        ),
        tuning=dataclasses.replace(
            report.tuning,
            choice=dataclasses.replace(report.tuning.choice, point=nothing, best=Point(128, 1 / 3)),
            gains=tuple((Point(128, step / 24), -0.9 + step / 24) for step in range(1, 25)),
        ),
        gates=tuple(
            dataclasses.replace(gate, name=word, value=word, verdict="fail", note=word) for gate in report.gates[:2]
        ),
    )


def _far(figure: Any) -> Any:
    return dataclasses.replace(figure, gain=dataclasses.replace(figure.gain, low=-0.99, high=0.98))


PAGES = {"images": sample.sample_report, "texts": lambda: sample.sample_report(images=False), "odd": odd_report}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for name, make in PAGES.items():
        (folder / f"{name}.html").write_text(render(make()), encoding="utf-8")
    return folder


@pytest.fixture(params=[(name, width) for name in PAGES for width in WIDTHS], ids=lambda case: f"{case[0]}-{case[1]}")
def page(request: pytest.FixtureRequest, browser: Browser, folder: Path) -> Browser:
    name, width = request.param
    browser.show(folder / f"{name}.html", width=width, dark=False)
    browser.ask("document.querySelectorAll('details').forEach(each => each.open = true)")
    return browser


def test_nothing_overlaps_or_overflows(page: Browser) -> None:
    assert page.ask("document.querySelectorAll('svg.plot text').length") > 40
    assert page.ask(OVERLAPS) == []
    assert page.ask("document.documentElement.scrollWidth") <= page.width
    assert page.ask(CLIPPED) == []


@pytest.mark.parametrize("name", ["images", "texts"])
def test_a_phone_need_not_be_scrolled_for_ever(browser: Browser, folder: Path, name: str) -> None:
    browser.show(folder / f"{name}.html", width=390, dark=False)
    assert browser.ask("document.documentElement.scrollWidth") == 390
    assert browser.ask("document.documentElement.scrollHeight") < MOST_PIXELS


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("images", [True, False], ids=["images", "texts"])
def test_answers_fit_and_stand_out(browser: Browser, tmp_path: Path, images: bool, width: int, dark: bool) -> None:
    (tmp_path / "answers.html").write_text(sample.sample_answers(images=images).render(), encoding="utf-8")
    browser.show(tmp_path / "answers.html", width=width, dark=dark)
    browser.ask("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.ask("document.querySelectorAll('.strip li, .lines li').length") == 40
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask(CLIPPED) == []
    assert browser.ask(PALE)["found"] == []
    assert browser.ask("[...document.images].every(each => each.naturalWidth > 0)")
    assert browser.ask("document.images.length") == 40 * images


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_text_stands_out(browser: Browser, folder: Path, width: int, dark: bool) -> None:
    browser.show(folder / "images.html", width=width, dark=dark)
    pale = browser.ask(PALE)
    assert pale["seen"] > 300
    assert pale["found"] == []


def test_both_schemes_differ(browser: Browser, folder: Path) -> None:
    grounds = []
    for dark in (False, True):
        browser.show(folder / "images.html", width=1280, dark=dark)
        grounds.append(browser.ask("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


@pytest.mark.parametrize("name", PAGES)
def test_no_complaint_and_no_request(browser: Browser, folder: Path, name: str) -> None:
    browser.show(folder / f"{name}.html", width=1280, dark=False)
    assert browser.ask("document.readyState") == "complete"
    told = {method for method, _ in browser.events}
    assert not told & {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
    urls = [told["request"]["url"] for method, told in browser.events if method == "Network.requestWillBeSent"]
    assert urls
    assert all(url.startswith(("file://", "data:image/webp;")) for url in urls)
    assert sum(url.startswith("file://") for url in urls) == 1


def test_pictures_are_drawn_and_named(browser: Browser, folder: Path) -> None:
    browser.show(folder / "images.html", width=1280, dark=False)
    pictures = browser.ask("[...document.images].map(each => [each.naturalWidth, each.alt.length])")
    assert len(pictures) > 60
    assert all(width > 0 and words > 0 for width, words in pictures)


def test_the_keyboard_reaches_everything(browser: Browser, folder: Path) -> None:
    browser.show(folder / "images.html", width=1280, dark=False)
    browser.press("Tab")
    assert browser.ask("document.activeElement.className") == "skip"
    assert browser.ask("document.activeElement.getBoundingClientRect().left") >= 0
    browser.press("Enter")
    browser.press("Tab")
    closed = "[...document.querySelectorAll('summary')].filter(each => each.checkVisibility()).length"
    reached = 0
    for _ in range(100):
        if browser.ask("document.activeElement.tagName") != "SUMMARY":
            break
        reached += 1
        browser.press("Tab")
    assert reached == browser.ask(closed)


def test_a_summary_opens_by_key(browser: Browser, folder: Path) -> None:
    browser.show(folder / "images.html", width=375, dark=False)
    browser.ask("document.querySelector('details:not([open]) > summary').focus()")
    browser.press("Enter")
    assert browser.ask("document.activeElement.parentElement.open")
