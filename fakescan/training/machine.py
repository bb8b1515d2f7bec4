"""The machine that a run is on."""

from __future__ import annotations

import platform

import torch


def pick_precision(device: torch.device) -> str:
    """Arithmetic of the steps on `device`: `bf16` where it computes so itself, else `fp32`."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    # Without the processor's own instructions bf16 is emulated, and several times slower.
    capabilities = torch.cpu.get_capabilities()
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return "bf16" if device.type == "cpu" and fast else "fp32"


def describe_machine(device: torch.device) -> str:
    """What a card says of where it was trained."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    count = torch.get_num_threads()
    return f"{model}, {count} {'thread' if count == 1 else 'threads'}"
