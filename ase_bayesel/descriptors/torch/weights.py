"""What a torch model is made of: its precision, and a hash of its weights."""

from __future__ import annotations

import hashlib

import torch


def frozen(module: torch.nn.Module) -> torch.nn.Module:
    """The same model in evaluation mode, without gradients by its weights."""
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad = False
    return module


def weights_sha256(module: torch.nn.Module, description: str = "") -> str:
    """Hexadecimal SHA-256 of a model's class, parameters and buffers.

    ``description`` says what else is to count.
    """
    digest = hashlib.sha256(f"{type(module).__name__} {description}".encode())
    for name, value in sorted(module.state_dict().items()):
        if not isinstance(value, torch.Tensor):  # extra state of a module
            digest.update(f"{name} {value!r}".encode())
            continue
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
