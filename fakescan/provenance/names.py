"""What a file's name hints at. It is not part of the content, so it is read anew for each path."""

from __future__ import annotations

import os
from dataclasses import replace

from fakescan.provenance.marks import find_marks
from fakescan.provenance.metadata import Field
from fakescan.records import Evidence

_LOCATION = "File:FileName"


def read_name(path: str) -> tuple[Evidence, ...]:
    """Evidence in the last part of `path`: always weak, since anybody renames a file."""
    field = Field("file_name", "", _LOCATION, 0, os.path.basename(path))
    # A name has no place in the file's bytes.
    return tuple(replace(hit.evidence, offset=None) for hit in find_marks([field]))
