"""Parts of a scan, for machines that share one."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import Self

from fakescan.records import FakescanError


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (from 1) of `count` parts, which together are the whole and share nothing.

    A file's part follows from its path as given and found, so the same arguments on every machine
    make one division.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that `I/N` names. Raises FakescanError for other text."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise FakescanError(f"--shard {text}: write I/N, from 1/N to N/N, such as 1/4.")
        return cls(int(found[1]), int(found[2]))

    def holds(self, path: str) -> bool:
        """Whether the file at `path` belongs to this part."""
        digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index - 1
