"""Converting published annotation formats to COCO json, and text lines to the hub format."""

from graphkd.data.convert.coco import COCO_KINDS, convert_coco
from graphkd.data.convert.line_formats import LINE_KINDS
from graphkd.data.convert.lines import convert_lines
from graphkd.data.convert.readers import read_alto, read_page_xml, read_voc
from graphkd.data.convert.write import convert_xml

XML_KINDS = {"prima": read_page_xml, "alto": read_alto, "voc": read_voc}

__all__ = [
    "COCO_KINDS",
    "LINE_KINDS",
    "XML_KINDS",
    "convert_coco",
    "convert_lines",
    "convert_xml",
]
