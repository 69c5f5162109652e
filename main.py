"""Train a SuperNet of nine architectures once, train the nine on their own, and compare them."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

import supernet as sn
from supernet.datasets import ImageData


def mnist_supernet(seed: int) -> sn.Supernet:
    """Return the SuperNet, newly initialized: two blocks of 1 to 3 convolutions each."""
    return sn.Supernet(sn.build_mnist_net(seed=seed))


def main(
    new_net: Callable[[int], sn.Supernet], data: ImageData, recipe: sn.Recipe, out: Path
) -> None:
    """Run the experiment, and leave figures, table and page in `out`."""
    # All nine architectures at once: every step trains them all, in one shared pass.
    supernet = new_net(0)
    one_shot = sn.train(supernet, data, recipe)

    # Each of the nine on its own, from other initial weights.
    standalone = []
    for seed, arch in enumerate(supernet.space, start=1):
        plain = sn.extract(new_net(seed), arch)
        standalone.append(sn.train(sn.Supernet(plain), data, recipe))
        print(f"trained {arch.label} alone: {standalone[-1].training.validation[0]:.2%} right")

    results = sn.compare(supernet, data, [sn.SeedResults(0, one_shot, standalone)])
    sn.write_report(results, out)
    sn.print_results(results, Console())


if __name__ == "__main__":
    mnist = sn.load_mnist().limit(train=3000, validation=2000)
    recipe = sn.Recipe(epochs=3, batch_size=16, learning_rate=0.1)
    main(mnist_supernet, mnist, recipe, out=Path("runs/main"))
