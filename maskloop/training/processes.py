"""Data parallel training: one process a device, as `torchrun` starts them.

Every process draws its own part of each batch and simulates its own clicks. Loss, gradients and batch-norm
running statistics are averaged once a step, so parameters and statistics stay the same everywhere. Inside a
step each process normalises by the statistics of its own part alone.
"""

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist

from maskloop.errors import TrainingError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; with one process nothing here does anything."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def part_of(self, batch: int) -> int:
        """Views of a batch that each process draws."""
        if batch % self.count:
            raise TrainingError(
                f"batch is {batch}, but {self.count} processes share it; give a multiple of {self.count}"
            )
        return batch // self.count

    def copy_first(self, module: nn.Module) -> None:
        """Give the first process's parameters and buffers to all."""
        if self.count > 1:
            for value in module.state_dict().values():
                # a contiguous copy: the network's own memory format is not one that every backend sends
                sent = value.contiguous()
                dist.broadcast(sent, 0)
                value.copy_(sent)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their mean over all processes, in one message."""
        if self.count > 1:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(flat)
            flat /= self.count
            parts = flat.split([tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def gather(self, tensor: Tensor, device: str) -> Tensor:
        """Tensors of the same shape from all processes, (count, ...), on the CPU; sent through `device`."""
        if self.count == 1:
            return tensor[None]
        received = [torch.empty_like(tensor, device=device) for _ in range(self.count)]
        dist.all_gather(received, tensor.to(device))
        return torch.stack(received).cpu()

    def wait(self) -> None:
        """Return when all processes are here."""
        if self.count > 1:
            dist.barrier()


def join_processes(device: str) -> tuple[Processes, str]:
    """Join the processes that `torchrun` describes in the environment, if it does.

    Args:
        device: torch device; `cuda` becomes the device of this process's own.

    Returns:
        This process, and its device.
    """
    device = device_of_process(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(), device
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda:
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if on_cuda else "gloo")
        # not at the end of a run: a later run of the same processes would wait for each other forever
        atexit.register(dist.destroy_process_group)
    return Processes(dist.get_rank(), dist.get_world_size()), device


def device_of_process(device: str) -> str:
    """The torch device; of `cuda`, the one that is this process's own if `torchrun` started several.

    Raises:
        TrainingError: torch has no such device here.
    """
    if torch.device(device).type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise TrainingError(f"there is no device {device!r} for torch here; train with --device cpu")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return f"cuda:{os.environ['LOCAL_RANK']}" if several else device
