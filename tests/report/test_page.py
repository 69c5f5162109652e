import re
from html.parser import HTMLParser

import pytest

from supernet.records import Estimate, Measure, Ranking, Results
from supernet.report.figures.collection import render_all
from supernet.report.page import to_html
from supernet.report.summary import by_rank, rows
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

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

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


SVG = b'<?xml version="1.0"?><svg viewBox="0 0 100 50" data-note="0.1"><g id="a"/></svg>'


def drawn(results: Results) -> dict[str, bytes]:
    return {name: figure["svg"] for name, figure in render_all(results).items()}


@pytest.fixture(scope="module")
def figures(results: Results) -> dict[str, bytes]:
    return drawn(results)


@pytest.fixture(scope="module")
def page(results: Results, figures: dict[str, bytes]) -> str:
    return to_html(results, figures)


def test_loads_nothing_and_links_only_to_files_beside_it(
    page: str, figures: dict[str, bytes]
) -> None:
    found = check(page)
    assert found.tags.count("script") == 1
    assert not {"link", "img", "iframe", "object"} & set(found.tags)
    names = {f"figures/{name}.{kind}" for name in figures for kind in ("svg", "png")}
    ids = {f"#{name}" for name in found.ids}
    assert {link for link in found.links if not link.startswith("#")} == {
        "results.csv", "results.json", *names
    }  # fmt: skip
    assert {link for link in found.links if link.startswith("#")} <= ids
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    assert len(set(found.ids)) == len(found.ids)
    assert len(page) < 2_000_000


def test_its_script_is_for_comfort_only(page: str) -> None:
    """Nothing is said by the script alone: it has no text of its own but a locale and key words."""
    script = page[page.index("<script>") : page.index("</script>")]
    assert not re.search(
        r"fetch|XMLHttp|import|eval|innerHTML|document\.write|localStorage", script
    )
    for part in ("results.json", "aria-sort", "Comparison table"):
        assert part in page.replace(script, "") or part == "aria-sort"


def test_figures_follow_light_and_dark_and_say_their_conditions_once(page: str) -> None:
    body = page[page.index("<main>") : page.index("<script>")]
    for svg in re.findall(r"<svg.*?</svg>", body, re.DOTALL):
        assert "var(--ink)" in svg
        assert "#222222" not in svg.lower()
        assert "<style" not in svg
    assert page.count("learning rate: supernet") == 1


def test_curves_say_their_names(page: str, results: Results) -> None:
    for arch in results.architectures:
        assert page.count(f"<title>{arch.label}</title>") >= 2


def test_rows_are_sorted_by_rank_and_can_be_sorted_by_number(page: str, results: Results) -> None:
    table = page[page.index('<table class="sortable">') :]
    table = table[: table.index("</table>")]
    labels = re.findall(r"<tr[^>]*>\s*<td>([^<]*)</td>", table)
    assert labels == [row.label for row in by_rank(results)]
    assert re.findall(r'data-key="([0-9.]+)"', table)[:1] == [str(by_rank(results)[0].params)]


def test_every_equal_best_is_marked() -> None:
    results = sample_results()
    record = results.model_dump()
    for estimate in record["verdict"]["standalone"]:
        estimate["value"] = 0.9
    table = to_html(Results.model_validate(record), {})
    assert table.count("<b>90.00") == 9


def test_changed_settings_come_first_and_the_rest_is_folded(results: Results) -> None:
    changed = to_html(results.model_copy(update={"changed": ["epochs"]}), {})
    part = changed[changed.index('id="settings"') : changed.index('id="conditions"')]
    assert part.index("epochs") < part.index("<details>") < part.index("batch_size")
    assert part.count(">epochs<") == 1
    same = to_html(results.model_copy(update={"changed": []}), {})
    assert "All are the preset&#39;s." in same or "All are the preset's." in same


def test_the_page_of_a_training_has_intervals_a_pick_and_ties() -> None:
    results = sample_results(standalone=False)
    labels = [arch.label for arch in results.architectures]
    estimates = [Estimate(value=0.9, low=0.88, high=0.92)] * 9
    ranking = Ranking(
        samples=1000, validation=estimates, test=estimates, picked=labels[4],
        equals=[labels[7]], halves_tau=0.5, scoring_tau=0.6, drift_tau=0.4,
        sentences=["The best is this."],
    )  # fmt: skip
    page = to_html(results.model_copy(update={"ranking": ranking}), {})
    assert "90.00 \N{PLUS-MINUS SIGN} 2.00" in page
    assert f'<tr class="picked">\n<td>{labels[4]}</td>' in page
    assert f'<tr class="equal">\n<td>{labels[7]}</td>' in page
    assert "The best is this." in page
    assert "Train for more epochs" in page
    assert "supernet compare" in page


def test_losses_stand_beside_scores() -> None:
    results = sample_results(standalone=False)
    estimates = [Estimate(value=0.9, low=0.88, high=0.92)] * 9
    losses = [Estimate(value=0.1 + i / 100, low=0.09, high=0.12) for i in range(9)]
    ranking = Ranking(
        samples=1000, ranked_by="loss", validation=estimates, test=estimates, losses=losses,
        picked="(1, 1)", equals=[], halves_tau=0.5, scoring_tau=0.6, drift_tau=None, sentences=[],
    )  # fmt: skip
    results = results.model_copy(update={"ranking": ranking})
    assert [row.one_shot_rank for row in rows(results)] == list(range(1, 10))
    page = to_html(results, {})
    assert "<b>0.1000 \N{PLUS-MINUS SIGN} 0.0150</b>" in page
    assert "One-shot rank is by validation loss" in page


@pytest.mark.parametrize("which", [sample_results(), sample_results(standalone=False)])
def test_what_is_wide_can_be_focused(which: Results) -> None:
    page = to_html(which, {"supernet": SVG})
    wide = re.findall(r'<div class="wide[^>]*>', page)
    assert wide
    assert all('tabindex="0" role="region" aria-label="' in tag for tag in wide)
    assert all("tabindex" in tag for tag in re.findall(r"<pre[^>]*>", page))


def test_a_thousand_architectures_make_a_page_below_two_megabytes() -> None:
    page = to_html(sample_results(depths=(10, 10, 10), epochs=1), {"supernet": SVG})
    assert len(page) < 1_800_000
    assert 'class="wide tall"' in page


def test_scores_of_another_task_are_called_what_they_are() -> None:
    error = Measure(name="squared error", unit="K", higher_is_better=False)
    results = sample_results().model_copy(update={"measure": error})
    page = to_html(results, drawn(results))
    assert "test K" in page
    assert "squared error on 5,000 validation samples" in page
    assert "test %" not in page


def test_names_are_escaped_wherever_they_appear() -> None:
    evil = "<script>alert('{}')</script>"
    record = sample_results(label=evil).model_dump()
    record["settings"][evil] = evil
    record["conditions"]["command"] = evil
    record["data"]["name"] = record["network"]["name"] = evil
    record["verdict"]["sentences"] = [evil]
    record["ledger"][0]["name"] = evil
    page = to_html(Results.model_validate(record), {"supernet": SVG})
    assert page.count("<script") == 1
    assert check(page).tags.count("script") == 1
    assert "&lt;script&gt;" in page


def test_the_verdict_comes_first_and_every_row_is_there(results: Results) -> None:
    assert results.verdict
    text = " ".join(check(to_html(results, {})).text).replace("\N{NO-BREAK SPACE}", " ")
    places = [text.index(sentence) for sentence in results.verdict.sentences]
    assert places == sorted(places)
    assert places[-1] < text.rindex("Key numbers") < text.rindex("Architectures")
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
