import io

from rich.console import Console

from supernet.report import conditions
from supernet.report.page import to_html
from supernet.report.terminal import show
from tests.report.samples import ATTACKS, attacked, sample_results


def test_a_long_name_does_not_fill_the_note_of_a_figure() -> None:
    results = attacked(ATTACKS["300 characters"])
    text = conditions.everything(results, "test", 10)
    assert max(map(len, text.split())) <= 61
    assert ATTACKS["300 characters"][:20] in text
    assert "MNIST: 10 test images" in conditions.everything(
        results.model_copy(update={"data": results.data.model_copy(update={"name": "MNIST"})}),
        "test",
        10,
    )


def test_what_a_reader_must_know_is_said_on_the_page_and_the_terminal() -> None:
    results = sample_results(seeds=2, epochs=1)
    assert conditions.caveats(results) == []
    first, second = results.seeds
    alone = [t.model_copy(update={"rollbacks": 1}) for t in second.standalone[:2]]
    changed = results.model_copy(
        update={
            "conditions": results.conditions.model_copy(
                update={"mismatches": ["epochs: 3 then, 4 now", "<b>"]}
            ),
            "seeds": [
                first.model_copy(
                    update={"supernet": first.supernet.model_copy(update={"skipped": 3})}
                ),
                second.model_copy(update={"standalone": [*alone, *second.standalone[2:]]}),
            ],
        }
    )
    mismatch, skipped, returned = conditions.caveats(changed)
    assert "epochs: 3 then, 4 now" in mismatch
    assert f"3 of the supernet of seed {first.seed}." in skipped
    assert f"2 of the standalone networks of seed {second.seed}." in returned
    page = to_html(changed, {})
    assert "epochs: 3 then, 4 now; &lt;b&gt;." in page
    assert skipped in page
    screen = Console(file=io.StringIO(), width=200)
    show(changed, screen)
    assert returned in screen.file.getvalue()  # type: ignore[attr-defined]
