"""Samples of torch: of a ``Dataset`` or a ``DataLoader``, as one pair of tensors, in the order of the data set."""

from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, SubsetRandomSampler
from torch.utils.data import WeightedRandomSampler as WeightedSampler

from lipbench._internal.randomness import keeping_random_numbers
from lipbench.data.arrays import as_tensor, stored_inputs
from lipbench.errors import LipbenchError, one_line

BATCH = 1000
SHUFFLED = (RandomSampler, SubsetRandomSampler, WeightedSampler)


def joined(data: Dataset[Any] | DataLoader[Any]) -> tuple[Tensor, Tensor]:
    """The inputs (n, ...) and labels (n, ...) of all items (x, y), or of all batches.

    data: a map-style or iterable ``Dataset``, or a ``DataLoader`` with a fixed order. Random numbers are afterwards as
    before. Raises LipbenchError for other items, for inputs that ``stored_inputs`` refuses or of several shapes, for
    what the data set itself raises, and where the samples or their order would differ at every call.
    """
    with keeping_random_numbers():
        loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size=BATCH)
        _refuse_changing(loader)
        pairs = []
        try:
            for batch in loader:
                pairs.append(_pair(batch))
        except LipbenchError:
            raise
        except Exception as error:  # whatever the data set's own code raises, and torch where items do not make a batch
            raise LipbenchError(
                f"cannot read the samples of {_name(loader)}: {one_line(error)}; expected items (x, y), x a tensor or "
                "an array of one shape, y a whole number"
            ) from error
    if not pairs:
        raise LipbenchError(f"{_name(loader)} holds no samples")
    shapes = sorted({tuple(x.shape[1:]) for x, _ in pairs}), sorted({tuple(y.shape[1:]) for _, y in pairs})
    if any(len(found) > 1 for found in shapes) or len({x.dtype for x, _ in pairs}) > 1:
        raise LipbenchError(f"{_name(loader)}: expected inputs and labels of one shape and type, got {shapes}")
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    """The inputs and labels of a batch, on the CPU."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        found = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, tuple | list | dict) else type(batch)
        raise LipbenchError(f"expected items (x, y) from the data set, or batches (x, y) from the loader, got {found}")
    x, y = stored_inputs(batch[0]).cpu(), as_tensor(batch[1], "labels").cpu()
    if y.ndim == 0 or len(y) != len(x):
        raise LipbenchError(
            f"expected batches of inputs (b, ...) and labels (b,), got {tuple(x.shape)} and {tuple(y.shape)}: give the "
            "DataLoader a batch_size, or pass its data set"
        )
    return x, y


def _refuse_changing(loader: DataLoader[Any]) -> None:
    """Raise LipbenchError for an order, or samples, that are new at every call."""
    if isinstance(loader.dataset, IterableDataset):  # its order is its own
        return
    batches = loader.batch_sampler
    samplers = (loader.sampler, getattr(batches, "sampler", None))
    again = [[str(place) for place in (loader.sampler if batches is None else batches)] for _ in range(2)]
    if any(isinstance(one, SHUFFLED) for one in samplers) or again[0] != again[1]:
        raise LipbenchError(
            "the DataLoader shuffles, so that every call would see other samples first and no result could be "
            "reproduced: pass shuffle=False, or its data set, as in data=loader.dataset"
        )
    first = [[repr(part) for part in islice(_parts(loader.dataset), 2)] for _ in range(2)]
    if first[0] != first[1]:
        raise LipbenchError(
            f"the first item of {type(loader.dataset).__name__} differs at every access: leave random transforms out "
            "of test data, or pass tensors (x, y)"
        )


def _parts(dataset: Any) -> Any:
    """The parts of the first item; none if there is no item, or if it cannot be read, which is an error later."""
    try:
        return tuple(dataset[0])
    except Exception:  # whatever the data set's own code raises
        return ()


def _name(loader: DataLoader[Any]) -> str:
    return type(loader.dataset).__name__
