"""Converting published annotation formats to COCO json; `KINDS` is the list of converters."""

from graphkd.data.convert.coco import COCO_KINDS, convert_coco
from graphkd.data.convert.readers import read_alto, read_page_xml, read_voc
from graphkd.data.convert.write import Converted, convert_xml

XML_KINDS = {"prima": read_page_xml, "alto": read_alto, "voc": read_voc}
KINDS = (*COCO_KINDS, *XML_KINDS)

__all__ = ["COCO_KINDS", "KINDS", "XML_KINDS", "Converted", "convert_coco", "convert_xml"]
