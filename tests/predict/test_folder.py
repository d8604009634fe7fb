import pytest

from graphkd.predict.folder import Names, safe_stem


def test_no_name_is_given_twice():
    names = Names()
    taken = [
        names.take("a/page.png", 1, 1),
        names.take("b/page.png", 1, 1),
        names.take("b/Page.jpg", 1, 1),
        names.take("book_p0001.png", 1, 1),
        names.take("book.pdf", 1, 3),
        names.take("book.pdf", 2, 3),
        names.take("book.pdf", 3, 1),  # page 3 alone was asked for
    ]
    assert taken == [
        "page",
        "page~2",
        "Page~3",
        "book_p0001",
        "book_p0001~2",
        "book_p0002",
        "book_p0003",
    ]


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("x/Seite 1 (neu).png", "Seite_1__neu_"),
        ("../../etc/passwd", "passwd"),
        ("..", "page"),
        (".hidden.png", "hidden"),
        ("a:b*c?.pdf", "a_b_c_"),
        ("和本.jpg", "和本"),
        ("con.png", "con_"),
        ("nul.tar.png", "nul.tar_"),
        ("a.b.c.png", "a.b.c"),
        ("image 3", "image_3"),
        ("\ufffd.png", "_"),
    ],
)
def test_names_are_safe(source, stem):
    assert safe_stem(source) == stem


def test_long_names_are_cut_between_letters():
    name = safe_stem("本" * 300 + ".png")
    assert name == "本" * 40
