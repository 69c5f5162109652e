"""Search strategies, limits and fronts. No torch."""

from supernet.strategies.constraints import Limit as Limit, parse_limits as parse_limits
from supernet.strategies.costs import Parts as Parts, TableCost as TableCost
from supernet.strategies.evolution import (
    Nsga2 as Nsga2,
    RegularizedEvolution as RegularizedEvolution,
)
from supernet.strategies.guided import GuidedNsga2 as GuidedNsga2
from supernet.strategies.loop import (
    STRATEGIES as STRATEGIES,
    make_strategy as make_strategy,
    search_space as search_space,
    select_best as select_best,
    select_front as select_front,
)
from supernet.strategies.pareto import hypervolume as hypervolume
from supernet.strategies.problem import (
    Evaluation as Evaluation,
    Failed as Failed,
    Objective as Objective,
    Problem as Problem,
)
from supernet.strategies.simple import Exhaustive as Exhaustive, RandomSearch as RandomSearch
from supernet.strategies.strategy import Strategy as Strategy
