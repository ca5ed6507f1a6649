"""Which devices train faster in bfloat16."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["fast_bfloat16"]


def fast_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware; elsewhere it is emulated and slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    ask: Any = getattr(torch.cpu, "get_capabilities", dict)  # older torch does not tell
    capabilities: dict[str, Any] = ask()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
