"""One-shot neural architecture search with PyTorch.

Names are imported on first use, so that what needs no torch (reading results, `--help`) does not
wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supernet.datasets import (
        load_folder as load_folder,
        load_idx as load_idx,
        load_mnist as load_mnist,
        wrap_datasets as wrap_datasets,
    )
    from supernet.errors import SharingWarning as SharingWarning, SupernetError as SupernetError
    from supernet.evaluation.accuracy import (
        Scores as Scores,
        evaluate as evaluate,
        find_best as find_best,
        score as score,
        score_network as score_network,
    )
    from supernet.evaluation.batchnorm import calibrate as calibrate, recalibrate as recalibrate
    from supernet.evaluation.cost import (
        count_macs as count_macs,
        count_params as count_params,
        count_shared_macs as count_shared_macs,
        plan_costs as plan_costs,
    )
    from supernet.evaluation.extraction import extract as extract
    from supernet.evaluation.latency import (
        LatencyTable as LatencyTable,
        load_latency as load_latency,
        measure_latency as measure_latency,
    )
    from supernet.evaluation.naswot import naswot as naswot
    from supernet.evaluation.searching import search as search
    from supernet.experiments.comparison import SeedResults as SeedResults, compare as compare
    from supernet.experiments.loading import LoadedRun as LoadedRun, load_run as load_run
    from supernet.export.card import Facts as Facts
    from supernet.export.model_folder import load as load, save as save
    from supernet.export.onnx import export_onnx as export_onnx
    from supernet.export.prediction import predict as predict
    from supernet.export.quantization import export_int8 as export_int8
    from supernet.export.torch_export import export_program as export_program
    from supernet.networks.conversion import make_elastic as make_elastic
    from supernet.networks.zoo import (
        build_autoformer_net as build_autoformer_net,
        build_mnist_net as build_mnist_net,
        build_nasbench201_net as build_nasbench201_net,
        build_nasbench_macro_net as build_nasbench_macro_net,
        build_ofa_mobilenet as build_ofa_mobilenet,
        build_ofa_resnet as build_ofa_resnet,
        build_operations_net as build_operations_net,
        build_residual_net as build_residual_net,
    )
    from supernet.nn.choices import (
        ChoiceChain as ChoiceChain,
        ChoiceModule as ChoiceModule,
        Depth as Depth,
        OneOf as OneOf,
    )
    from supernet.nn.elastic import (
        ElasticAttention as ElasticAttention,
        ElasticBatchNorm as ElasticBatchNorm,
        ElasticConv2d as ElasticConv2d,
        ElasticLayerNorm as ElasticLayerNorm,
        ElasticLinear as ElasticLinear,
        InvertedResidual as InvertedResidual,
        Residual as Residual,
        Resolution as Resolution,
        Size as Size,
        SqueezeExcitation as SqueezeExcitation,
        Zero as Zero,
    )
    from supernet.nn.supernet import Supernet as Supernet
    from supernet.records import Measure as Measure
    from supernet.report import print_results as print_results, write_report as write_report
    from supernet.runs.checkpoints import Checkpoints as Checkpoints
    from supernet.runs.ranks import Ranks as Ranks, join_ranks as join_ranks
    from supernet.sharing import plan as plan
    from supernet.space import (
        Architecture as Architecture,
        Choice as Choice,
        Condition as Condition,
        SearchSpace as SearchSpace,
    )
    from supernet.strategies import (
        Evaluation as Evaluation,
        Limit as Limit,
        Objective as Objective,
        Strategy as Strategy,
        parse_limits as parse_limits,
        select_best as select_best,
        select_front as select_front,
    )
    from supernet.tasks import (
        Classification as Classification,
        Dense as Dense,
        MultiLabel as MultiLabel,
        NextToken as NextToken,
        Regression as Regression,
        Task as Task,
        make_task as make_task,
    )
    from supernet.testing import (
        ChoiceModuleContract as ChoiceModuleContract,
        StrategyContract as StrategyContract,
    )
    from supernet.training.fewshot import (
        Division as Division,
        FewShot as FewShot,
        find_division as find_division,
        train_few_shot as train_few_shot,
    )
    from supernet.training.finetuning import finetune as finetune
    from supernet.training.recipe import Recipe as Recipe
    from supernet.training.result import TrainingResult as TrainingResult
    from supernet.training.samplers import (
        Draw as Draw,
        Fair as Fair,
        Favoring as Favoring,
        Ordering as Ordering,
        Pacing as Pacing,
        Phases as Phases,
        Power as Power,
        Sandwich as Sandwich,
        Shrinking as Shrinking,
        Split as Split,
        Weighted as Weighted,
        WithLargest as WithLargest,
        every as every,
        make_sampler as make_sampler,
        make_size as make_size,
        make_subtree as make_subtree,
        uniform as uniform,
        uniform_options as uniform_options,
        warm_up as warm_up,
    )
    from supernet.training.session import TrainingSession as TrainingSession, train as train
    from supernet.training.steps import train_steps as train_steps

_HOME = {
    "Architecture": "space",
    "Checkpoints": "runs.checkpoints",
    "Choice": "space",
    "ChoiceChain": "nn.choices",
    "ChoiceModule": "nn.choices",
    "ChoiceModuleContract": "testing",
    "Classification": "tasks",
    "Condition": "space",
    "Dense": "tasks",
    "Depth": "nn.choices",
    "Division": "training.fewshot",
    "Draw": "training.samplers",
    "ElasticAttention": "nn.elastic",
    "ElasticBatchNorm": "nn.elastic",
    "ElasticConv2d": "nn.elastic",
    "ElasticLayerNorm": "nn.elastic",
    "ElasticLinear": "nn.elastic",
    "Evaluation": "strategies",
    "Facts": "export.card",
    "Fair": "training.samplers",
    "Favoring": "training.samplers",
    "FewShot": "training.fewshot",
    "InvertedResidual": "nn.elastic",
    "LatencyTable": "evaluation.latency",
    "Limit": "strategies",
    "LoadedRun": "experiments.loading",
    "Measure": "records",
    "MultiLabel": "tasks",
    "NextToken": "tasks",
    "Objective": "strategies",
    "OneOf": "nn.choices",
    "Ordering": "training.samplers",
    "Pacing": "training.samplers",
    "Phases": "training.samplers",
    "Ranks": "runs.ranks",
    "Power": "training.samplers",
    "Recipe": "training.recipe",
    "Regression": "tasks",
    "Residual": "nn.elastic",
    "Resolution": "nn.elastic",
    "Sandwich": "training.samplers",
    "Scores": "evaluation.accuracy",
    "SearchSpace": "space",
    "SeedResults": "experiments.comparison",
    "SharingWarning": "errors",
    "Shrinking": "training.samplers",
    "Size": "nn.elastic",
    "Split": "training.samplers",
    "SqueezeExcitation": "nn.elastic",
    "Strategy": "strategies",
    "StrategyContract": "testing",
    "Supernet": "nn.supernet",
    "SupernetError": "errors",
    "Task": "tasks",
    "TrainingResult": "training.result",
    "TrainingSession": "training.session",
    "Weighted": "training.samplers",
    "WithLargest": "training.samplers",
    "Zero": "nn.elastic",
    "build_autoformer_net": "networks.zoo",
    "build_mnist_net": "networks.zoo",
    "build_nasbench201_net": "networks.zoo",
    "build_nasbench_macro_net": "networks.zoo",
    "build_ofa_mobilenet": "networks.zoo",
    "build_ofa_resnet": "networks.zoo",
    "build_operations_net": "networks.zoo",
    "build_residual_net": "networks.zoo",
    "calibrate": "evaluation.batchnorm",
    "compare": "experiments.comparison",
    "count_macs": "evaluation.cost",
    "count_params": "evaluation.cost",
    "count_shared_macs": "evaluation.cost",
    "evaluate": "evaluation.accuracy",
    "every": "training.samplers",
    "export_int8": "export.quantization",
    "export_onnx": "export.onnx",
    "export_program": "export.torch_export",
    "extract": "evaluation.extraction",
    "find_best": "evaluation.accuracy",
    "find_division": "training.fewshot",
    "finetune": "training.finetuning",
    "join_ranks": "runs.ranks",
    "load": "export.model_folder",
    "load_folder": "datasets",
    "load_idx": "datasets",
    "load_latency": "evaluation.latency",
    "load_mnist": "datasets",
    "load_run": "experiments.loading",
    "make_elastic": "networks.conversion",
    "make_sampler": "training.samplers",
    "make_size": "training.samplers",
    "make_subtree": "training.samplers",
    "make_task": "tasks",
    "measure_latency": "evaluation.latency",
    "naswot": "evaluation.naswot",
    "parse_limits": "strategies",
    "plan": "sharing",
    "plan_costs": "evaluation.cost",
    "predict": "export.prediction",
    "print_results": "report",
    "recalibrate": "evaluation.batchnorm",
    "save": "export.model_folder",
    "score": "evaluation.accuracy",
    "score_network": "evaluation.accuracy",
    "search": "evaluation.searching",
    "select_best": "strategies",
    "select_front": "strategies",
    "train": "training.session",
    "train_few_shot": "training.fewshot",
    "train_steps": "training.steps",
    "uniform": "training.samplers",
    "uniform_options": "training.samplers",
    "warm_up": "training.samplers",
    "wrap_datasets": "datasets",
    "write_report": "report",
}

#: Names that were given up, and the ones to use.
_RENAMED = {"Seed": "SeedResults"}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from supernet.runs.environment import version_of

        return version_of("supernet")
    if name in _RENAMED:
        import warnings

        message = f"supernet.{name} is now called supernet.{_RENAMED[name]}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        name = _RENAMED[name]
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
