"""How want of memory shows itself."""

from __future__ import annotations

import re

# As torch's allocator for CPUs, CUDA's libraries, ONNX Runtime and TensorRT say it. An illegal
# access to memory is another thing, and fails every batch after it.
_WORDS = re.compile(
    r"out ?of ?memory|alloc_failed|bad_alloc|(?:can't|failed to) allocate|could not be allocated",
    re.IGNORECASE,
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a runtime failed for want of memory: its host's, or its device's.

    torch.OutOfMemoryError is a RuntimeError, and of other runtimes' errors only the words tell.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or speaks_of_memory(str(error))
    )


def speaks_of_memory(message: str) -> bool:
    """Whether a runtime's message tells of want of memory."""
    return _WORDS.search(message) is not None
