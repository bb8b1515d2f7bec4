"""The prompt inside a generator's settings, in the forms that generators write them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from fakescan.provenance.metadata import Field

_PROMPT_KEYS = (
    "prompt",
    "Prompt",
    "positive_prompt",
    "PositivePrompt",
    "full_prompt",
    "base_prompt",
    "extraMetadata",
    "sui_image_params",
    "Comment",
    "image",
    "request",
)
_MAX_DEPTH = 4  # SwarmUI and NovelAI nest once, InvokeAI 2 twice
_MAX_HOPS = 8
_TEXT_INPUTS = (
    "text",
    "Text",
    "positive",
    "prompt",
    "conditioning",
    "string",
    "value",
    "text_g",
    "base_ctx",
    "context",
)
_SETTINGS = re.compile(r"(?:^|\n)(?:Negative prompt: |Steps: \d)")
_MIDJOURNEY_TAIL = re.compile(r"\s(?:--\w|Job ID: )")


def find_prompt(form: str, field: Field) -> str | None:
    """The prompt in `field`, written in `form` (a `prompt` key of marks.toml), if it is there."""
    text = field.value
    found: str | None
    match form:
        case "a1111":
            settings = _SETTINGS.search(text)
            found = text[: settings.start()] if settings else None
            if text.lstrip().startswith("{"):
                found = _search(_parse(text), 0)
        case "midjourney":
            tail = _MIDJOURNEY_TAIL.search(text)
            found = text[: tail.start()] if tail else None
        case "json":
            found = _search(_parse(text), 0)
        case "comfyui":
            found = _positive_text(_parse(text))
        case _:
            found = text
    return found.strip() or None if found else None


def _parse(text: str) -> object:
    """JSON from the first brace on; None where it is cut or broken."""
    try:
        return json.loads(text[text.find("{") :])
    except (ValueError, RecursionError):  # hostile nesting exhausts the parser's stack
        return None


def _search(value: object, depth: int) -> str | None:
    """The first prompt under any of the known keys, looking into nested objects and JSON text."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = _parse(value)
    if isinstance(value, str):
        return value if depth else None
    if isinstance(value, dict):
        for key in _PROMPT_KEYS:
            found = _search(value[key], depth + 1) if key in value else None
            if found:
                return found
    return None


def _positive_text(graph: object) -> str | None:
    """The text that a ComfyUI graph feeds its sampler, else its first encoded text."""
    if isinstance(graph, dict) and isinstance(graph.get("prompt"), dict):
        graph = graph["prompt"]
    if not isinstance(graph, dict):
        return None
    nodes = {key: node for key, node in graph.items() if isinstance(node, dict)}
    for node in nodes.values():
        found = _follow(nodes, _inputs(node).get("positive"))
        if found:
            return found
    for node in nodes.values():
        text = _inputs(node).get("text")
        kind = node.get("class_type")
        if isinstance(kind, str) and "TextEncode" in kind and isinstance(text, str) and text:
            return text
    return None


def _follow(nodes: Mapping[str, Mapping[str, object]], link: object) -> str | None:
    """The text at the end of a link `[node, output]`, through nodes that only pass it on."""
    for _ in range(_MAX_HOPS):
        if isinstance(link, str):
            return link.strip() or None
        if not isinstance(link, list) or not link or not isinstance(link[0], (str, int)):
            return None
        inputs = _inputs(nodes.get(str(link[0]), {}))
        link = next((inputs[key] for key in _TEXT_INPUTS if key in inputs), None)
    return None


def _inputs(node: Mapping[str, object]) -> Mapping[str, object]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}
