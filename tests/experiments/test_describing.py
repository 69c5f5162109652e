"""What a network is, said before anything is trained."""

import functools

import pytest

from supernet.errors import NetworkError
from supernet.experiments import describing
from supernet.experiments.describing import Description, describe, summarize_zoo
from supernet.networks.named import ZOO, NetworkName


@functools.cache
def described(name: str) -> Description:
    return describe(NetworkName(name), batch=4)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", ZOO)
def test_every_space_of_the_zoo_is_described_within_80_columns(name: str) -> None:
    description = described(name)
    lines = list(description.lines())
    assert max(map(len, lines)) <= 80
    assert len(lines) < 70
    assert f"{description.space.size:,}" in lines[1]
    assert description.content()["architectures"] == description.space.size
    smallest, largest = description.extremes
    assert smallest.macs < largest.macs


def test_everything_is_shown_on_request() -> None:
    description = described("nasbench-201")
    short, long = (list(description.lines(everything=flag)) for flag in (False, True))
    assert any("more lines; --all shows them" in line for line in short)
    assert not any("--all" in line for line in long)
    assert len(long) > len(short)


@pytest.mark.parametrize(
    "names",
    [("mnist", "ofa-mobilenet"), pytest.param(tuple(ZOO), marks=pytest.mark.slow)],
    ids=["two", "all"],
)
def test_a_space_in_one_line(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "ZOO", {name: ZOO[name] for name in names})
    found = {summary.name: summary for summary in summarize_zoo()}
    assert list(found) == list(names)
    assert (found["mnist"].size, found["mnist"].macs) == (9, (34772288, 96187712))
    assert found["ofa-mobilenet"].size > 10**19


def test_samples_that_a_network_cannot_take_are_refused() -> None:
    with pytest.raises((NetworkError, ValueError), match="30x30"):
        describe(NetworkName("autoformer"), shape=(3, 30, 30))
