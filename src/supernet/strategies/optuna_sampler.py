"""Optuna's samplers as strategies. Needs the extra `optuna`.

Optuna's studies, storages and dashboard see every evaluation as a trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np

from supernet.errors import SettingsError
from supernet.space import Architecture
from supernet.strategies.problem import Evaluation, Problem
from supernet.strategies.strategy import Archive, Strategy

if TYPE_CHECKING:
    import optuna

#: How often Optuna is asked for one architecture before one is drawn at random.
_TRIES = 20


@final
class OptunaStrategy(Strategy):
    """Asks a sampler of Optuna's, one architecture at a time.

    Each trial gets a sampler of its own, made from the seed and the trial's number, so that a
    search resumed from its evaluations asks for what the uninterrupted one would have asked. What
    the sampler proposes against a limit, or again, is a failed trial at once, and isn't evaluated.

    Example:
        OptunaStrategy(problem, 0, lambda seed: optuna.samplers.TPESampler(seed=seed))

    Args:
        problem: What is searched for.
        seed: Of all luck.
        make_sampler: Makes a sampler from a seed; by default Optuna's own for the number of
            objectives.
        study: The study to add trials to, such as one with a storage; by default a new one in
            memory. It must be new, and have the directions of the objectives.

    Raises:
        SettingsError: If Optuna isn't installed, or the study is not a new one that fits.
    """

    def __init__(
        self,
        problem: Problem,
        seed: int = 0,
        make_sampler: Callable[[int], optuna.samplers.BaseSampler] | None = None,
        study: optuna.study.Study | None = None,
    ) -> None:
        self._optuna = _import_optuna()
        self._archive, self._seed = Archive(problem, seed), seed
        self._make_sampler = make_sampler or self._usual_sampler
        directions = [f"{one.direction}imize" for one in problem.objectives]
        self._study = study or self._optuna.create_study(
            directions=directions, sampler=self._sampler(0)
        )
        found = [direction.name.lower() for direction in self._study.directions]
        if found != directions or self._study.trials:
            raise SettingsError(
                f"the study has the directions {found} and {len(self._study.trials)} trials; a "
                f"search needs a new one with {directions}"
            )
        self._open: dict[Architecture, Any] = {}

    def ask(self, count: int) -> list[Architecture]:
        archive = self._archive
        found: list[Architecture] = []
        if (every := archive.problem.listed) is not None:  # raises where there is nothing
            count = min(count, int((~archive.is_seen(every)).sum()))
        while len(found) < count:
            arch = self._proposed()
            if arch is None:
                rest = archive.problem.encoded.decode(archive.fresh(count - len(found)))
                return [*found, *rest]
            found.append(arch)
        return found

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        problem = self._archive.problem
        self._archive.add(evaluations)
        for evaluation in evaluations:
            values = [evaluation.values.get(o.name, np.nan) for o in problem.objectives]
            failed = evaluation.error is not None or not np.isfinite(values).all()
            trial = self._open.pop(evaluation.arch, None)
            if trial is not None:
                state = self._optuna.trial.TrialState
                self._study.tell(
                    trial,
                    None if failed else values,
                    state=state.FAIL if failed else state.COMPLETE,
                )
            elif not failed:
                self._study.add_trial(self._as_trial(evaluation.arch, values))

    def _proposed(self) -> Architecture | None:
        """Return the sampler's next architecture that is new and meets the limits."""
        problem = self._archive.problem
        for _ in range(_TRIES):
            self._study.sampler = self._sampler(len(self._study.trials))
            trial = self._study.ask()
            arch = self._suggested(trial)
            row = problem.encoded.encode([arch])
            if problem.permits(row)[0] and len(self._archive.unseen(row)):
                self._open[arch] = trial
                return arch
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        return None

    def _suggested(self, trial: Any) -> Architecture:
        """Let a trial decide every choice that counts, in their order."""
        encoded = self._archive.problem.encoded
        row = np.zeros((1, len(encoded)), np.int16)
        for place, choice in enumerate(encoded.space.choices):
            if encoded.active(row)[0, place]:
                number = trial.suggest_categorical(choice.name, encoded.allowed[place].tolist())
                row[0, place] = number
        return encoded.decode(row)[0]

    def _as_trial(self, arch: Architecture, values: Sequence[float]) -> Any:
        encoded = self._archive.problem.encoded
        row = encoded.encode([arch])
        active = encoded.active(row)[0]
        params, distributions = {}, {}
        for place, choice in enumerate(encoded.space.choices):
            options = encoded.allowed[place].tolist()
            if active[place] and int(row[0, place]) in options:
                params[choice.name] = int(row[0, place])
                distributions[choice.name] = self._optuna.distributions.CategoricalDistribution(
                    options
                )
        return self._optuna.trial.create_trial(
            params=params, distributions=distributions, values=list(values)
        )

    def _sampler(self, trial: int) -> optuna.samplers.BaseSampler:
        seed = np.random.SeedSequence((self._seed, trial)).generate_state(1)[0]
        return self._make_sampler(int(seed))

    def _usual_sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        several, samplers = len(self._archive.problem.objectives) > 1, self._optuna.samplers
        sampler: optuna.samplers.BaseSampler = (
            samplers.NSGAIISampler(population_size=32, seed=seed)
            if several
            else samplers.TPESampler(seed=seed)
        )
        return sampler


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise SettingsError(
            'this strategy needs Optuna, which isn\'t installed: pip install "supernet[optuna]"'
        ) from error
    return optuna
