import io
import math
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, strategies as st
from rich.console import Console

from supernet.report import print_results, write_report
from supernet.report.cleaning import cleaned
from supernet.report.csvfile import to_csv
from supernet.report.page import to_html
from supernet.text import visible
from tests.report.samples import ATTACKS, attacked, sample_results, with_failures
from tests.report.test_csvfile import read
from tests.report.test_page import check

each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)


@each_attack
def test_a_name_does_not_escape_the_page(attack: str) -> None:
    images = {"supernet": b"<svg/>", "agreement": b"<svg/>"}
    page = to_html(attacked(attack), images)
    own, plain = check(page), check(to_html(attacked("harmless"), images))
    assert own.tags == plain.tags
    assert own.ids == plain.ids
    assert own.links == plain.links
    assert "".join(own.text).count(visible(attack)) >= 10
    assert all(visible(character) == character for character in page.replace("\n", ""))


def test_a_name_does_not_escape_the_folder_or_a_figure(tmp_path: Path) -> None:
    names = ("way out", "absolute", "comment", "zero", "escape codes", "math", "no letters")
    run = tmp_path / "a" / "run"
    written = write_report(attacked("/".join(ATTACKS[name] for name in names)), run)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)
    assert len(written) == 12
    for svg in run.rglob("*.svg"):
        assert "script" not in {
            element.tag.split("}")[-1]
            for element in ElementTree.fromstring(svg.read_bytes()).iter()
        }


@each_attack
def test_no_cell_of_the_table_is_a_formula(attack: str) -> None:
    text = to_csv(attacked(attack))
    assert len(text.splitlines()) == 5
    for line in read(text):
        for cell in (*line, line["label"]):
            assert unicodedata.normalize("NFKC", cell).strip()[:1] not in set("=+-@")
            assert cell.isprintable()


@each_attack
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_name_steers_the_terminal(attack: str, encoding: str) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="")
    print_results(attacked(attack), Console(file=file, width=80))
    file.flush()
    lines = raw.getvalue().decode(encoding).split("\n")
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= 80


@given(st.text(st.characters(exclude_categories=[])))
def test_what_is_visible_has_no_hidden_characters_and_stays(text: str) -> None:
    shown = visible(text)
    hidden = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
    assert not hidden & {unicodedata.category(character) for character in shown}
    assert visible(shown) == shown
    assert shown.encode("utf-8").decode("utf-8") == shown
    if not hidden & {unicodedata.category(character) for character in text}:
        assert shown == text


def test_what_is_clean_is_left_alone_and_what_is_cleaned_keeps_its_numbers() -> None:
    results = with_failures(sample_results(seeds=2, longer=True), one_shot=[0])
    assert cleaned(results) is results
    changed = results.model_copy(update={"settings": {"a\0": 1, "b": True, "c": 1.0, "d": [1]}})
    again = cleaned(changed)
    assert repr(again.settings) == repr({"a\\x00": 1, "b": True, "c": 1.0, "d": [1]})
    assert repr(again.model_copy(update={"settings": {}})) == repr(
        results.model_copy(update={"settings": {}})
    )
    assert math.isnan(again.seeds[-1].supernet.test[0])
