import re
from html.parser import HTMLParser

import pytest

from supernet.records import Results
from supernet.report.page import to_html
from supernet.report.summary import rows
from supernet.report.wording import percent
from tests.report.samples import sample_results, with_failures

VOID = {"meta", "img", "br"}


class Checker(HTMLParser):
    """Collects tags, ids and sources, and checks that what opens closes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found[name] or "" for name in ("src", "href") if name in found]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    return checker


@pytest.fixture(scope="module")
def results() -> Results:
    return sample_results(seeds=3, longer=True)


def test_loads_nothing_and_runs_nothing(results: Results) -> None:
    page = to_html(results, {"supernet": b"<svg/>", "cost": b"<svg/>"})
    found = check(page)
    assert "script" not in found.tags
    assert "link" not in found.tags
    assert len(found.links) == 2
    assert all(link.startswith("data:image/svg+xml;base64,") for link in found.links)
    assert not re.search(r"https?:|url\(|@import", page)
    assert len(set(found.ids)) == len(found.ids)


def test_names_are_escaped_wherever_they_appear() -> None:
    evil = "<script>alert('{}')</script>"
    record = sample_results(label=evil).model_dump()
    record["settings"][evil] = evil
    record["conditions"]["command"] = evil
    record["data"]["name"] = record["network"]["name"] = evil
    record["verdict"]["sentences"] = [evil]
    record["ledger"][0]["name"] = evil
    page = to_html(Results.model_validate(record), {"supernet": b"<svg/>"})
    assert "<script" not in page
    assert "script" not in check(page).tags
    assert "&lt;script&gt;" in page


def test_the_verdict_comes_first_and_every_row_is_there(results: Results) -> None:
    assert results.verdict
    text = " ".join(check(to_html(results, {})).text).replace("\N{NO-BREAK SPACE}", " ")
    places = [text.index(sentence) for sentence in results.verdict.sentences]
    assert places == sorted(places)
    assert places[-1] < text.index("Key numbers") < text.index("Architectures")
    for row in rows(results):
        assert row.label in text
        assert percent(row.one_shot.value) in text


def test_states_conditions_data_and_every_phase(results: Results) -> None:
    page = to_html(results, {})
    for value in (
        *results.conditions.versions.values(),
        *results.conditions.hardware.values(),
        *results.data.sha256.values(),
        *results.settings,
        results.conditions.command,
    ):
        assert value in page
    details = page[page.index("<details>") : page.index("</details>")]
    assert details.count("<tr>") == len(results.ledger) + 1


def test_a_partial_run_has_a_page() -> None:
    page = to_html(sample_results(standalone=False), {})
    check(page)
    assert "Key numbers" not in page
    assert "None" not in page


def test_what_failed_reads_as_failed() -> None:
    results = with_failures(sample_results(seeds=2, longer=True), one_shot=[0], alone=[4])
    page = to_html(results, {})
    text = " ".join(check(page).text)
    assert "nan" not in text.lower().split()
    assert page.count("<td>failed</td>") == 3
    assert "Failed: an output was not a finite number; it counts as ranked last." in text
    assert "Failed" not in to_html(sample_results(), {})


def test_a_long_name_may_be_broken_and_a_short_one_not() -> None:
    assert "class=long" not in to_html(sample_results(), {})
    assert to_html(sample_results(label="W" * 300 + "{}"), {}).count("<td class=long>") >= 9


def test_what_is_not_a_number_reads_as_unknown() -> None:
    page = to_html(sample_results(depths=(1,)), {})
    assert "can&#39;t tell" in page
    assert "nan" not in " ".join(check(page).text).lower()
