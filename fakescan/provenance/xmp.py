"""XMP packets to flat properties (ISO 16684-1), entity bombs refused."""

from __future__ import annotations

from xml.sax import SAXException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl

from fakescan.provenance.metadata import Metadata

_MAX_DEPTH = 64

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
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#": "rdf",
    "http://www.w3.org/XML/1998/namespace": "xml",
    "adobe:ns:meta/": "x",
}
_STRUCTURE = ("rdf:", "xml:", "x:")  # what holds properties and is none
_UNKNOWN = ""
_OTHER_RESOURCE = "another resource"
# What was placed in this picture, a part of it, what it shows or comes from, and where it is kept.
_OF_OTHER_FILES = {
    "Iptc4xmpExt:ArtworkOrObject",
    "Iptc4xmpExt:ImageRegion",
    "Iptc4xmpExt:RegistryId",
    "xmpMM:DerivedFrom",
    "xmpMM:Ingredients",
    "xmpMM:Manifest",
    "xmpMM:Pantry",
    _OTHER_RESOURCE,
}


class _TooMuchError(ValueError):
    pass


class _PropertyReader(ContentHandler):
    """Hears elements as they come, so that no tree is ever built.

    It resolves prefixes itself: where expat does, each name carries its whole namespace, and a file
    of some kilobytes with a long one fills the memory.
    """

    def __init__(self, elements_left: int) -> None:
        super().__init__()
        self.elements_left = elements_left
        self.properties: list[tuple[str, str]] = []
        self._prefixes = {"xml": "xml"}
        self._names: list[str] = []  # the property that each open element is or belongs to
        self._hidden: list[dict[str, str]] = []  # what prefixes meant outside of it
        self._text: list[str] = []
        self._about: str | None = None  # how the packet names the file that it is in

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802
        self._flush()
        self.elements_left -= 1 + len(attrs)
        if len(self._names) >= _MAX_DEPTH or self.elements_left < 0:
            raise _TooMuchError
        self._declare(attrs)
        above = self._names[-1] if self._names else _UNKNOWN
        own = self._resolve(name)
        # rdf:Alt, rdf:li and the like are structure: their text belongs to the property above.
        if own.startswith(_STRUCTURE) or above in _OF_OTHER_FILES:
            own = above
        if above not in _OF_OTHER_FILES and self._is_of_another(name, attrs):
            own = _OTHER_RESOURCE
        self._names.append(own)
        for key, value in attrs.items():
            # The default namespace is of elements alone.
            attribute = self._resolve(key) if ":" in key else _UNKNOWN
            if attribute == "rdf:resource":
                self._add(own, value)
            elif own not in _OF_OTHER_FILES and not attribute.startswith(_STRUCTURE):
                self._add(attribute, value)

    def characters(self, content: str) -> None:
        self._text.append(content)

    def endElement(self, name: str) -> None:  # noqa: N802
        self._flush()
        self._names.pop()
        self._prefixes.update(self._hidden.pop())

    def _is_of_another(self, name: str, attributes: AttributesImpl) -> bool:
        """Whether this element describes another resource than the first description does.

        No name, or an empty one, is the file itself; XMP allows no second (ISO 16684-1, 7.4).
        """
        about = next((v for key, v in attributes.items() if self._resolve(key) == "rdf:about"), "")
        if self._about is None and (about or self._resolve(name) == "rdf:Description"):
            self._about = about
        return about not in {"", self._about}

    def _declare(self, attributes: AttributesImpl) -> None:
        hidden = {}
        for key, namespace in attributes.items():
            declares, _, prefix = key.partition(":")
            if declares == "xmlns":
                hidden[prefix] = self._prefixes.get(prefix, _UNKNOWN)
                self._prefixes[prefix] = _PREFIXES.get(namespace, _UNKNOWN)
        self._hidden.append(hidden)

    def _resolve(self, name: str) -> str:
        """`name` with its namespace's usual prefix; unknown for those that no mark looks for."""
        prefix, _, local = name.rpartition(":")
        usual = self._prefixes.get(prefix, _UNKNOWN)
        return f"{usual}:{local}" if usual else _UNKNOWN

    def _flush(self) -> None:
        text = "".join(self._text).strip()
        self._text.clear()
        if text and self._names:
            self._add(self._names[-1], text)

    def _add(self, name: str, value: str) -> None:
        if name != _UNKNOWN and name not in _OF_OTHER_FILES:
            self.properties.append((name, value))


def read(packet: bytes, offset: int, metadata: Metadata) -> None:
    """Add every property of `packet` as a field `xmp`, named with the usual prefix."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.expatreader import DefusedExpatParser

    if len(packet) > metadata.xmp_left:
        metadata.limit_reached = True
        packet = packet[: metadata.xmp_left]
    metadata.xmp_left -= len(packet)
    packet = packet[max(packet.find(b"<"), 0) :].rstrip(b"\0 \r\n\t")
    reader = _PropertyReader(metadata.elements_left)
    parser = DefusedExpatParser(forbid_dtd=True)  # type: ignore[no-untyped-call]
    parser.setContentHandler(reader)
    try:
        parser.feed(packet)
        parser.close()
    except _TooMuchError:
        metadata.limit_reached = True
    except (SAXException, DefusedXmlException, ValueError, LookupError):
        # LookupError and ValueError: an encoding that Python or expat does not know.
        metadata.malformed = True
    metadata.elements_left = reader.elements_left
    for name, value in reader.properties:
        metadata.add("xmp", name, f"XMP:{name}", offset, value)
