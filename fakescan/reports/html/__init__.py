"""HTML: one self-contained page that shows a scan to people, evidence first.

The page holds its findings as JSON, and its own script draws them: text from files never becomes
markup, and the page's security policy allows no other script, style or address.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import os
import re
from dataclasses import dataclass
from importlib.resources import files
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fakescan.records import (
    DEFAULT_MAX_FALSE_POSITIVE_RATE,
    SCHEMA_VERSION,
    Finding,
    MetadataStatus,
    Reason,
    Source,
    Status,
    Verdict,
)
from fakescan.reports.record import encode_json, replace_surrogates
from fakescan.reports.report import ReportHeader, TextReport
from fakescan.reports.summary import Summary

MAX_THUMBNAILS = 2_000
"""The most files that get a small picture: flagged ones first, then uncertain ones."""

MAX_OVERLAYS = 60
"""The most overlays shown in the page itself, by the same order; others are links."""

LONG_TEXT = 1_000
"""How many characters of a prompt, a mark's value or other metadata the page holds."""

SHORT_TEXT = 100
"""How many it holds once `LONG_TEXT_ALLOWANCE` is spent."""

LONG_TEXT_ALLOWANCE = 2_000_000
"""Characters of long text in a page, so that 10,000 files stay below 25 MB."""

MAX_EVIDENCE = 16
"""The most pieces of evidence that the page holds of one file."""

_IMPLIED = {
    "schema_version": SCHEMA_VERSION,
    "status": Status.OK.value,
    "metadata_status": MetadataStatus.OK.value,
    "has_gps": False,
    "hints": "",
    "evidence": [],
}
"""What a record's values are where the page doesn't say; the page's script knows the same."""

# Treated apart, or of use only when whole.
_EXACT = frozenset({"path", "path_base64", "sha256", "model", "evidence", "overlay"})

_FINDINGS = "<!-- findings -->"  # no value can hold it: the template escapes every "<"

# Inside a script element these could end it, or open a comment, whatever JSON says.
_UNSAFE_IN_SCRIPT = re.compile("[<>&\u2028\u2029]")

_WORST_FIRST = {
    verdict: rank
    for rank, verdict in enumerate(
        (Verdict.AI, Verdict.AI_EDIT, Verdict.UNCERTAIN, None, Verdict.REAL)
    )
}

_VERDICTS = {
    "ai": ("AI", "A credential, a declaration in the file or the score says that AI made it."),
    "ai_edit": (
        "Edited with AI",
        "A credential or a declaration in the file says that AI edited it.",
    ),
    "uncertain": ("Uncertain", "The score fits AI and photographs alike, or no model judges it."),
    "real": ("No sign of AI", "The verdict “real”: nothing was found. No proof of a photograph."),
    "unreadable": ("Unreadable", "No verdict. Its details tell why."),
}
_TIERS = {
    "proof": "signed, and unchanged since",
    "strong": "nobody writes it by accident, anybody can forge it",
    "weak": "a hint that decides nothing",
}
_SAYS = {
    "ai": "made by AI",
    "ai_edit": "edited with AI",
    "camera": "camera",
    "edited": "edited",
    "stripped": "metadata stripped",
}
_METADATA = {
    MetadataStatus.OK: "Read whole.",
    MetadataStatus.MALFORMED: "Damaged in part; what could be read is here.",
    MetadataStatus.LIMIT_REACHED: "Larger than fakescan reads; the rest was not looked at.",
    MetadataStatus.UNREAD: "Not read.",
}


@dataclass(frozen=True, slots=True, order=True)
class Rank:
    """Where a file stands among those to be pictured: higher comes first."""

    verdict: int
    score: float
    earliness: int


@dataclass(frozen=True, slots=True)
class PicturedFile:
    """What is kept of a finding so that its picture can be made at the end."""

    row: int
    source: Source
    sha256: str | None
    media_type: str | None
    orientation: int | None
    overlay: str | None


class HtmlReport(TextReport):
    """A page to look through, sort and filter; findings stream into it as they come.

    Kept in memory are the ranks of the files to be pictured, at most `MAX_THUMBNAILS`. Their
    pictures are made when the report is left, from the files as they are then, if these are still
    the ones that were judged.
    """

    def __init__(self, path: Path, header: ReportHeader, summary: Summary) -> None:
        super().__init__(path, header, summary)
        self._closing = ""
        self._rows = 0
        self._models: dict[str, int] = {}
        self._long_text = LONG_TEXT_ALLOWANCE
        self._pictured: list[tuple[Rank, PicturedFile]] = []

    def begin(self) -> str:
        """The page up to its findings."""
        # Loaded here: few scans write this report.
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup

        style, script = _read_asset("report.css"), _read_asset("report.js")
        settings = self.header.settings
        rate = settings.get("max_false_positive_rate", DEFAULT_MAX_FALSE_POSITIVE_RATE)
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        page = environment.from_string(_read_asset("report.html.jinja")).render(
            style=Markup(style),
            script=Markup(script),
            policy=_security_policy(style, script),
            words=Markup(_encode_for_script(_words())),
            program=replace_surrogates(self.header.program),
            models=replace_surrogates(self.header.models),
            settings=replace_surrogates(settings),
            false_alarms=f"{1000 * float(str(rate)):.4g}",
            verdicts=_VERDICTS,
            tiers=_TIERS,
        )
        opening, self._closing = page.split(_FINDINGS)
        return f'{opening}<script type="application/json" id="findings">['

    def format(self, finding: Finding, record: dict[str, object]) -> str:
        """The finding's record without what is null, after a comma where one is due."""
        separator = ",\n" if self._rows else "\n"
        self._remember(finding)
        self._rows += 1
        return separator + _encode_for_script(self._compact(record, finding.overlay))

    def end(self) -> str:
        """The rest: the models that judged, the small pictures, and the script that draws."""
        rest = {
            "summary": self.summary.to_record(),
            "models": [json.loads(key) for key in self._models],
            **self._make_pictures(),
        }
        return (
            "\n]</script>\n"
            f'<script type="application/json" id="rest">{_encode_for_script(rest)}</script>\n'
            f"{self._closing}"
        )

    def _remember(self, finding: Finding) -> None:
        if finding.status is not Status.OK:
            return
        # Without a score a declaration decided, which is worth more.
        score = 1.0 if finding.score is None else finding.score
        rank = Rank(-_WORST_FIRST[finding.verdict], score, -self._rows)
        measurement = finding.measurement
        file = PicturedFile(
            row=self._rows,
            source=finding.source,
            sha256=measurement.sha256,
            media_type=measurement.media_type,
            orientation=measurement.orientation,
            overlay=finding.overlay,
        )
        if len(self._pictured) < MAX_THUMBNAILS:
            heapq.heappush(self._pictured, (rank, file))
        else:
            heapq.heappushpop(self._pictured, (rank, file))

    def _make_pictures(self) -> dict[str, object]:
        from fakescan.reports.html.thumbnails import make_overlays, make_thumbnails

        worst_first = [file for _, file in sorted(self._pictured, key=itemgetter(0), reverse=True)]
        with_overlay = [file for file in worst_first if file.overlay is not None][:MAX_OVERLAYS]
        return {
            "thumbnails": _by_row(worst_first, make_thumbnails(worst_first)),
            "overlays": _by_row(with_overlay, make_overlays(with_overlay)),
        }

    def _compact(self, record: dict[str, object], overlay: str | None) -> dict[str, object]:
        """The record without what is null or implied, and with long texts cut.

        `overlay` is the path that the record's may only show.
        """
        compact = {
            key: value if key in _EXACT else self._shorten(value)
            for key, value in record.items()
            if value is not None and value != _IMPLIED.get(key)
        }
        if isinstance(record["model"], dict):
            compact["model"] = self._compact_model(record["model"])
        pieces = record["evidence"]
        if isinstance(pieces, list) and pieces:
            shown = pieces[:MAX_EVIDENCE]
            compact["evidence"] = [self._shorten(list(piece.values())) for piece in shown]
            if len(pieces) > MAX_EVIDENCE:
                compact["more_evidence"] = len(pieces) - MAX_EVIDENCE
        if overlay is not None:
            compact["overlay"] = self._link(overlay)
        return compact

    def _compact_model(self, model: dict[str, Any]) -> list[object]:
        """`[model's place in the list of models, logit, [x, y, size, logit] of every crop]`."""
        crops = [[crop["x"], crop["y"], crop["size"], crop["logit"]] for crop in model["crops"]]
        shared = {key: value for key, value in model.items() if key not in ("logit", "crops")}
        place = self._models.setdefault(encode_json(shared), len(self._models))
        return [place, model["logit"], crops]

    def _shorten(self, value: Any) -> Any:
        """The JSON value with its long texts cut."""
        if isinstance(value, str):
            return self._cut(value)
        if isinstance(value, list):
            return [self._shorten(item) for item in value]
        if isinstance(value, dict):
            return {key: self._shorten(item) for key, item in value.items()}
        return value

    def _cut(self, text: str) -> str:
        if len(text) <= SHORT_TEXT:
            return text
        length = LONG_TEXT if self._long_text > 0 else SHORT_TEXT
        self._long_text -= min(len(text), length)
        if len(text) <= length:
            return text
        return f"{text[:length]}… (cut; {len(text):,} characters in all)"

    def _link(self, overlay: str) -> str | None:
        """The overlay's address as seen from the page; None where there is none."""
        try:
            relative = os.path.relpath(overlay, self._target.parent)
        except ValueError:  # on another drive
            return None
        # The dot keeps a name with a colon from being an address of its own.
        return "./" + quote(os.fsencode(Path(relative).as_posix()))


def _by_row(pictured: list[PicturedFile], pictures: list[str | None]) -> dict[str, str]:
    found = zip(pictured, pictures, strict=True)
    return {str(file.row): picture for file, picture in found if picture is not None}


def _words() -> dict[str, object]:
    return {
        "verdicts": {verdict: word for verdict, (word, _) in _VERDICTS.items()},
        "reasons": {reason.value: reason.sentence for reason in Reason},
        "statuses": {status.value: status.sentence for status in Status},
        "metadata": _METADATA,
        "tiers": _TIERS,
        "says": _SAYS,
    }


def _security_policy(style: str, script: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _encode_for_script(value: object) -> str:
    return _UNSAFE_IN_SCRIPT.sub(lambda found: f"\\u{ord(found[0]):04x}", encode_json(value))


def _read_asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
