from gptjax.data.text import embedded
from gptjax.data.text.sources import open_source


def test_a_package_is_read_without_importing_it(tmp_path):
    package = tmp_path / "package"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text(
        '"""What the whole package is for, in one sentence."""\nraise RuntimeError("imported")\n'
        "if True:\n    class A:\n"
        '        """Class A has a longer docstring.\n\n        Here:\n'
        '          indented by two.   \n        """\n'
        '        def f(self):\n            "short"\n'
        '        def g(self):\n            "Another sentence that is long enough to keep."\n'
    )
    (package / "broken.py").write_text("def :")
    (package / "tests" / "test_x.py").write_text(
        '"""' + "A test is not what we are after. " * 3 + '"""'
    )
    found = dict(embedded._package("package", package))
    assert found == {
        "package/__init__.py": [
            "What the whole package is for, in one sentence.",
            "Class A has a longer docstring.\n\nHere:\n  indented by two.",
            "Another sentence that is long enough to keep.",
        ],
        "package/broken.py": [],
    }


def test_embedded_corpus(monkeypatch):
    # A fifth of it, to be quick: the reference and the beginning of the standard library.
    monkeypatch.setattr(embedded, "LIMIT_BYTES", 700_000)
    embedded.embedded_documents.cache_clear()
    source = open_source("embedded")
    texts = {document.origin: "".join(document.chunks) for document in source.documents()}
    first = source.fingerprint()
    embedded.embedded_documents.cache_clear()
    assert open_source("embedded").fingerprint() == first
    embedded.embedded_documents.cache_clear()
    assert 500_000 < sum(len(text.encode()) for text in texts.values()) <= 700_000
    assert "for" in texts["reference/for"]
    assert any(name.startswith("python/") for name in texts)
    for text in texts.values():
        assert text.strip()
        assert "\0" not in text
        text.encode()  # no half surrogates
    sentences = [text for text in texts.values() if " the " in text]
    assert len(sentences) > 0.8 * len(texts)
