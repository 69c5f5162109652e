"""The numbers of docs/rankings.md are those of the standard comparison."""

from pathlib import Path

from supernet.runs.folder import read_results

ROOT = Path(__file__).resolve().parents[2]
PAGE = " ".join((ROOT / "docs" / "rankings.md").read_text().split())
STANDARD = read_results(ROOT / "benchmarks" / "results" / "standard")


def test_what_it_can_tell() -> None:
    verdict = STANDARD.verdict
    assert verdict
    lowest, next_one, *_ = sorted(one.value for one in verdict.standalone)
    assert STANDARD.architectures[0].label == "(1, 1)"
    assert verdict.standalone[0].value == lowest
    assert f"is {100 * (next_one - lowest):.2f} points below the next one" in PAGE
    for seed in STANDARD.seeds:
        assert seed.supernet.validation[0] == min(seed.supernet.validation)
    regret = verdict.regret
    shown = f"lacks {100 * regret.value:.2f} points ({100 * regret.low:.2f} to"
    assert f"{verdict.picked}, {shown} {100 * regret.high:.2f})" in PAGE


def test_what_it_cannot_tell() -> None:
    verdict = STANDARD.verdict
    assert verdict
    assert verdict.ceiling_tau
    assert verdict.longer_gap
    near = sorted(one.value for one in verdict.standalone)[2:]
    assert f"Seven of the nine lie within {100 * (near[-1] - near[0]):.2f} points" in PAGE
    margin = 100 * 1.96 * (0.99 * 0.01 / 10_000) ** 0.5
    assert f"a 95 % interval of {margin:.1f} points to either side" in PAGE
    assert f"lies {-100 * verdict.mean_gap.value:.2f} points below" in PAGE
    assert f"and {100 * verdict.longer_gap.value:.2f} points above" in PAGE
    taus = f"its tau is {verdict.macs_tau.value:.2f}, the supernet's {verdict.tau.value:.2f}"
    assert f"{taus}; but that of counting layers is {verdict.baselines['layers'].value:.2f}" in PAGE
    assert f"*ceiling*, {verdict.ceiling_tau.value:.2f} here" in PAGE
