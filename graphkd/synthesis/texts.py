"""Texts of generated lines: prose of books, old print, receipts, office pages and rare characters.

`LATIN` are the characters that the lines have together.
"""

import unicodedata

import numpy as np

from graphkd.synthesis.languages import LANGUAGES, OldSpelling, lexicon
from graphkd.synthesis.styles import between, chance, pick, weighted
from graphkd.synthesis.words import Writer

_LETTERS = (
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŸŒẞ"
    "àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœßſıðþ"
    "āēīōūăęłńśźżšžčćřěůőűğşąđ"
    "ẽĩũỹ⁊ꝑꝓꝗꝙꝯꝰ"
)
_SIGNS = "€£$¥¢§¶†‡°•·…‰№©®™ªº¹²³¼½¾×÷±¬µ¡¿–—‘’‚“”„«»‹›−"
LATIN: tuple[str, ...] = tuple(
    sorted({*map(chr, range(32, 127)), *_LETTERS, *_SIGNS, "q\u0303", "m\u0303"})
)
"""The entries of the charset of generated lines, sorted; two are letters with a combining tilde."""

_MONEY = ("€", "£", "$", "RM", "EUR", "CHF", "Fr.", "USD", "¥", "kr", "DM")
_SHOP = (
    "TOTAL SUBTOTAL CASH CHANGE TAX INVOICE RECEIPT QTY PRICE AMOUNT DISCOUNT ROUNDING ITEM ITEMS "
    "TABLE CASHIER DATE TIME TEL FAX NO REF BILL ORDER SERVICE CHARGE CARD VISA DEBIT CREDIT PAID "
    "BALANCE DUE NET GROSS VAT TVA MwSt SUMME BETRAG MONTANT CAISSE MERCI THANK YOU PLEASE COME "
    "AGAIN WELCOME GOODS SOLD ARE NOT RETURNABLE REFUNDABLE EXCHANGE STORE BRANCH OUTLET ROAD "
    "STREET JALAN TAMAN LOT UNIT FLOOR PLAZA MALL CENTRE MARKET BAKERY CAFE RESTAURANT TRADING "
    "ENTERPRISE COMPANY LIMITED SDN BHD LTD GMBH SARL REG GST ID CODE SR ZR EX INC RICE CHICKEN "
    "FISH BEEF TEA COFFEE MILK ICE LEMON JUICE WATER BREAD EGG SUGAR SALT OIL SOAP PAPER PEN BAG "
    "BOX BOTTLE SET PACK PCS KG GM ML HOT COLD BIG SMALL SPECIAL FRIED SOUP NOODLE CAKE CHOC"
).split()


class LineText(Writer):
    """Writes the text of single lines."""

    def line(self, kind: str, *, rare: list[str]) -> str:
        """The text of one line in NFC, without spaces at its ends.

        Args:
            kind: book, old, receipt, office, typescript or rare.
            rare: characters that a line of kind `rare` must have.
        """
        text = getattr(self, f"_{kind}")(rare) if kind == "rare" else getattr(self, f"_{kind}")()
        return unicodedata.normalize("NFC", " ".join(text.split()))

    def some(self, language: str, count: int) -> list[str]:
        """`count` words of a language in their frequencies."""
        words, cumulative = lexicon(language)
        return [words[at] for at in np.searchsorted(cumulative, self.rng.random(count))]

    def _book(self) -> str:
        rng = self.rng
        language = weighted(
            rng, {"french": 4, "english": 3.5, "german": 1.5, "latin": 1.2, "other": 0.6}
        )
        words = self.some(language, int(rng.integers(1, 13)))
        if chance(rng, 0.08):
            return self._heading(words[:5])
        self._punctuate(words, french=language == "french" and chance(rng, 0.6))
        if chance(rng, 0.12):
            words.insert(int(rng.integers(len(words) + 1)), self.number())
        if chance(rng, 0.06):
            opening, closing = pick(rng, "“”", "„“", "()", "[]", "‘’", "''", '""')
            at = int(rng.integers(len(words)))
            words[at] = opening + words[at] + closing
        return self._broken(" ".join(words), language)

    def _old(self) -> str:
        rng = self.rng
        language = weighted(rng, {"french": 6, "latin": 2.5, "english": 0.7, "german": 0.6})
        spelling = OldSpelling(rng)
        words = [spelling.word(word) for word in self.some(language, int(rng.integers(1, 14)))]
        if chance(rng, 0.08):
            return self._heading(words[:4])
        self._punctuate(words, french=chance(rng, 0.35))
        if chance(rng, 0.04):
            roman = pick(rng, "xv", "ij", "lxiij", "xxviij", "iiij", "XII", "MDCXLV", "xlj")
            words.insert(0, pick(rng, f".{roman}.", f"{roman}.", "Chap. " + roman, "¶", "§"))
        if chance(rng, 0.05):
            words.append(str(int(rng.integers(1, 400))))
        return self._broken(" ".join(words), language)

    def _heading(self, words: list[str]) -> str:
        text = " ".join(words).replace("ſ", "s").upper()
        return text + pick(self.rng, "", "", ".", ",")

    def _punctuate(self, words: list[str], *, french: bool) -> None:
        """Adds stops and capitals to words, in place. French sets a space before high stops."""
        rng = self.rng
        if chance(rng, 0.3):
            words[0] = words[0][:1].upper() + words[0][1:]
        for at in range(len(words)):
            dice = rng.random()
            if dice < 0.13:
                words[at] += "," if dice < 0.09 else pick(rng, ".", ".", ";", ":", "!", "?")
                space = " " if french and words[at][-1] in ";:!?" else ""
                words[at] = words[at][:-1] + space + words[at][-1]
                if at + 1 < len(words) and words[at][-1] in ".!?":
                    words[at + 1] = words[at + 1][:1].upper() + words[at + 1][1:]
            elif dice < 0.17:
                words[at] = words[at][:1].upper() + words[at][1:]
            elif dice < 0.18:
                words[at] = f"« {words[at]} »" if french else f"«{words[at]}»"
            elif dice < 0.19:
                words[at] = pick(rng, "— ", "– ", "- ", "* ") + words[at]
        if chance(rng, 0.5):
            words[:] = [word.replace("'", "’") for word in words]

    def _broken(self, text: str, language: str) -> str:
        """Breaks off the last word at the end of some lines, as justified text has it."""
        if len(text) < 15 or not chance(self.rng, 0.2):
            return text
        head = self.some(language, 1)[0]
        return f"{text} {head[: max(2, len(head) // 2)].lower()}" + pick(self.rng, *"-----=")

    def _typescript(self) -> str:
        return self._book() if chance(self.rng, 0.75) else self._office()

    def _amount(self) -> str:
        rng = self.rng
        value = float(np.exp(between(rng, 0, 7)))
        text = f"{value:,.2f}"
        if chance(rng, 0.25):
            text = text.translate(str.maketrans(",.", ". " if chance(rng, 0.1) else ".,"))
        sign = pick(rng, *_MONEY)
        return pick(rng, text, text, text, f"{sign}{text}", f"{text} {sign}", f"{sign} {text}")

    def _digits(self, low: int, high: int) -> str:
        count = int(self.rng.integers(low, high + 1))
        return "".join(map(str, self.rng.integers(0, 10, count)))

    def _time(self) -> str:
        rng = self.rng
        day, month, year = rng.integers(1, 29), rng.integers(1, 13), rng.integers(1995, 2030)
        hour, minute, second = rng.integers(0, 24), rng.integers(0, 60), rng.integers(0, 60)
        date = pick(
            rng,
            f"{day:02d}/{month:02d}/{year}",
            f"{day:02d}-{month:02d}-{year % 100:02d}",
            f"{year}-{month:02d}-{day:02d}",
            f"{day:02d}.{month:02d}.{year}",
            self.date(),
        )
        clock = pick(
            rng, f"{hour}:{minute:02d}", f"{hour:02d}:{minute:02d}:{second:02d}",
            f"{hour % 12 + 1}:{minute:02d} {pick(rng, 'AM', 'PM', 'am', 'pm')}",
        )  # fmt: skip
        return pick(rng, date, date, clock, f"{date} {clock}")

    def _code(self) -> str:
        rng = self.rng
        letters = "".join(chr(65 + at) for at in rng.integers(0, 26, int(rng.integers(1, 4))))
        mark = pick(rng, "", "", "-", "/", ".", "_")
        return pick(
            rng,
            letters + mark + self._digits(2, 9),
            f"#{self._digits(3, 12)}",
            f"{self._digits(3, 7)}{mark or '-'}{letters[:1]}",
            f"({self._digits(5, 7)}-{letters[:1]})",
            self._digits(6, 14),
        )

    def _receipt(self) -> str:
        rng = self.rng
        goods = [
            pick(rng, *_SHOP) if chance(rng, 0.6) else self.content(1)[0]
            for _ in range(int(rng.integers(1, 6)))
        ]
        kind = weighted(
            rng,
            {"amount": 4, "goods": 4, "label": 3, "time": 1.2, "code": 1.5, "place": 1.2,
             "tel": 0.7, "quantity": 1, "short": 1},
        )  # fmt: skip
        name = " ".join(goods[:2])
        if kind == "amount":
            text = self._amount() if chance(rng, 0.7) else f"{name} {self._amount()}"
        elif kind == "goods":
            text = " ".join(goods)
            if chance(rng, 0.25):
                size = pick(rng, "G", "GM", "KG", "ML", "L", "S", "PCS")
                text += f" {self._digits(1, 3)}{size}"
            text = pick(rng, text, text, text, f"({text})", f"{text}.", f"*** {text} ***")
        elif kind == "label":
            value = pick(rng, "", self._amount(), self._code(), f"({pick(rng, *_MONEY)})")
            text = f"{name}{pick(rng, ':', ' :', '.', ' -')} {value}"
        elif kind == "place":
            text = f"NO.{pick(rng, ' ', '')}{self._digits(1, 3)}"
            text += pick(rng, ",", "-1,", "/A,", " & 33,") + f" {goods[0]} {self._digits(1, 2)}/"
            text += self._digits(1, 2) + ","
            if chance(rng, 0.6):
                text = f"{self._digits(5, 5)} {goods[0]} {goods[-1]}" + pick(rng, ".", ",", "")
        elif kind == "tel":
            text = f"{pick(rng, 'TEL', 'FAX', 'Tel', 'H/P')}{pick(rng, ':', ' :', ': ')}"
            text += f"{self._digits(2, 3)}-{self._digits(3, 4)} {self._digits(4, 4)}"
        elif kind == "quantity":
            count = int(rng.integers(1, 20))
            text = f"{count}{pick(rng, ' X ', 'x', ' x ', ' @ ', '*')}{self._amount()}"
        elif kind == "short":
            rate = pick(rng, "6", "0", "10", "20", "5.5", "6.00")
            text = pick(
                rng, self._digits(1, 3), f"{rate}%", f"@{rate}%", f"({rate}%)", goods[0][:3],
                f"{self._digits(1, 2)} X", f"-{self._amount()}", f"= {self._amount()}", "S$",
            )  # fmt: skip
        else:
            text = self._time() if kind == "time" else self._code()
        return weighted(
            rng, {text.upper(): 7, text.title(): 1.5, text.capitalize(): 1, text.lower(): 0.3}
        )

    def _office(self) -> str:
        rng = self.rng
        language = weighted(rng, {"english": 4, "french": 3, "german": 2, "other": 0.5})
        words = self.some(language, int(rng.integers(1, 8)))
        plain = "".join(word for word in words[:2] if word.isascii() and word.isalpha())
        kind = weighted(
            rng,
            {"label": 2, "item": 1.5, "heading": 1.5, "amount": 1, "mail": 1, "time": 1, "code": 1,
             "person": 1, "formula": 0.8, "reference": 0.8, "page": 0.5, "bank": 0.5},
        )  # fmt: skip
        title = " ".join(words[:4])
        title = title[:1].upper() + title[1:]
        if kind == "label":
            value = pick(rng, self.number(), self._amount(), self._code(), self.name(), words[-1])
            return f"{title}{pick(rng, ':', ':', ' :', ' =', ' –')} {value}"
        if kind == "item":
            mark = pick(rng, "•", "-", "–", "*", "·", "a)", "1.", "(ii)", f"{self._digits(1, 2)}.")
            return f"{mark} {' '.join(words)}{pick(rng, '', '.', ';', ',')}"
        if kind == "heading":
            number = f"{rng.integers(1, 13)}.{rng.integers(1, 9)}"
            return pick(rng, title, title.upper(), f"{number} {title}", f"§ {number[0]} {title}")
        if kind == "mail":
            host = f"{plain.lower() or 'example'}{pick(rng, '.com', '.org', '.fr', '.de', '.net')}"
            return pick(
                rng, f"{self.surname().lower()}@{host}", f"www.{host}",
                f"https://{host}/{words[0]}?id={self._digits(1, 5)}&p=1", f"{host}/{words[-1]}",
            )  # fmt: skip
        if kind == "person":
            return pick(rng, "M. ", "Mme ", "Dr. ", "Mr ", "", "Prof. ") + self.name()
        if kind == "formula":
            sign = pick(rng, *"+-×÷=<>±/*^~|")
            left, right = self.number(), self.number()
            return (
                f"{pick(rng, *'xyzabkn')} = {left} {sign} {right}{pick(rng, '', '%', ' °C', '²')}"
            )
        if kind == "reference":
            pages = f"{rng.integers(1, 90)}{pick(rng, '-', '–')}{rng.integers(91, 300)}"
            year = int(rng.integers(1890, 2030))
            return pick(
                rng, f"{self.surname()}, {title} ({year}), pp. {pages}.", f"[{self._digits(1, 3)}]",
                f"{self.surname()} et al., {year}; {self.surname()} & {self.surname()}, {year}",
                f"{{{plain}_{self._digits(1, 3)}}} \\{plain}", f"© {year} {self.surname()} ®",
            )  # fmt: skip
        if kind == "page":
            number = int(rng.integers(1, 20))
            return pick(
                rng, f"Page {rng.integers(1, 20)} of {rng.integers(20, 99)}", self._digits(1, 3),
                f"— {self._digits(1, 3)} —", f"- {self._digits(1, 3)} -", f"{number}/19",
            )  # fmt: skip
        if kind == "bank":
            groups = " ".join(self._digits(4, 4) for _ in range(int(rng.integers(3, 6))))
            return pick(rng, f"IBAN FR{self._digits(2, 2)} {groups}", groups, f"+33 {groups[:12]}")
        return {"amount": self._amount, "time": self._time, "code": self._code}[kind]()

    def _rare(self, rare: list[str]) -> str:
        """Words with the given characters in them, between them and alone."""
        rng = self.rng
        words = self.some(pick(rng, *LANGUAGES), int(rng.integers(2, 5)))
        for character in rare:
            if character == " ":
                continue
            at = int(rng.integers(len(words)))
            if unicodedata.combining(character[0]):
                words[at] += character
            elif unicodedata.category(character[0])[0] == "L" and len(words[at]) > 1:
                where = 0 if character.isupper() else int(rng.integers(len(words[at])))
                words[at] = words[at][:where] + character + words[at][where:]
            elif unicodedata.category(character[0]) == "Nd" or chance(rng, 0.4):
                words.insert(at, character + (self._digits(0, 3) if chance(rng, 0.5) else ""))
            else:
                words[at] = pick(rng, character + words[at], words[at] + character)
        return " ".join(words)
