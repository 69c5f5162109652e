"""Tests of the contract of choice modules, for your own ones.

It needs no test framework; pytest finds and runs it where it is subclassed.
"""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from supernet import sharing
from supernet.errors import NoArchitectureError, SpaceError
from supernet.evaluation.batchnorm import calibrate, recalibrate
from supernet.evaluation.cost import count_macs, count_params, count_shared_macs
from supernet.nn.choices import ChoiceModule
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from supernet.strategies.contract import StrategyContract as StrategyContract


class ChoiceModuleContract:
    """Tests of a network with choice modules; subclass it and say which.

    Every network whose choice modules keep this contract can be trained, scored, planned and
    extracted by everything in this package. The claims hold bit for bit, except where they say
    something else. A broken one is an `AssertionError`.

        class TestGatedLinear(ChoiceModuleContract):
            def build(self) -> nn.Module:
                return GatedLinear(4, Choice("width", (2, 3)))

            def example(self) -> Tensor:
                return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    """

    #: How many architectures are tried at most, the smallest and the largest among them.
    most = 32

    def build(self) -> nn.Module:
        """Return a new network that holds the choice modules to be tested."""
        raise NotImplementedError(f"{type(self).__name__} must say what to test: define `build`")

    def example(self) -> Tensor:
        """Return a batch for it, the same each time; of at least two samples."""
        raise NotImplementedError(f"{type(self).__name__} must define `example`, a batch to run")

    def params(self, arch: Architecture) -> int | None:
        """Return how many parameters `arch` has, by a formula; None if there is none."""
        return None

    def macs(self, arch: Architecture) -> int | None:
        """Return how many multiply-adds one sample takes, by a formula; None if there is none."""
        return None

    def reached(self, arch: Architecture) -> int | None:
        """Return how many numbers of the supernet may get a gradient if `arch` is trained.

        None: as many as `arch` has parameters. More, if what it uses is computed from others; that
        is work of the supernet, which plans count too, and extracted networks are spared.
        """
        return None

    # -- the claims -------------------------------------------------------------------------------

    def test_extracted_computes_the_same(self) -> None:
        """An extracted network returns what the supernet returns, in training mode."""
        supernet, x = self._supernet(), self.example()
        for arch in self._archs(supernet):
            with _seeded():
                expected = supernet(x, arch)
            with _seeded():
                found = extract(supernet, arch).train()(x)
            _require(torch.equal(found, expected), "extracted, it computes something else", arch)

    def test_extracted_is_plain(self) -> None:
        """It consists of PyTorch's classes, owns its memory, and can be copied and saved."""
        supernet, x = self._supernet(), self.example()
        owned = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
        for arch in self._archs(supernet):
            net = extract(supernet, arch).train()
            for module in net.modules():
                plain = all(
                    cls.__module__.partition(".")[0] in ("torch", "builtins")
                    for cls in type(module).__mro__
                )
                _require(plain, f"extracted, it holds a {type(module).__name__}", arch)
            tensors = [*net.parameters(), *net.buffers()]
            held = {t.untyped_storage().data_ptr() for t in tensors}
            _require(held.isdisjoint(owned), "extracted, it shares memory with the supernet", arch)
            alone = all(t.untyped_storage().nbytes() == t.nbytes for t in tensors)
            _require(alone, "extracted, it holds parts of larger tensors; copy them", arch)
            other = copy.deepcopy(net)
            other.load_state_dict(net.state_dict())
            torch.save(net, io.BytesIO())
            with _seeded():
                expected = net(x)
            with _seeded():
                _require(torch.equal(other(x), expected), "a copy computes something else", arch)

    def test_shared_equals_one_by_one(self) -> None:
        """One pass for many architectures returns what each alone returns."""
        supernet, x = self._supernet(), self.example()
        archs = self._archs(supernet)
        _switch_dropout_off(supernet)
        together = sharing.outputs(supernet, x, archs)
        for arch, found in zip(archs, together, strict=True):
            _require(torch.equal(found, supernet(x, arch)), "shared, it computes another", arch)

    def test_shared_gradients_are_the_sum(self) -> None:
        """The gradients of such a pass are the sum of each one's, to rounding in float64."""
        supernet, x = self._supernet().double(), self.example()
        x = x.double() if x.is_floating_point() else x
        archs = self._archs(supernet)
        _switch_dropout_off(supernet)
        shared = _gradients(supernet, sharing.outputs(supernet, x, archs))
        apart = _gradients(supernet, [supernet(x, arch) for arch in archs])
        for name in shared:
            close = torch.allclose(shared[name], apart[name], rtol=1e-9, atol=1e-10)
            _require(close, f"shared, the gradient of {name!r} is another")

    def test_calibrating_equals_recalibrating(self) -> None:
        """Statistics from one pass are those of each extracted network."""
        supernet, x = self._supernet(), self.example()
        archs, batches = self._archs(supernet), [x, x[: max(2, len(x) // 2)]]
        statistics = calibrate(supernet, archs, batches)
        supernet.eval()
        found = {arch: group.value for group in statistics.run(x) for arch in group.archs}
        for arch in archs:
            net = extract(supernet, arch)
            recalibrate(net, batches)
            same = torch.equal(net.eval()(x), found[arch])
            _require(same, "calibrated, it computes something else than recalibrated", arch)

    def test_costs_are_those_of_the_formulas(self) -> None:
        """Parameters and multiply-adds are what `params` and `macs` say, planned and counted."""
        supernet, shape = self._supernet(), self.example().shape[1:]
        for arch in self._archs(supernet):
            counted = count_macs(supernet, arch, shape)
            planned = count_shared_macs(supernet, [arch], shape)
            fits = planned == counted or (planned > counted and self.reached(arch) is not None)
            _require(fits, f"planned are {planned} MACs, counted {counted}", arch)
            for what, found, formula in (
                ("parameters", count_params(extract(supernet, arch)), self.params(arch)),
                ("MACs", counted, self.macs(arch)),
            ):
                if formula is not None:
                    said = f"counted are {found} {what}, the formula says {formula}"
                    _require(found == formula, said, arch)

    def test_inputs_are_kept_where_the_class_says_so(self) -> None:
        """A module whose `keeps_input` is true changes nothing that it is given."""
        supernet, x = self._supernet(), self.example()
        given: dict[nn.Module, list[Tensor]] = {}

        def before(module: nn.Module, args: tuple[object, ...]) -> None:
            given[module] = [arg.clone() for arg in args if isinstance(arg, Tensor)]

        def after(module: nn.Module, args: tuple[object, ...], result: object) -> None:
            now = [arg for arg in args if isinstance(arg, Tensor)]
            kept = all(map(torch.equal, given.pop(module), now))
            _require(kept, f"{type(module).__name__} changes its input, but has keeps_input = True")

        for module in supernet.modules():
            if isinstance(module, ChoiceModule) and module.keeps_input:
                module.register_forward_pre_hook(before)
                module.register_forward_hook(after)
        with torch.no_grad():
            for arch in self._archs(supernet):
                supernet(x, arch)

    def test_gradients_reach_what_is_used_only(self) -> None:
        """Training an architecture leaves alone whatever it does not use."""
        supernet, x = self._supernet(), self.example()
        for arch in self._archs(supernet):
            gradients = _gradients(supernet, [supernet(x, arch)])
            reached = sum(int(gradient.count_nonzero()) for gradient in gradients.values())
            most = self.reached(arch)
            most = count_params(extract(supernet, arch)) if most is None else most
            _require(reached <= most, f"{reached} numbers get a gradient, but {most} may", arch)

    def test_its_state_can_be_loaded(self) -> None:
        """Another network with the same state computes the same."""
        supernet, x = self._supernet(), self.example()
        other = self._supernet(seed=1)
        other.load_state_dict(supernet.state_dict())
        for arch in self._archs(supernet):
            with _seeded():
                expected = supernet(x, arch)
            with _seeded():
                _require(torch.equal(other(x, arch), expected), "loaded, it is another", arch)

    def test_bad_architectures_are_refused(self) -> None:
        """What says nothing about a choice, too much, or the impossible is a `SpaceError`."""
        supernet, x = self._supernet(), self.example()
        good = supernet.space.largest
        bad = [good.but(**{"no such choice": 1})]
        for name in good:
            bad += [Architecture({k: v for k, v in good.items() if k != name})]
            bad += [good.but(**{name: "no such option"})]
        for arch, run in itertools.product(
            bad,
            (
                lambda arch: supernet(x, arch),
                lambda arch: extract(supernet, arch),
                lambda arch: sharing.run(supernet, x, [arch]),
            ),
        ):
            try:
                run(arch)
            except SpaceError:
                continue
            raise AssertionError(f"{arch} is not in the space, and is not refused")

    def test_there_is_no_default_architecture(self) -> None:
        """Run without one, the network is an error, not a result."""
        supernet = self._supernet()
        if supernet.space.size == 1:
            return
        try:
            supernet.net(self.example())
        except NoArchitectureError:
            return
        raise AssertionError("it runs without an architecture; read `self.active` in `forward`")

    # -- what they need ---------------------------------------------------------------------------

    def _supernet(self, seed: int = 0) -> Supernet:
        """Return the network with new random numbers: ones and zeros would hide mistakes."""
        net, generator = self.build(), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.uniform_(-0.6, 0.9, generator=generator)
        return Supernet(net).train()

    def _archs(self, supernet: Supernet) -> list[Architecture]:
        space = supernet.space
        count = min(self.most, space.size)
        spread = (space.at(place * space.size // count) for place in range(count))
        return list(dict.fromkeys((*spread, space.largest)))


def _require(holds: bool, otherwise: str, arch: Architecture | None = None) -> None:
    if not holds:
        raise AssertionError(otherwise if arch is None else f"{otherwise}, for {arch}")


def _gradients(supernet: Supernet, outputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the gradients of the sum of the outputs' squares, zero where there is none."""
    named = {name: p for name, p in supernet.named_parameters() if p.requires_grad}
    loss = torch.stack([y.square().sum() for y in outputs]).sum()
    if not loss.requires_grad:
        return {name: torch.zeros_like(p) for name, p in named.items()}
    found = torch.autograd.grad(
        loss, list(named.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(named, found, strict=True))


def _switch_dropout_off(net: nn.Module) -> None:
    """Shared, architectures draw together; alone, each draws its own."""
    for module in net.modules():
        if isinstance(module, _DropoutNd):
            module.eval()


@contextmanager
def _seeded() -> Iterator[None]:
    """Inside the block, random modules draw the same each time. No generator outside is touched."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(0)
        yield
