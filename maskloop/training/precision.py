"""What a device can compute in."""

import torch

SLOW_IN_BFLOAT16 = ("NO AVX", "AVX2")
"""Instruction sets without bfloat16: PyTorch imitates it, several times slower than float32."""


def supported(precision: str, device: str) -> str:
    """The precision of a run on a device: the one asked for, or float32 where that would crawl."""
    slow = torch.device(device).type == "cpu" and torch.backends.cpu.get_cpu_capability() in SLOW_IN_BFLOAT16
    return "float32" if slow else precision
