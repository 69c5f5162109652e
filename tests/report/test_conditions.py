from supernet.report import conditions
from tests.report.samples import ATTACKS, attacked


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
