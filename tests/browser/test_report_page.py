"""The report in headless Chromium: sorting, filters, details, links, accessibility, no network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from reproduce.audit.audit import audited
from reproduce.audit.claims import all_claims, claim_named
from reproduce.audit.context import Context
from reproduce.audit.page_rows import audit_of
from reproduce.results.page.claims import Audit, ClaimRow, Plot
from reproduce.results.report import write_report
from reproduce.run import frozen
from reproduce.search.replay_memory import read_replay_memory

pytestmark = pytest.mark.slow

TRIALS = 7
"""Of the run: six models, and one that crashed, which gives no reward and counts as none."""
CLAIMS, CLAIM = "claims-table", "table-a2/same-counts-in-thesis"
ROOT = Path(__file__).parents[2]
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}


class Opened:
    """The report in a tab; whatever the tab complains of or asks for is kept."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.path, self.errors, self.requests = path, [], []
        self.context = browser.new_context(**({"viewport": DESKTOP} | options))
        self.context.set_default_timeout(120_000)
        self.tab = self.context.new_page()
        self.tab.on("console", lambda message: self.errors.append(message.text))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(path.as_uri())

    def column(self, number: int, table: str = "trials-table") -> list[str]:
        """The texts of a column of a table's rows that are shown, from 0."""
        script = (
            "([id, i]) => [...document.getElementById(id).tBodies[0].rows]"
            ".filter(row => row.offsetParent).map(row => row.cells[i].textContent.trim())"
        )
        return self.tab.evaluate(script, [table, number])

    def filters(self, name: str) -> Any:
        """The form that filters the trials or the claims."""
        return self.tab.get_by_role("search", name=name)

    def open_details(self, key: str) -> Any:
        """Click on a training's button; its dialog."""
        self.tab.locator(f'tr[data-key="{key}"] th button').click()
        dialog = self.tab.locator("dialog[open]")
        dialog.wait_for()
        return dialog


@pytest.fixture
def opened(browser: Any, reported_run: Path) -> Iterator[Callable[..., Opened]]:
    """Opens the report; at the end no tab may have complained or asked for anything else."""
    found: list[Opened] = []

    def open_(path: Path = reported_run / "report" / "index.html", **options: Any) -> Opened:
        found.append(Opened(browser, path, **options))
        return found[-1]

    yield open_
    for one in found:
        one.context.close()
        assert one.errors == []
        assert {urlsplit(url)._replace(fragment="").geturl() for url in one.requests} == {
            one.path.as_uri()
        }


@pytest.fixture
def page(opened: Callable[..., Opened]) -> Opened:
    return opened()


def natural(text: str) -> list[Any]:
    """A key by which C(64,…) comes before C(128,…)."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]


def in_order(texts: list[str], *, numeric: bool, descending: bool) -> bool:
    """Whether texts are sorted; those that say nothing come last, whichever way."""
    known = [text for text in texts if text]
    keys: list[Any] = [float(t.replace(",", "")) if numeric else natural(t) for t in known]
    return texts == known + [""] * (len(texts) - len(known)) and keys == sorted(
        keys, reverse=descending
    )


def test_each_column_sorts_by_mouse_and_by_keyboard(page: Opened) -> None:
    heads = page.tab.locator("#trials-table thead th:not(.files)")
    before = sorted(page.column(0))
    names = heads.all_inner_texts()
    assert {"trial", "ε", "architecture", "outcome", "best accuracy"} <= {n.strip() for n in names}
    for i in range(heads.count()):
        head, button = heads.nth(i), heads.nth(i).locator("button")
        numeric = "number" in (head.get_attribute("class") or "")
        ways = []
        for press in (button.click, lambda b=button: (b.focus(), page.tab.keyboard.press("Enter"))):
            press()
            ways.append(head.get_attribute("aria-sort"))
            texts = page.column(i)
            assert in_order(texts, numeric=numeric, descending=ways[-1] == "descending"), names[i]
        assert sorted(ways) == ["ascending", "descending"]
        assert page.tab.locator("#trials-table th[aria-sort]").count() == 1
    assert sorted(page.column(0)) == before


def test_filters_show_the_trials_that_fit_and_say_how_many(page: Opened) -> None:
    every = page.column(2)
    outcomes, epsilons = page.column(5), page.column(1)
    assert len(set(outcomes)) == 2  # one of the trials crashed
    assert set(epsilons) == {"1", "0.5"}
    form = page.filters("Trials")
    form.get_by_role("searchbox", name="Text").fill("gap (")
    assert page.column(2) == [one for one in every if "GAP(" in one]
    shown = len(page.column(2))
    assert 0 < shown < len(every)
    assert form.get_by_role("status").inner_text() == f"{shown} of {len(every)} trials shown"
    form.get_by_role("button", name="Show all").click()
    page.tab.wait_for_function(
        "n => document.querySelectorAll('#trials-table tbody tr:not([hidden])').length === n",
        arg=len(every),
    )
    form.get_by_label("Outcome").select_option("crashed")
    assert page.column(5) == ["crashed"]
    form.get_by_label("Outcome").select_option("any")
    form.get_by_label("ε", exact=True).select_option("0.5")
    assert page.column(2) == [a for a, e in zip(every, epsilons, strict=True) if e == "0.5"]


def test_claims_are_filtered_by_verdict_and_one_is_opened(page: Opened) -> None:
    """Its evidence is what `metaqnn audit explain` prints, and lines of the files it stands in."""
    verdicts, sources = page.column(1, CLAIMS), page.column(3, CLAIMS)
    counts = dict(zip(page.column(0, "verdicts"), page.column(1, "verdicts"), strict=True))
    assert {verdict: str(verdicts.count(verdict)) for verdict in counts} == counts
    form = page.filters("Claims")
    form.get_by_label("Verdict").select_option("contradicted")
    assert page.column(1, CLAIMS) == ["contradicted"] * verdicts.count("contradicted")
    form.get_by_label("Source").select_option("Table A2")
    left = page.column(3, CLAIMS)
    assert 0 < len(left) < verdicts.count("contradicted")
    assert all(source.startswith("Table A2") for source in left)
    assert form.get_by_role("status").inner_text() == f"{len(left)} of {len(verdicts)} claims shown"
    form.get_by_label("Source").select_option("any")
    dialog = page.open_details(CLAIM)
    one = audited(claim_named(CLAIM), Context())
    assert one.claim.says in dialog.inner_text()
    labels = dialog.locator("dt").all_inner_texts()
    values = dialog.locator("dd").all_inner_texts()
    assert ("evidence", one.finding.evidence) in set(zip(labels, values, strict=True))
    assert "changed = 4" in values
    line = (ROOT / "reproduce/published_nets.csv").read_text().splitlines()[1]
    assert line in dialog.locator("pre").first.inner_text()
    dialog.get_by_role("button", name="Next").click()  # of those that are shown
    shown = page.column(0, CLAIMS)
    after = shown[shown.index(CLAIM) + 1]
    page.tab.locator("dialog h2", has_text=after).wait_for()
    page.tab.keyboard.press("Escape")
    form.get_by_role("button", name="Show all").click()
    page.tab.wait_for_function(
        "n => document.querySelectorAll('#claims-table tbody tr:not([hidden])').length === n",
        arg=len(verdicts),
    )
    assert page.column(3, CLAIMS) == sources


def test_claims_are_sorted_and_by_source_in_the_papers_order(page: Opened) -> None:
    places = (
        "[...document.querySelectorAll('#claims-table [data-value]')].map(x => x.dataset.value)"
    )
    ids, papers = page.column(0, CLAIMS), list(dict.fromkeys(page.tab.evaluate(places)))
    assert papers == list(dict.fromkeys(claim.place for claim in all_claims()))
    heads = page.tab.locator("#claims-table thead button")
    heads.filter(has_text="verdict").click()
    verdicts = page.column(1, CLAIMS)
    assert verdicts == sorted(verdicts)
    assert page.column(0, CLAIMS) != ids
    assert sorted(page.column(0, CLAIMS)) == sorted(ids)
    heads.filter(has_text="source").click()
    assert list(dict.fromkeys(page.tab.evaluate(places))) == papers


def test_the_claims_that_wait_for_data_lead_to_their_rows(page: Opened) -> None:
    page.tab.locator("details.waiting summary").click()
    link = page.tab.locator("details.waiting a").first
    link.click()
    page.tab.locator("dialog[open] h2", has_text=link.inner_text()).wait_for()


def test_a_claim_on_a_figure_leads_to_the_runs_plot(
    opened: Callable[..., Opened], reported_run: Path, tmp_path: Path
) -> None:
    """Of a run on the same data; one on MNIST has no plot of CIFAR-10."""
    plots = (Plot("figure-3", "CIFAR10"), Plot("figure-3", None))
    words = ("holds", "It rises.", "Figure 3", ("thesis",), "It does.")
    rows = tuple(ClaimRow(f"figure-3/{i}", *words, plots=(plots[i],)) for i in (0, 1))
    with read_replay_memory(reported_run / "replay.sqlite") as memory:
        path = write_report(frozen(reported_run), memory, tmp_path / "r", audit=Audit((), rows))
    page = opened(path)
    assert page.open_details("figure-3/0").get_by_role("link").count() == 0
    page.tab.keyboard.press("Escape")
    page.open_details("figure-3/1").get_by_role("link").click()
    in_sight = (
        "() => location.hash === '#plot-figure-3'"
        " && Math.abs(document.querySelector(location.hash).getBoundingClientRect().top) < 100"
    )
    page.tab.wait_for_function(in_sight)
    assert page.tab.locator("dialog[open]").count() == 0


def keys(page: Opened) -> list[str]:
    """Of the trials and the final trainings."""
    script = (
        "[...document.querySelectorAll('#trials-table tr[data-key], #finals-table tr[data-key]')]"
        ".map(row => row.dataset.key)"
    )
    return page.tab.evaluate(script)


def test_details_show_each_trainings_files_as_they_are(page: Opened, reported_run: Path) -> None:
    """Prototxts to the letter, of logs the tests; one net was restarted, one crashed."""
    with read_replay_memory(reported_run / "replay.sqlite") as memory:
        folders = {str(t.id): reported_run / "trials" / f"{t.id:04d}" for t in memory.trials()}
        nets = {str(trial.id): trial.architecture for trial in memory.trials()}
        for id_, (architecture, _) in memory.finals().items():
            folders[id_] = reported_run / "finals" / id_.replace("/", "-")
            nets[id_] = architecture
    assert sorted(keys(page)) == sorted(folders)
    for key, folder in folders.items():
        dialog = page.open_details(key)
        assert dialog.locator(".notation").inner_text() == nets[key]
        assert dialog.locator("svg.net").count() == 1
        texts = dict(
            dialog.locator("pre").evaluate_all(
                "all => all.map(one => [one.getAttribute('aria-label'), one.textContent])"
            )
        )
        assert sorted(texts) == sorted(
            path.name for path in folder.iterdir() if path.suffix in (".prototxt", ".log")
        )
        for name, text in texts.items():
            content = (folder / name).read_text()
            if name.endswith(".prototxt"):
                assert text == content
            else:
                tests = re.findall(r".*Test net output #0.*", content)
                assert re.findall(r".*Test net output #0.*", text) == tests
        page.tab.keyboard.press("Escape")
        page.tab.locator("dialog[open]").wait_for(state="detached")
        assert page.tab.evaluate("document.activeElement.closest('tr').dataset.key") == key


def test_details_go_from_trial_to_trial_in_the_tables_order(page: Opened) -> None:
    page.tab.locator("#trials-table thead button", has_text="reward").click()
    order = page.column(0)
    dialog = page.open_details(order[0])
    assert dialog.get_by_role("button", name="Previous").is_disabled()
    for trial in order[1:]:
        dialog.get_by_role("button", name="Next").click()
        page.tab.locator("dialog h2", has_text=f"Trial {trial}").wait_for()
    assert dialog.get_by_role("button", name="Next").is_disabled()
    dialog.get_by_role("button", name="Close").click()
    assert page.tab.evaluate("document.activeElement.closest('tr').dataset.key") == order[-1]


def test_an_address_opens_its_trial(opened: Callable[..., Opened], page: Opened) -> None:
    page.tab.evaluate("location.hash = 'trial-2'")
    page.tab.locator("dialog[open] h2", has_text="Trial 2").wait_for()


def links(page: Opened) -> list[str]:
    script = "[...document.querySelectorAll('[href], [src]')].map(a => a.getAttribute('href'))"
    return page.tab.evaluate(script)


def test_every_link_leads_to_a_file_or_a_place_in_the_page(page: Opened) -> None:
    """Those of each opened training too."""
    found = links(page)
    for key in keys(page):
        page.open_details(key)
        found += links(page)
        page.tab.keyboard.press("Escape")
        page.tab.locator("dialog[open]").wait_for(state="detached")
    anchors = set(page.tab.evaluate("[...document.querySelectorAll('[id]')].map(x => x.id)"))
    assert len(set(found)) > 40
    for link in set(found):
        if link.startswith("#"):
            assert link[1:] in anchors, link
        else:
            assert ":" not in link, link
            assert (page.path.parent / unquote(link)).is_file(), link


def test_no_id_is_there_twice(page: Opened) -> None:
    """Each figure brings ids of its own."""
    ids = page.tab.evaluate("[...document.querySelectorAll('[id]')].map(x => x.id)")
    assert sorted(ids) == sorted(set(ids))


def violations(page: Opened) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page.tab).response["violations"]
    return [
        f"{one['impact']}: {one['id']}: {json.dumps([node['target'] for node in one['nodes'][:3]])}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    opened: Callable[..., Opened], scheme: str, viewport: dict[str, int]
) -> None:
    page = opened(color_scheme=scheme, viewport=viewport)
    assert violations(page) == []
    page.open_details("1")
    assert violations(page) == []
    page.tab.keyboard.press("Escape")
    page.tab.locator("details.waiting summary").click()
    page.open_details(CLAIM)
    assert violations(page) == []


def test_axe_finds_nothing_serious_in_print(opened: Callable[..., Opened]) -> None:
    """Of a dark screen too, the paper is white, and every trial and claim is on it."""
    page = opened(color_scheme="dark")
    page.tab.emulate_media(media="print")
    assert violations(page) == []
    script = "getComputedStyle(document.body).backgroundColor"
    assert min(map(int, re.findall(r"\d+", page.tab.evaluate(script)))) > 250
    assert len(page.column(0)) == TRIALS
    assert len(page.column(0, CLAIMS)) == len(all_claims())
    assert not page.tab.get_by_role("navigation").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_no_wider_than_a_phone(opened: Callable[..., Opened], scheme: str) -> None:
    page = opened(color_scheme=scheme, viewport=PHONE)
    wide = "[document.documentElement.scrollWidth, innerWidth]"
    assert page.tab.evaluate(wide) == [360, 360]
    for key in ("1", CLAIM):
        dialog = page.open_details(key)
        box = dialog.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert dialog.evaluate("one => one.scrollWidth <= one.clientWidth")
        page.tab.keyboard.press("Escape")


def test_the_first_screen_has_the_numbers_and_the_state(page: Opened, reported_run: Path) -> None:
    """Published beside measured, as the table's own file has them."""
    rows = json.loads((reported_run / "report" / "table.json").read_text())
    rows = [row for row in rows if row["published"] is not None]
    cards = page.tab.locator(".card")
    assert cards.count() == len(rows) == 3
    for i, row in enumerate(rows):
        text = cards.nth(i).inner_text()
        assert f"{row['published']:.2f} %" in text
        measured = "not run" if row["measured"] is None else f"{row['measured']:.2f} %"
        assert measured in text
        assert cards.nth(i).bounding_box()["y"] < DESKTOP["height"]
    state = page.tab.locator("dl.state")
    text = " ".join(state.inner_text().split())
    assert "run complete" in text
    assert "models searched 6 of 6" in text
    assert "final trainings 3 of 3" in text
    assert "6 finished, 1 crashed" in text
    box = state.bounding_box()
    assert box["y"] + box["height"] < DESKTOP["height"]


def test_the_keyboard_reaches_the_content_at_once(page: Opened) -> None:
    page.tab.keyboard.press("Tab")
    assert page.tab.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.tab.keyboard.press("Enter")
    assert page.tab.evaluate("document.activeElement.id") == "main"


def test_a_command_can_be_copied(page: Opened) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    command = page.tab.locator(".commands pre", has_text="resume")
    page.tab.locator(".commands div", has_text="resume").get_by_role("button").click()
    page.tab.locator(".commands button", has_text="Copied").wait_for()
    assert page.tab.evaluate("navigator.clipboard.readText()") == command.inner_text()


def test_without_javascript_everything_is_there(opened: Callable[..., Opened]) -> None:
    """But for what has to be unpacked, which is linked."""
    page = opened(java_script_enabled=False)
    for id_ in ("results", "search", "nets", "audit", "provenance", "commands", "trials"):
        assert page.tab.locator(f"#{id_}").is_visible()
    rows = page.tab.locator("#trials-table tbody tr")
    assert rows.count() == TRIALS
    for i in range(rows.count()):
        row = rows.nth(i)
        assert row.locator(".files a").all_inner_texts() == ["net", "solver", "log"]
        for href in row.locator(".files a").evaluate_all("all => all.map(a => a.href)"):
            assert Path(unquote(urlsplit(href).path)).is_file()
    assert page.tab.locator("svg.net").count() == TRIALS  # one published, the crashed one not
    assert page.tab.locator("figure svg").count() >= 5
    assert len(page.tab.locator("#claims-table tbody tr").all()) == len(all_claims())
    assert page.tab.locator("form:visible").count() == 0
    assert page.tab.locator("button:visible").count() == 0


def test_a_watched_page_loads_itself_again_and_keeps_what_was_chosen(
    opened: Callable[..., Opened], reported_run: Path, tmp_path: Path
) -> None:
    claims = audit_of(reported_run)
    with read_replay_memory(reported_run / "replay.sqlite") as memory:
        path = write_report(
            frozen(reported_run), memory, tmp_path / "watched", audit=claims, refresh=1.0
        )
    page = opened(path)
    page.tab.get_by_label("Outcome").select_option("crashed")
    page.tab.evaluate("document.activeElement.blur()")
    page.tab.locator("#trials-table thead button", has_text="outcome").click()
    page.filters("Claims").get_by_label("Verdict").select_option("holds")
    page.tab.evaluate("document.activeElement.blur()")
    page.tab.locator("#refresh", has_text="every 1 s").wait_for()
    path.write_text(path.read_text().replace("<h1>MetaQNN", "<h1>Later, MetaQNN"))
    page.tab.locator("h1", has_text="Later").wait_for()
    page.tab.get_by_role("button", name="Pause").click()
    page.tab.locator("#refresh", has_text="no longer").wait_for()
    assert page.column(5) == ["crashed"]
    assert page.tab.locator("th[aria-sort]").inner_text().startswith("outcome")
    assert set(page.column(1, CLAIMS)) == {"holds"}
    assert violations(page) == []
