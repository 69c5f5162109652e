import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from supernet.records import Results, Stage
from supernet.report.cleaning import cleaned
from supernet.report.figures.canvas import drawable, render, styled, text_width, wrapped
from supernet.report.figures.collection import FIGURES, available
from supernet.report.figures.curves import looks
from supernet.report.figures.drawing import exits, runs
from tests.report.samples import ATTACKS, attacked, sample_results, with_failures

LONG = "a-net-with-a-very-long-name-{}-and-more"
CASES = {
    "one epoch": sample_results(seeds=1, epochs=1),
    "three seeds": sample_results(seeds=3, epochs=3, longer=True),
    "tight": sample_results(seeds=1, epochs=20, spread=0.1),
    "no standalone": sample_results(epochs=2, standalone=False),
    "one architecture": sample_results(depths=(1,)),
    "one block": sample_results(depths=(5,)),
    "27": sample_results(depths=(3, 3, 3)),
    "125, six epochs": sample_results(depths=(5, 5, 5), epochs=6),
    "100": sample_results(depths=(10, 10), epochs=1),
    "long names": sample_results(depths=(4, 4), spread=0.1, label=LONG),
    "failures": with_failures(
        sample_results(seeds=2, epochs=5, longer=True), one_shot=[8], test=[1], alone=[4]
    ),
    "all but one failed": with_failures(
        sample_results(epochs=1), one_shot=range(1, 9), alone=range(1, 9)
    ),
    "nothing to compare": with_failures(sample_results(epochs=6), test=range(9)),
    "no verdict, failed": with_failures(
        sample_results(epochs=6, standalone=False), one_shot=range(3, 9)
    ),
    **{
        name: cleaned(attacked(ATTACKS[name]), drawable)
        for name in ("300 characters", "300 words", "other letters", "tab and lines", "math")
    },
    "math and markup": sample_results(epochs=1, label="$x_{{[{}]}}$ <b>&amp;"),
}


@contextmanager
def drawn_texts(figure: Figure) -> Iterator[list[tuple[str, Bbox]]]:
    """Draw the figure and give what was written, and where."""
    found: dict[int, tuple[str, Bbox]] = {}
    original = Text.draw

    def draw(self: Text, renderer: Any, *args: Any, **kwargs: Any) -> None:
        original(self, renderer, *args, **kwargs)
        if self.get_visible() and self.get_text().strip():
            found[id(self)] = self.get_text(), Text.get_window_extent(self, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", draw)
        figure.canvas.draw()
    yield list(found.values())


def overlap(a: Bbox, b: Bbox) -> float:
    """Return by how many pixels two boxes overlap, in the direction where it is less."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(min(width, height))


@pytest.mark.sampled(9)
@pytest.mark.parametrize("case", CASES)
def test_no_text_covers_another_or_is_cut(case: str) -> None:
    with styled():
        for name in available(CASES[case]):
            figure = FIGURES[name](CASES[case])
            page = figure.bbox
            with drawn_texts(figure) as texts:
                assert texts
            for (a, box), (b, other) in itertools.combinations(texts, 2):
                assert overlap(box, other) <= 1.5, (name, a, b)
            for text, box in texts:
                inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.x1 and box.y1 <= page.y1
                assert inside, (name, text, box)


def test_numbers_that_are_none_are_survived() -> None:
    good = sample_results(epochs=2)
    record = good.model_dump()
    broken = record["seeds"][0]
    broken["supernet"]["test"][0] = broken["supernet"]["validation"][0] = math.nan
    broken["supernet"]["epochs"][-1]["validation"] = [math.nan] * 9
    for estimate in (record["verdict"]["one_shot"][0], record["verdict"]["tau"]):
        estimate.update(value=math.nan, low=math.nan, high=math.nan)
    record["verdict"]["cost_ratio"] = math.nan
    results = Results.model_validate(record)
    with styled():
        for name in available(results):
            FIGURES[name](results).canvas.draw()


@pytest.mark.parametrize("case", ["failures", "no verdict, failed"])
def test_what_failed_is_said_and_no_figure_says_nan(case: str) -> None:
    with styled():
        for name in available(CASES[case]):
            with drawn_texts(FIGURES[name](CASES[case])) as texts:
                words = " ".join(text for text, _ in texts).lower()
            assert "nan" not in words.split()
            if name == "one_shot_progress":
                assert "failed: an output was not a finite number" in " ".join(words.split())
                assert words.split().count("failed") >= 1
            if name == "agreement":
                assert "(none, or failed)" in " ".join(words.split())


@pytest.mark.parametrize(("by", "what"), [("loss", "loss"), ("score", "accuracy")])
def test_the_figure_of_agreement_says_what_tau_compares(by: str, what: str) -> None:
    results = sample_results()
    assert results.verdict
    ranked = results.verdict.model_copy(update={"ranked_by": by})
    with styled():
        figure = FIGURES["agreement"](results.model_copy(update={"verdict": ranked}))
    with drawn_texts(figure) as texts:
        written = " ".join(" ".join(text.split()) for text, _ in texts)
    assert f"Tau compares one-shot validation {what} on" in written


def test_a_ring_that_is_not_drawn_is_not_explained() -> None:
    results = with_failures(sample_results(), test=[0])
    assert results.verdict
    assert results.verdict.picked == results.architectures[0].label
    with styled(), drawn_texts(FIGURES["agreement"](results)) as texts:
        assert "picked by one-shot" not in {text for text, _ in texts}


@pytest.mark.parametrize("word", ["W" * 300, "a " + "i" * 299, "one two " * 40, "\u4e00" * 300])
def test_a_word_that_is_too_long_for_a_line_is_broken(word: str) -> None:
    with styled():
        text = wrapped(drawable(word), 5.0, 7.5)
        assert all(text_width(line, 7.5) <= 5.0 for line in text.split("\n"))
        assert text.replace("\n", "").replace(" ", "") == drawable(word).replace(" ", "")


def test_ids_of_two_figures_differ() -> None:
    results = CASES["no standalone"]
    with styled():
        a, b = (render(FIGURES["cost"](results), name)["svg"].decode() for name in "ab")
    assert a != b


def test_svg_loads_nothing() -> None:
    with styled():
        svg = render(FIGURES["cost"](CASES["no standalone"]), "cost")["svg"].decode()
    links = [part.split('"')[0] for part in svg.split("http")[1:]]
    assert all(link.startswith("://www.w3.org/") for link in links)


def test_two_choices_look_different_in_color_and_in_line() -> None:
    results = CASES["one epoch"]
    look = looks(results)
    assert len({(one.color, one.line, one.marker) for one in look}) == 9
    for arch, mine in zip(results.architectures, look, strict=True):
        for other, theirs in zip(results.architectures, look, strict=True):
            same = [arch.options[c.name] == other.options[c.name] for c in results.network.choices]
            assert same == [mine.color == theirs.color, mine.line == theirs.line]


def test_every_look_of_27_is_its_own() -> None:
    assert len(set(looks(CASES["27"]))) == 27


def test_exits_and_strips_follow_the_choices() -> None:
    results = CASES["one block"]
    stages = results.network.stages
    assert [exits(results, s) for s in stages if s.kind == "depth"] == [[1, 2, 3, 4, 5]]
    for arch in results.architectures:
        assert [runs(arch, s) for s in stages] == [1, arch.options["block1.depth"], 2]


def test_a_block_that_may_be_skipped_is_drawn() -> None:
    record = CASES["one block"].model_dump()
    record["network"]["choices"][0]["options"] = [0, 1, 5]
    record["architectures"][0]["options"]["block1.depth"] = 0
    results = Results.model_validate(record)
    assert exits(results, results.network.stages[1]) == [0, 1, 5]
    with styled():
        figure = FIGURES["supernet"](results)
        with drawn_texts(figure) as texts:
            assert {"0", "1", "5"} <= {text for text, _ in texts}


def test_a_depth_without_a_choice_may_be_left_from_its_shortest_on() -> None:
    stage = Stage(kind="depth", name="unknown", blocks=["a", "b", "c"], shortest=2)
    assert exits(CASES["one block"], stage) == [2, 3]


def test_more_architectures_than_fit_are_counted() -> None:
    with styled(), drawn_texts(FIGURES["supernet"](CASES["27"])) as texts:
        assert any(text == "and 2\nmore" for text, _ in texts)


def test_text_width_is_that_of_the_drawing() -> None:
    with styled():
        figure = Figure(dpi=200)
        words = "conv 3x3, 64 to 64"
        text = figure.text(0, 0, words, size=8)
        assert text_width(words, 8) == pytest.approx(text.get_window_extent().width / 200, rel=0.06)
