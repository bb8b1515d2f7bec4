"""How want of memory shows itself."""

from __future__ import annotations


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether a runtime failed for want of memory: its host's, or its device's.

    torch.OutOfMemoryError is a RuntimeError, as are the errors of torch's allocator for CPUs and
    of CUDA's libraries, which only their words tell apart.
    """
    words = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(word in str(error) for word in words)
    )
