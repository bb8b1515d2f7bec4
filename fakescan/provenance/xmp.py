"""XMP packets to flat properties (ISO 16684-1), entity bombs refused."""

from __future__ import annotations

from xml.etree.ElementTree import ParseError

from fakescan.provenance.metadata import Metadata

_MAX_DEPTH = 64

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_PREFIXES = {
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/mm/": "xmpMM",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": "stEvt",
    "http://ns.adobe.com/camera-raw-settings/1.0/": "crs",
    "http://ns.adobe.com/hdr-gain-map/1.0/": "hdrgm",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.apple.com/HDRGainMap/1.0/": "HDRGainMap",
    "http://ns.google.com/photos/1.0/camera/": "GCamera",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://www.tc260.org.cn/ns/AIGC/1.0/": "TC260",
}


class _TooMuchError(ValueError):
    pass


class _PropertyReader:
    """A parser target: hears elements as they come, so that no tree is ever built."""

    def __init__(self, elements_left: int) -> None:
        self.elements_left = elements_left
        self.properties: list[tuple[str, str]] = []
        self._names: list[str | None] = []
        self._text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._flush()
        self.elements_left -= 1 + len(attributes)
        if len(self._names) >= _MAX_DEPTH or self.elements_left < 0:
            raise _TooMuchError
        # rdf:Alt, rdf:li and the like are structure: their text belongs to the property above.
        name = _shorten(tag) or (self._names[-1] if self._names else None)
        self._names.append(name)
        for key, value in attributes.items():
            short = _shorten(key)
            if short is not None:
                self.properties.append((short, value))
            elif key == f"{{{_RDF}}}resource" and name is not None:
                self.properties.append((name, value))

    def data(self, text: str) -> None:
        self._text.append(text)

    def end(self, tag: str) -> None:
        self._flush()
        self._names.pop()

    def close(self) -> None:
        pass

    def _flush(self) -> None:
        text = "".join(self._text).strip()
        self._text.clear()
        name = self._names[-1] if self._names else None
        if text and name is not None:
            self.properties.append((name, text))


def _shorten(name: str) -> str | None:
    """`{namespace}local` as `prefix:local`; None for RDF's and XML's own."""
    namespace, brace, local = name[1:].partition("}")
    if not name.startswith("{") or not brace:
        return None
    if namespace in {_RDF, "adobe:ns:meta/", "http://www.w3.org/XML/1998/namespace"}:
        return None
    return f"{_PREFIXES.get(namespace, namespace)}:{local}"


def read(packet: bytes, offset: int, metadata: Metadata) -> None:
    """Add every property of `packet` as a field `xmp`, named with the usual prefix."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    if len(packet) > metadata.xmp_left:
        metadata.limit_reached = True
        packet = packet[: metadata.xmp_left]
    metadata.xmp_left -= len(packet)
    packet = packet[max(packet.find(b"<"), 0) :].rstrip(b"\0 \r\n\t")
    reader = _PropertyReader(metadata.elements_left)
    parser = DefusedXMLParser(target=reader, forbid_dtd=True)  # type: ignore[no-untyped-call]
    try:
        parser.feed(packet)
        parser.close()
    except _TooMuchError:
        metadata.limit_reached = True
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        # LookupError and ValueError: an encoding that Python or expat does not know.
        metadata.malformed = True
    metadata.elements_left = reader.elements_left
    for name, value in reader.properties:
        metadata.add("xmp", name, f"XMP:{name}", offset, value)
