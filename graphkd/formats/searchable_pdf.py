"""PDFs in which the text of pages can be searched and copied: invisible text over what is shown."""

import base64
import contextlib
import ctypes
import hashlib
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pypdfium2
from PIL import Image, ImageOps
from pypdfium2 import raw as pdfium

from graphkd.document import Line, Page, Point, Word, box_polygon
from graphkd.errors import UserError
from graphkd.formats.line_words import line_words
from graphkd.formats.pdf_page import Matrix, characters, moved, pixel_matrix
from graphkd.formats.xml import clean, created
from graphkd.io import replacing

# A TrueType font of 680 bytes, made with fontTools: glyph 1 is half an em wide and 0.2 em below to
# 0.8 em above the line; its outline is one line there and back, which has a box and no area, so
# that nothing could ever be drawn. Glyph 2 is a space without width, which separates words.
_FONT = zlib.decompress(
    base64.b85decode(
        b"c-oavu}T9$6r9Z_CYlf}Vz81E1T6xJg#-~SBBoLy`2by#^A2(`$0dQJv$Ra%M_Bj~mcc&|K`lfqEYHF!&h1@-Q4o"
        b"B~TV`h8zMXv#0OoK33FElBv9<qH8USLQ>S?X1Tx4)Sennoeoc`JS;o~RykUVdjs;<(dBJmA#+oq7ni%sGe=BnN7^"
        b"yC{6#3i?k)2b<?xgc)IQ%%)#kwBb0MQ)s{rg`^T4eFn{UAwJzhrSrG;J$&tEAxJ3?crp8_X9HQJ{_Z?@TEZ@5sM_"
        b"=k;aHVg|DfvJADtSmEcBr68qIw3SSIDxBrVhM$|%kpts?V5+igLx|_To{5%&q%kkYMt!rnak<Rfif|-iR&xsa=@Q"
        b"35!%-|@h6i9~C(4CT8BC1$GHh3vMOC^it2*-#E5uTyT9m`X$-KbYgtLrGQ9I~?0cWuXPw_(A9f(siB)KP&+r3;6e"
        b"hw{`}nQC7%hgEGZ`S%pR0QFi{g8"
    )
)
_WIDTH, _DESCENT = 0.5, 0.2  # of the font, as shares of its size
_INVISIBLE = 3
_TEXT_OBJECT = pdfium.FPDF_PAGEOBJ_TEXT
# Without a resolution of their own, pictures count as drawn at this one.
_DPI, _DPI_RANGE = 200.0, (50, 2400)
_QUALITY = 92
_MOST_POINTS = 14_400  # the largest side of a page
_END = 4096  # bytes at both ends of a file that hold what pdfium makes up


class SearchablePdf:
    """A PDF that grows page by page.

    The pages of a PDF keep their looks, rotation and CropBox; those that are never added stay as
    they are. Pictures become pages of their size.

    Args:
        source: the PDF whose pages get text; None for pages made of pictures.
        password: of an encrypted PDF.
        decrypt: allow that the result of an encrypted PDF is not encrypted.
        replace: remove invisible text of the source, such as that of an earlier OCR.

    Raises:
        UserError: the source cannot be opened, or is encrypted without `decrypt`.
    """

    def __init__(
        self,
        source: Path | None = None,
        *,
        password: str | None = None,
        decrypt: bool = False,
        replace: bool = False,
    ):
        self._source, self._replace = source, replace
        try:
            self._pdf = (
                pypdfium2.PdfDocument.new()
                if source is None
                else pypdfium2.PdfDocument(source, password=password)
            )
        except (pypdfium2.PdfiumError, OSError) as error:
            raise UserError(f"{source}: cannot be opened as PDF ({error})") from error
        if pdfium.FPDF_GetSecurityHandlerRevision(self._pdf) != -1 and not decrypt:
            self._pdf.close()
            raise UserError(
                f"{source}: it is encrypted, and a PDF with text would not be; allow it with "
                "--decrypt"
            )
        self._named: str | None = None

    def add(self, page: Page, picture: Path | Image.Image | None = None) -> None:
        """Adds the text of a page.

        Lines over text that can be copied already get none, so that nothing is there twice.

        Args:
            page: its `number` says which page of the source it is.
            picture: only without a source: the picture of the page, before `page.rotation`. A JPEG
                file goes in as it is, others as JPEG of quality 92.
        """
        if picture is not None:
            sheet = self._picture_page(page, picture)
        else:
            sheet = self._pdf[page.number - 1]
        turned = page.rotation if picture is None else 0
        matrix = pixel_matrix(sheet, width=page.width, height=page.height, rotation=turned)
        try:
            if self._replace:
                _remove_invisible(sheet)
            lines = [line for line in page.lines if line.text.strip()]
            if picture is None:
                lines = list(_not_there(lines, sheet, matrix))
            if lines:
                self._add_lines(sheet, lines, matrix)
            if lines or self._replace or picture is not None:
                pdfium.FPDFPage_GenerateContent(sheet)
        finally:
            sheet.close()
        self._named = self._named or page.source

    def save(self, path: Path) -> None:
        """Writes the PDF in one step; equal pages give equal bytes."""
        with replacing(path) as stream:
            self._pdf.save(stream, flags=pdfium.FPDF_REMOVE_SECURITY)
            stream.flush()
            with open(stream.name, "r+b") as again:
                self._fix(again, stream.tell())

    def close(self) -> None:
        """Frees the memory of the PDF."""
        self._pdf.close()

    def _picture_page(self, page: Page, picture: Path | Image.Image) -> pypdfium2.PdfPage:
        content, (width, height), dpi = _as_jpeg(picture)
        scale = 72 / (page.dpi or dpi or _DPI)
        scale = min(scale, _MOST_POINTS / max(width, height))
        sheet = self._pdf.new_page(width * scale, height * scale)
        image = pypdfium2.PdfImage.new(self._pdf)
        image.load_jpeg(io.BytesIO(content), inline=True)
        image.set_matrix(pypdfium2.PdfMatrix().scale(width * scale, height * scale))
        sheet.insert_obj(image)
        sheet.set_rotation(round(page.rotation / 90) % 4 * 90)
        return sheet

    def _add_lines(self, sheet: pypdfium2.PdfPage, lines: Sequence[Line], matrix: Matrix) -> None:
        """Inserts a text object a word, in a font that knows the characters of this page alone.

        A font of the whole document would have to wait for its last page.
        """
        used = sorted({sign for line in lines for sign in clean(line.text) if not sign.isspace()})
        codes = {sign: code for code, sign in enumerate([" ", *used], start=1)}
        font = self._font([" ", *used])
        for line in lines:
            words = [word for word in line_words(line) if word.text.strip()]
            for place, word in enumerate(words):
                signs = [codes[sign] for sign in clean(word.text) if not sign.isspace()]
                tail = [codes[" "]] if place + 1 < len(words) else []
                self._add_word(sheet, font, signs, tail, _corners(word, matrix))
        pdfium.FPDFFont_Close(font)

    def _font(self, signs: Sequence[str]):
        """The font with the code i + 1 for sign i, of which the first is the space."""
        glyphs = b"\0\0\0\2" + b"\0\1" * (len(signs) - 1)
        return pdfium.FPDFText_LoadCidType2Font(
            self._pdf,
            (ctypes.c_ubyte * len(_FONT)).from_buffer_copy(_FONT),
            len(_FONT),
            _unicode_map(signs),
            (ctypes.c_ubyte * len(glyphs)).from_buffer_copy(glyphs),
            len(glyphs),
        )

    def _add_word(self, sheet, font, signs: list[int], tail: list[int], corners) -> None:
        """Puts a word into a parallelogram of points: its lower left, lower right, upper left."""
        start, end, up = corners
        along, rise = _less(end, start), _less(up, start)
        size = max((rise[0] ** 2 + rise[1] ** 2) ** 0.5, 0.1)
        width = len(signs) * _WIDTH * size
        if not signs or abs(along[0] * rise[1] - along[1] * rise[0]) < 1e-6:
            return
        item = pdfium.FPDFPageObj_CreateTextObj(self._pdf, font, size)
        every = [*signs, *tail]
        pdfium.FPDFText_SetCharcodes(item, (ctypes.c_uint * len(every))(*every), len(every))
        pdfium.FPDFTextObj_SetTextRenderMode(item, _INVISIBLE)
        matrix = pdfium.FS_MATRIX(
            along[0] / width,
            along[1] / width,
            rise[0] / size,
            rise[1] / size,
            start[0] + _DESCENT * rise[0],
            start[1] + _DESCENT * rise[1],
        )
        pdfium.FPDFPageObj_SetMatrix(item, matrix)
        pdfium.FPDFPage_InsertObject(sheet, item)

    def _fix(self, stream, size: int) -> None:
        """Replaces the time and the random identifier that pdfium writes, byte for byte."""
        if self._source is None:
            when = re.sub(r"\D", "", created(self._named or "")).encode()
            stream.seek(0)
            head = stream.read(_END)
            stream.seek(0)
            stream.write(re.sub(rb"(/CreationDate\(D:)\d{14}", rb"\g<1>" + when, head))
        length = pdfium.FPDF_GetFileIdentifier(self._pdf, pdfium.FILEIDTYPE_PERMANENT, None, 0)
        start = max(size - _END, 0)
        stream.seek(start)
        tail = stream.read()
        found = re.search(rb"/ID\[<([0-9A-F]*)><([0-9A-F]*)>\]", tail)
        if found is None:
            return
        groups = (2,) if length > 1 else (1, 2)  # the first of a source stays
        for group in groups:
            stream.seek(start + found.start(group))
            stream.write(b"0" * len(found[group]))
        stream.seek(0)
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
        for group in groups:
            stream.seek(start + found.start(group))
            stream.write(digest.hexdigest().upper().encode()[: len(found[group])])


def _unicode_map(signs: Sequence[str]) -> bytes:
    """The CMap by which readers of the PDF turn codes into text."""
    rows = [
        f"<{code:04X}><{sign.encode('utf-16-be').hex().upper()}>"
        for code, sign in enumerate(signs, start=1)
    ]
    # A block holds 100 rows at most.
    blocks = [rows[start : start + 100] for start in range(0, len(rows), 100)]
    parts = [
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
        "/CIDSystemInfo <</Registry(Adobe)/Ordering(UCS)/Supplement 0>> def",
        "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
        "1 begincodespacerange <0000><FFFF> endcodespacerange",
        *("\n".join([f"{len(block)} beginbfchar", *block, "endbfchar"]) for block in blocks),
        "endcmap CMapName currentdict /CMap defineresource pop end end",
    ]
    return "\n".join(parts).encode()


def _corners(word: Word, matrix: Matrix) -> tuple[Point, Point, Point]:
    """Lower left, lower right and upper left of a word on the page, as one reads it."""
    outline = word.polygon if len(word.polygon) == 4 else box_polygon(word.box)
    upper, _, end, start = (moved(matrix, point) for point in outline)
    return start, end, upper


def _less(one: Point, other: Point) -> Point:
    return one[0] - other[0], one[1] - other[1]


def _not_there(lines: Sequence[Line], sheet: pypdfium2.PdfPage, matrix: Matrix) -> Iterator[Line]:
    """The lines that the page has no text for: it has fewer than half of their characters."""
    there = [each for each in characters(sheet, matrix) if each.box and each.known]
    middles = [((c.box[0] + c.box[2]) / 2, (c.box[1] + c.box[3]) / 2) for c in there]
    for line in lines:
        x1, y1, x2, y2 = line.box
        inside = sum(x1 <= x <= x2 and y1 <= y <= y2 for x, y in middles)
        if line.origin != "pdf" and 2 * inside < len("".join(line.text.split())):
            yield line


def _remove_invisible(sheet: pypdfium2.PdfPage) -> None:
    for item in list(sheet.get_objects(filter=[_TEXT_OBJECT], max_depth=1)):
        if pdfium.FPDFTextObj_GetTextRenderMode(item) == _INVISIBLE:
            sheet.remove_obj(item)


def _as_jpeg(picture: Path | Image.Image) -> tuple[bytes, tuple[int, int], float | None]:
    """A picture as JPEG with its size and resolution; JPEG files that stand upright unchanged."""
    with contextlib.ExitStack() as stack:
        image = picture
        if not isinstance(picture, Image.Image):
            image = stack.enter_context(Image.open(picture))
            plain = image.format == "JPEG" and image.mode in ("L", "RGB")
            if plain and image.getexif().get(0x0112, 1) == 1:
                return Path(picture).read_bytes(), image.size, _resolution(image)
        content = io.BytesIO()
        upright = ImageOps.exif_transpose(image)
        upright = upright if upright.mode in ("L", "RGB") else upright.convert("RGB")
        upright.save(content, "JPEG", quality=_QUALITY, subsampling=0)
        return content.getvalue(), upright.size, _resolution(image)


def _resolution(image: Image.Image) -> float | None:
    """The resolution that a picture's file names, unless it is out of any reason."""
    dpi = image.info.get("dpi", (None,))[0]
    least, most = _DPI_RANGE
    return float(dpi) if isinstance(dpi, int | float) and least <= dpi <= most else None
