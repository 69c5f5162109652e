"""Suggestions after a run, in sentences and commands."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.records import Ranking, Results
from supernet.report.summary import compared
from supernet.report.wording import untrained


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do: why, and the command or call that does it, if there is one."""

    text: str
    command: str = ""


def _more_samples(ranking: Ranking, command: str) -> str:
    """Return the command with as many samples as are enough, if that is known and are more."""
    enough = ranking.enough_samples or 0
    return f"{command} --validation-images {enough}" if enough > ranking.samples else ""


def next_steps(results: Results) -> list[Step]:
    """Return what is worth doing next, what matters most first."""
    verdict, ranking = results.verdict, results.ranking
    steps = []
    if verdict and verdict.undertrained:
        steps.append(Step("Train the supernet longer: its scores are too low to rank by."))
    elif verdict and verdict.baseline and verdict.advantage and verdict.advantage.low <= 0:
        steps.append(
            Step(
                f"Ranking by {untrained(verdict.baseline)} needs no training and can't be told "
                "from this one: train the supernet longer, or give it another sampler, before "
                "searching with it."
            )
        )
    if ranking and ranking.drift_tau is not None and ranking.drift_tau < ranking.scoring_tau:
        steps.append(Step("Train for more epochs: the ranking still moves from epoch to epoch."))
    elif ranking and ranking.scoring_tau < 0.9:
        steps.append(
            Step(
                "Score on more validation samples: the ranking depends on which they are.",
                _more_samples(ranking, results.conditions.command),
            )
        )
    if compared(results) and len(results.seeds) == 1:
        steps.append(
            Step("Repeat with other seeds: one seed can't tell how far training itself varies.",
                 f"{results.conditions.command} --seeds 3")
        )  # fmt: skip
    if len(results.architectures) > 1 and not (verdict and verdict.undertrained):
        steps.append(
            Step("Take the pick out as a plain network; RUN is the folder of this page.",
                 "supernet extract RUN --best")
        )  # fmt: skip
    if (corrected := results.corrected) and corrected.taus["corrected"] > max(
        corrected.taus["one_shot"], corrected.taus["choices"]
    ):
        steps.append(
            Step("Search with what the networks trained alone tell, which ranks better here.",
                 "supernet search RUN --objective corrected --objective macs")
        )  # fmt: skip
    if not compared(results):
        steps.append(
            Step("See whether the ranking can be trusted: train some networks alone.",
                 "supernet compare")
        )  # fmt: skip
    return steps
