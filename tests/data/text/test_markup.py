"""Documents without the escapes of HTML: as the library reads the whole text, in any chunks."""

import html

import pytest

from gptjax.data.text.corpus import prepare_whole
from gptjax.data.text.markup import unescaped
from gptjax.data.text.settings import CorpusConfig

TEXTS = [
    "",
    "a & b &",
    "&amp;&lt;b&gt; &quot;x&quot; &#39;y&#39; &#x27; &#X41;",
    "&ampx &notit; &notin; &noti &CounterClockwiseContourIntegral; &nosuch;",
    "&#0; &#128; &#xD800; &#1; &#99999999999; &# ; &#x; &#xg &#12",
    "&amp;amp; &&amp;&&lt &<p> &" + "a" * 40 + ";",
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_any_chunks_give_what_the_whole_text_gives(size):
    for text in [*TEXTS, " ".join(TEXTS)]:
        chunks = (text[i : i + size] for i in range(0, len(text), size))
        assert "".join(unescaped(chunks)) == html.unescape(text)


def test_a_corpus_is_another_one_only_where_it_is_asked_for(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("the old house &amp; garden")
    plain = CorpusConfig(data=str(tmp_path / "a.txt"))
    read = CorpusConfig(data=str(tmp_path / "a.txt"), unescape_html=True)
    whole = [prepare_whole(config, tokenizer) for config in (plain, read)]
    assert whole[0].fingerprint != whole[1].fingerprint
    texts = [tokenizer.decode(one.tokens) for one in whole]
    assert texts == ["the old house &amp; garden", "the old house & garden"]
    assert whole[1].bytes == len(texts[1])
