"""Words, sentences, names and numbers for generated pages."""

from functools import lru_cache

import numpy as np

_COMMON = (
    "the of and to a in is that for it as with on by are this be from at or an which was not has "
    "have can between these each more than when under also into its both may only such after if "
    "over other where while their most all first then but within two new same no so"
).split()

_CONTENT = (
    "water field result model part system value method group case light report order river price "
    "change measure surface region office number study paper figure sample market process plan "
    "ground series letter city house year level line power engine valve switch panel cable filter "
    "pressure growth signal layer heat grain stone wood metal glass paint bridge harbour station "
    "journey archive page margin column record index volume chapter author reader printer edition "
    "weight length depth speed angle volume density energy charge current field phase wave source "
    "target network graph node edge teacher student batch feature image object scale sum mean "
    "limit rate share budget income cost asset profit loss service contract client member "
    "council review audit policy rule claim risk test trial patient cell tissue protein dose blood "
    "season winter summer forest meadow garden animal bird fish plant leaf root seed soil rain "
    "wind small large early late strong clear open public local common simple direct stable "
    "annual rapid narrow broad deep high low warm cold dry thin thick exact rough smooth recent "
    "shows gives finds takes makes holds keeps moves turns opens follows reaches remains depends "
    "increases reduces compares describes contains requires allows suggests confirms provides "
    "observed measured reported expected selected combined removed applied shown given taken"
).split()

_ONSETS = "b c d f g l m n p r s t v br cl cr dr fl gr pl pr st tr sp".split()
_VOWELS = "a e i o u a e i o ea ou".split()
_CODAS = ["", "", "n", "r", "l", "s", "t", "m", "nd", "st", "x"]
_ENDINGS = ["", *"tion ment al ic ity ous ive ance or al ed ing ate ary ism".split()]
_SURNAME_ENDINGS = "son er man ard ini ova ski berg well ton ez aki".split()


@lru_cache(maxsize=1)
def vocabulary() -> tuple[tuple[str, ...], np.ndarray]:
    """All words, the commonest first, and their cumulative Zipf-like frequencies (ending at 1)."""
    rng = np.random.default_rng(20)
    made = []
    while len(made) < 420:
        stem = "".join(_syllable(rng) for _ in range(int(rng.integers(1, 3))))
        word = stem + _ENDINGS[int(rng.integers(len(_ENDINGS)))]
        if 4 <= len(word) <= 13:
            made.append(word)
    real = list(dict.fromkeys(_CONTENT))
    content = [real[i] for i in rng.permutation(len(real))] + made
    words = (*_COMMON, *dict.fromkeys(content))
    ranks = np.arange(1, len(words) + 1)
    weights = 1.0 / (ranks + 2.7)
    weights[len(_COMMON) :] *= 2.0
    total = np.cumsum(weights)
    return words, total / total[-1]


def _syllable(rng: np.random.Generator) -> str:
    parts = (_ONSETS, _VOWELS, _CODAS)
    return "".join(part[int(rng.integers(len(part)))] for part in parts)


class Writer:
    """Makes random text; all methods use one random generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.words_, self.cumulative = vocabulary()

    def words(self, count: int) -> list[str]:
        """`count` words in their natural frequencies, lower case."""
        picks = np.searchsorted(self.cumulative, self.rng.random(count))
        return [self.words_[i] for i in picks]

    def content(self, count: int) -> list[str]:
        """`count` content words (no articles, prepositions and the like), lower case."""
        # The square prefers the front of the list, where the ordinary words are.
        span = len(self.words_) - len(_COMMON)
        picks = len(_COMMON) + (self.rng.random(count) ** 2 * span).astype(int)
        return [self.words_[i] for i in picks]

    def sentence(self, count: int | None = None) -> list[str]:
        """One sentence: a capital first, commas, now and then a number or citation, a full stop."""
        rng = self.rng
        count = int(rng.integers(6, 24)) if count is None else count
        words = self.words(count)
        words[-1] = self.content(1)[0]
        words[0] = words[0].capitalize()
        dice = rng.random(4)
        if count > 9 and dice[0] < 0.7:
            words[count // 2] += ","
        if dice[1] < 0.2:
            words.insert(count // 3, self.number())
        if dice[2] < 0.12:
            words.append(f"[{int(rng.integers(1, 60))}]")
        elif dice[2] < 0.2:
            words += [f"({self.surname()}", f"{int(rng.integers(1950, 2024))})"]
        words[-1] += ";" if dice[3] < 0.03 else "."
        return words

    def paragraph(self, sentences: int) -> list[str]:
        """That many sentences as one list of words."""
        return [word for _ in range(sentences) for word in self.sentence()]

    def heading(self, count: int, *, caps: str = "title") -> list[str]:
        """A heading of `count` words: `title` case, `upper` case or `sentence` case."""
        words = self.content(count)
        for i in range(1, count - 1, 2):
            if self.rng.random() < 0.5:
                words[i] = self.words_[int(self.rng.integers(0, 12))]
        if caps == "upper":
            return [word.upper() for word in words]
        if caps == "title":
            small = [i > 0 and word in _COMMON for i, word in enumerate(words)]
            return [w if low else w.capitalize() for w, low in zip(words, small, strict=True)]
        return [words[0].capitalize(), *words[1:]]

    def number(self) -> str:
        """A number as tables and sentences carry it: integers, decimals, thousands, per cent."""
        rng = self.rng
        form = int(rng.integers(5))
        if form == 0:
            return str(int(rng.integers(1, 999)))
        if form == 2:
            return f"{int(rng.integers(1000, 99999)):,}"
        share = rng.random()
        return {1: f"{share * 10:.2f}", 3: f"{share * 100:.1f}%", 4: f"{share:.3f}"}[form]

    def surname(self) -> str:
        """An invented family name."""
        ending = _SURNAME_ENDINGS[int(self.rng.integers(len(_SURNAME_ENDINGS)))]
        return (_syllable(self.rng) + ending).capitalize()

    def name(self) -> str:
        """An invented person: initial and family name, or two names."""
        if self.rng.random() < 0.5:
            return f"{'ABCDEFGHJKLMNPRSTVW'[int(self.rng.integers(19))]}. {self.surname()}"
        return f"{(_syllable(self.rng) + 'a').capitalize()} {self.surname()}"

    def date(self) -> str:
        """A date as letters and reports print it."""
        month = ("January March April May June July August October November").split()
        rng = self.rng
        day, year = int(rng.integers(1, 29)), int(rng.integers(1960, 2025))
        return f"{day} {month[int(rng.integers(9))]} {year}"
