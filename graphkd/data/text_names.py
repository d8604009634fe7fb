"""Which classes hold running text, guessed from their names; for models whose data set is not at
hand.
"""

import re
from collections.abc import Sequence

from graphkd.data.layouts import GENERATED, KNOWN

# "Section-header" is a header, "TableCaption" a caption: the last of these words decides.
_TEXT = frozenset(
    "abstract address author authors body caption catchword code colophon comment date entry "
    "footer footnote footnotes foreword header heading headline index item line lines list "
    "lists main margin marginalia note notes number numbering paragraph paragraphs quire "
    "quote reference references rubric running section sidebar signature subtitle text texts "
    "title titles toc word words".split()
)
_NONTEXT = frozenset(
    "advertisement background capital chart charts chem cover damage decoration diagram drawing "
    "equation figure figures form formula formulas frame graphic graphics illustration image "
    "images initial logo map maps math maths music ornament other photo photograph picture "
    "pictures plot seal separator separators stamp table tables".split()
)


def text_names(classes: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The text classes of a class list.

    A list that is exactly that of a known data set has that set's text classes. Otherwise the last
    telling word of a name decides ("Section-header" is a header, "TableCaption" a caption);
    a name without one is no text.

    Args:
        classes: class names.

    Returns:
        Those that are text, in their order, and where that comes from, as the end of a sentence.
    """
    for layout in (*KNOWN, *GENERATED):
        if tuple(classes) == layout.classes:
            return layout.text_classes, f"as in {layout.name.rpartition('_')[0]}"
    return tuple(name for name in classes if _is_text(name)), "guessed from the names"


def _is_text(name: str) -> bool:
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    for word in reversed([part.lower() for part in parts]):
        if word in _TEXT:
            return True
        if word in _NONTEXT:
            return False
    return False
