"""Train a SuperNet of nine architectures once, train the nine on their own, and compare them."""

from pathlib import Path

from rich.console import Console

import supernet as sn


def network(seed: int) -> sn.Supernet:
    """Return the SuperNet, newly initialised: two blocks of 1 to 3 convolutions each."""
    return sn.Supernet(sn.build_mnist_net(seed=seed))


def main(
    images: int = 3000, validation: int = 2000, epochs: int = 3, out: str = "runs/main"
) -> None:
    """Run the experiment and leave figures, table and page in `out`."""
    data = sn.load_mnist().limit(train=images, validation=validation)
    recipe = sn.Recipe(epochs=epochs, batch_size=32, learning_rate=0.2)

    # All nine architectures at once: every step trains them all, in one shared pass.
    supernet = network(seed=0)
    one_shot = sn.train(supernet, data, recipe)

    # Each of the nine on its own, from other initial weights.
    standalone = []
    for seed, arch in enumerate(supernet.space, start=1):
        plain = sn.extract(network(seed), arch)
        standalone.append(sn.train(sn.Supernet(plain), data, recipe))
        print(f"trained {arch.label} alone: {standalone[-1].training.validation[0]:.2%} right")

    results = sn.compare(supernet, data, [sn.Seed(0, one_shot, standalone)])
    sn.write_report(results, Path(out))
    sn.print_results(results, Console())


if __name__ == "__main__":
    main()
