"""Where files come from: folders, arguments, standard input, archives and servers."""

from __future__ import annotations

from fakescan.sources.encoding import decode_source as decode_source
from fakescan.sources.encoding import encode_source as encode_source
from fakescan.sources.failures import problem_of as problem_of
from fakescan.sources.finder import SourceFinder as SourceFinder
from fakescan.sources.formats import HEAD_BYTES as HEAD_BYTES
from fakescan.sources.formats import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from fakescan.sources.formats import TIFF_RAW_MEDIA_TYPES as TIFF_RAW_MEDIA_TYPES
from fakescan.sources.formats import decoding_hint as decoding_hint
from fakescan.sources.formats import has_image_suffix as has_image_suffix
from fakescan.sources.formats import is_overlay_name as is_overlay_name
from fakescan.sources.formats import sniff_media_type as sniff_media_type
from fakescan.sources.keys import is_archive as is_archive
from fakescan.sources.reading import read_paths as read_paths
from fakescan.sources.remote import check_path as check_path
from fakescan.sources.shards import Shard as Shard
