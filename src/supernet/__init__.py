"""One-shot neural architecture search with PyTorch.

Names are imported on first use, so that what needs no torch (reading results, `--help`) does not
wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supernet.batchnorm import calibrate as calibrate, recalibrate as recalibrate
    from supernet.checkpoints import Checkpoints as Checkpoints
    from supernet.choices import ChoiceModule as ChoiceModule, Depth as Depth, OneOf as OneOf
    from supernet.comparison import Seed as Seed, compare as compare
    from supernet.conversion import make_elastic as make_elastic
    from supernet.cost import (
        count_macs as count_macs,
        count_params as count_params,
        count_shared_macs as count_shared_macs,
    )
    from supernet.datasets import (
        load_folder as load_folder,
        load_idx as load_idx,
        load_mnist as load_mnist,
        wrap_datasets as wrap_datasets,
    )
    from supernet.elastic import (
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
    from supernet.errors import SharingWarning as SharingWarning, SupernetError as SupernetError
    from supernet.evaluation import (
        evaluate as evaluate,
        find_best as find_best,
        score as score,
        score_network as score_network,
    )
    from supernet.recipe import Recipe as Recipe
    from supernet.report import print_results as print_results, write_report as write_report
    from supernet.samplers import (
        Draw as Draw,
        Fair as Fair,
        Phases as Phases,
        Sandwich as Sandwich,
        Shrinking as Shrinking,
        Split as Split,
        Weighted as Weighted,
        WithLargest as WithLargest,
        every as every,
        make_sampler as make_sampler,
        make_subtree as make_subtree,
        uniform as uniform,
        uniform_options as uniform_options,
        warm_up as warm_up,
    )
    from supernet.sharing import plan as plan
    from supernet.space import (
        Architecture as Architecture,
        Choice as Choice,
        Condition as Condition,
        SearchSpace as SearchSpace,
    )
    from supernet.subnet import extract as extract
    from supernet.supernet import Supernet as Supernet
    from supernet.testing import ChoiceModuleContract as ChoiceModuleContract
    from supernet.training import train_steps as train_steps
    from supernet.trials import train as train
    from supernet.zoo import (
        build_autoformer_net as build_autoformer_net,
        build_mnist_net as build_mnist_net,
        build_nasbench201_net as build_nasbench201_net,
        build_nasbench_macro_net as build_nasbench_macro_net,
        build_ofa_mobilenet as build_ofa_mobilenet,
        build_ofa_resnet as build_ofa_resnet,
        build_operations_net as build_operations_net,
        build_residual_net as build_residual_net,
    )

_HOME = {
    "Architecture": "space",
    "Checkpoints": "checkpoints",
    "Choice": "space",
    "ChoiceModule": "choices",
    "ChoiceModuleContract": "testing",
    "Condition": "space",
    "Depth": "choices",
    "Draw": "samplers",
    "ElasticAttention": "elastic",
    "ElasticBatchNorm": "elastic",
    "ElasticConv2d": "elastic",
    "ElasticLayerNorm": "elastic",
    "ElasticLinear": "elastic",
    "Fair": "samplers",
    "InvertedResidual": "elastic",
    "OneOf": "choices",
    "Phases": "samplers",
    "Recipe": "recipe",
    "Residual": "elastic",
    "Resolution": "elastic",
    "Sandwich": "samplers",
    "SearchSpace": "space",
    "Seed": "comparison",
    "SharingWarning": "errors",
    "Shrinking": "samplers",
    "Size": "elastic",
    "Split": "samplers",
    "SqueezeExcitation": "elastic",
    "Supernet": "supernet",
    "SupernetError": "errors",
    "Weighted": "samplers",
    "WithLargest": "samplers",
    "Zero": "elastic",
    "build_autoformer_net": "zoo",
    "build_mnist_net": "zoo",
    "build_nasbench201_net": "zoo",
    "build_nasbench_macro_net": "zoo",
    "build_ofa_mobilenet": "zoo",
    "build_ofa_resnet": "zoo",
    "build_operations_net": "zoo",
    "build_residual_net": "zoo",
    "calibrate": "batchnorm",
    "compare": "comparison",
    "count_macs": "cost",
    "count_params": "cost",
    "count_shared_macs": "cost",
    "evaluate": "evaluation",
    "every": "samplers",
    "extract": "subnet",
    "find_best": "evaluation",
    "load_folder": "datasets",
    "load_idx": "datasets",
    "load_mnist": "datasets",
    "make_elastic": "conversion",
    "make_sampler": "samplers",
    "make_subtree": "samplers",
    "plan": "sharing",
    "print_results": "report",
    "recalibrate": "batchnorm",
    "score": "evaluation",
    "score_network": "evaluation",
    "train": "trials",
    "train_steps": "training",
    "uniform": "samplers",
    "uniform_options": "samplers",
    "warm_up": "samplers",
    "wrap_datasets": "datasets",
    "write_report": "report",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("supernet")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
