"""WordNet's relations: on a made database, and on the real one where it is installed."""

import gzip
import json
import os
import shutil
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from gptjax.data.knowledge.lemmas import base_forms, find_lemmas
from gptjax.data.knowledge.relations import ITSELF, NAMES, NONE, Relations, find_pairs
from gptjax.data.knowledge.table import (
    LEMMAS,
    PAIRS,
    Knowledge,
    read_knowledge,
    read_lemmas,
    read_pairs,
    write_knowledge,
)
from gptjax.data.knowledge.wordnet import read_wordnet
from gptjax.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden"
MADE = GOLDEN / "wordnet"
SHARED = os.environ.get("GPTJAX_SHARED")
# Where Debian's package has it, or where GPTJAX_WORDNET says.
INSTALLED = Path(os.environ.get("GPTJAX_WORDNET", "/usr/share/wordnet"))


@pytest.fixture(scope="module")
def made():
    return read_wordnet(MADE)


@pytest.fixture(scope="module")
def pairs(made):
    return find_pairs(made, made.known)


def related(pairs, name):
    """The pairs with one relation, and its values."""
    place = NAMES.index(name)
    return {pair: values[place] for pair, values in pairs.items() if values[place]}


def test_the_files_are_read(made):
    assert (made.version, made.notice) == ("3.0", None)
    assert len(made.synsets) == 29
    assert made.synsets["noun", 301].words == ("dog", "hound")
    assert made.synsets["noun", 301].hypernyms == (("noun", 217),)
    assert made.synsets["noun", 813].antonyms == ((0, ("noun", 734), 0),)
    assert made.synsets["adj", 322].words == ("icy", "cold")  # without the marker of icy(a)
    assert made.words["verb"] == {"go", "move", "leave", "depart", "run"}
    assert made.exceptions["verb"] == {"left": ["leave"], "ran": ["run"]}


def test_hypernymy_counts_edges(pairs):
    assert pairs["poodle", "dog"] == Relations(hypernymy=7 / 8)
    assert pairs["poodle", "beast"] == Relations(hypernymy=6 / 8)
    assert pairs["poodle", "thing"] == Relations(hypernymy=5 / 8)
    assert pairs["run", "go"] == Relations(hypernymy=7 / 8)


def test_hyponymy_is_hypernymy_the_other_way_round(pairs):
    up, down = related(pairs, "hypernymy"), related(pairs, "hyponymy")
    assert {(second, first): value for (first, second), value in up.items()} == down
    assert len(down) == 28 + 6 + 54  # of the animals and people, the verbs and the chain


def test_the_shortest_way_counts(pairs):
    # Over beta and gamma it would be three edges.
    assert pairs["alpha", "delta"].hypernymy == 7 / 8
    assert pairs["alpha", "iota"].hypernymy == 2 / 8


def test_seven_edges_are_the_most(pairs):
    assert pairs["omega", "iota"] == Relations(hypernymy=1 / 8)
    assert ("aleph", "iota") not in pairs


def test_co_hyponyms_have_a_hypernym_in_common_right_above(pairs):
    found = set(related(pairs, "co_hyponymy"))
    families = [
        ({"animal", "beast"}, {"person"}),
        ({"dog", "hound"}, {"cat"}),
        ({"poodle"}, {"guard"}),
        ({"man"}, {"woman", "lady"}),
        ({"leave", "depart"}, {"run"}),
        ({"gamma"}, {"alpha"}),  # delta is right above alpha, too
    ]
    both = {pair for one, other in families for pair in product(one, other)}
    assert found == both | {(second, first) for first, second in both}
    assert ("poodle", "cat") not in pairs  # one level apart
    assert ("dog", "person") not in pairs  # in common is what is two above


def test_antonyms_are_words_and_not_meanings(pairs):
    assert set(related(pairs, "antonymy")) == {
        *(("man", "woman"), ("woman", "man"), ("hot", "cold"), ("cold", "hot")),
        *(("quickly", "slowly"), ("slowly", "quickly")),
    }
    assert pairs["man", "woman"] == Relations(co_hyponymy=1, antonymy=1)
    assert pairs["man", "lady"] == Relations(co_hyponymy=1)
    assert ("fast", "slowly") not in pairs


def test_synonyms_share_a_synset(pairs):
    one_way = {("dog", "hound"), ("animal", "beast"), ("woman", "lady"), ("go", "move")}
    one_way |= {("leave", "depart"), ("icy", "cold"), ("quickly", "fast")}
    both = one_way | {(second, first) for first, second in one_way}
    assert set(related(pairs, "synonymy")) == both
    assert pairs["dog", "hound"] == Relations(synonymy=1)  # and no co-hyponyms


def test_phrases_are_dropped(made, pairs):
    assert "watch_dog" not in made.known
    assert not [pair for pair in pairs if "_" in "".join(pair)]


def test_instances_are_not_followed(made, pairs):
    assert "Rex" in made.known
    assert not [pair for pair in pairs if "Rex" in pair]


def test_a_word_is_its_own_synonym_and_nothing_else(made, pairs):
    assert not [pair for pair in pairs if pair[0] == pair[1]]
    lemmas = find_lemmas(["dog", "Rex", "the"], made, {})
    knowledge = Knowledge(pairs, lemmas)
    assert knowledge.relations("dog", "dog") is not NONE
    assert knowledge.relations("dog", "dog") == knowledge.relations("Rex", "Rex") == ITSELF
    assert knowledge.relations("the", "the") == NONE  # WordNet does not have it


def test_the_order_and_the_choice_of_words(made, pairs):
    assert list(pairs) == sorted(pairs)
    some = find_pairs(made, {"dog", "animal", "nothing"})
    assert some == {pair: pairs[pair] for pair in (("animal", "dog"), ("dog", "animal"))}
    assert find_pairs(made, {"Dog", "animal"}) == {}  # capitals count


def test_a_circle_of_hypernyms_ends(tmp_path):
    folder = shutil.copytree(MADE, tmp_path / "circle")
    file = folder / "data.verb"
    text = file.read_text()
    # Below run.
    file.write_text(text.replace("go 0 move 0 000", "go 0 move 0 001 @ 00000318 v 0000"))
    pairs = find_pairs(read_wordnet(folder), {"go", "move", "run"})
    assert pairs["go", "run"] == pairs["run", "move"] == Relations(7 / 8, 7 / 8)
    assert pairs["go", "move"] == Relations(synonymy=1)


def test_another_version_is_said(tmp_path):
    folder = shutil.copytree(MADE, tmp_path / "newer")
    file = folder / "data.noun"
    file.write_text(file.read_text().replace("WordNet 3.0", "WordNet 3.1"))
    found = read_wordnet(folder)
    assert found.version == "3.1"
    assert "3.1" in found.notice
    assert "3.0" in found.notice


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("03 n 02 dog 0 hound 0 001", "03 n 03 dog 0 hound 0 001", "data.noun, line 5: is no syn"),
        ("03 n 02 dog 0 hound 0 001", "03 n 02 dog 0 hound 0 002", "line 5: is no synset"),
        ("03 n 02 dog", "03 x 02 dog", "line 5: is no synset"),
        ("00000301 03", "zebra 03", "line 5: is no synset"),
        ("poodle 0 001 @ 00000301", "poodle 0 001 @ 00000302", "points to noun 00000302"),
        ("! 00000813 n 0101", "! 00000813 n 0103", "points to noun 00000813"),
        ("! 00000813 n 0101", "! 00000813 n 0501", "points to noun 00000734"),
    ],
)
def test_damaged_files_are_named(tmp_path, old, new, message):
    folder = shutil.copytree(MADE, tmp_path / "damaged")
    file = folder / "data.noun"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message):
        read_wordnet(folder)


def test_a_folder_without_wordnet(tmp_path):
    with pytest.raises(UserError, match=r"no file data\.noun"):
        read_wordnet(tmp_path)
    shutil.copy(MADE / "data.noun", tmp_path)
    with pytest.raises(UserError, match=r"data\.verb: no such file"):
        read_wordnet(tmp_path)


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("dogs", ["dog"]),
        ("Dogs", ["dog"]),
        ("Rex", ["Rex"]),
        ("men", ["man"]),  # of the exceptions
        ("women", ["woman"]),  # of a rule
        ("left", ["leave"]),
        ("running", []),  # the rules know no doubled letters
        ("leaving", ["leave"]),
        ("colder", ["cold"]),
        ("moved", ["move"]),
        ("zebra", []),
    ],
)
def test_base_forms(made, word, forms):
    assert list(base_forms(word, made)) == forms


def test_base_forms_that_are_given_win(made):
    given = {"left": [], "hounds": ["dog", "unknown"], "ran": ["unknown"]}
    words = ["left", "Hounds", "ran", "cats"]
    assert find_lemmas(words, made, given) == {"Hounds": ["dog"], "cats": ["cat"]}


def test_words_are_looked_up_by_all_their_base_forms(made, pairs):
    lemmas = {"going": ["go", "run"], "left": ["leave"], "dogs": ["dog"]}
    knowledge = Knowledge(pairs, lemmas)
    assert knowledge.relations("left", "going") == Relations(hypernymy=7 / 8, co_hyponymy=1)
    assert knowledge.relations("Left", "Going") == knowledge.relations("left", "going")
    found = knowledge.between(["dogs", "left", ","], ["going", "left"])
    assert (found.shape, found.dtype) == ((3, 2, 5), np.float32)
    for row, one in enumerate(["dogs", "left", ","]):
        for column, other in enumerate(["going", "left"]):
            assert tuple(found[row, column]) == knowledge.relations(one, other)
    assert not found[0].any()
    assert not found[2].any()


def test_of_several_base_forms_each_relation_has_its_highest_value(pairs):
    """Worked out pair by pair."""
    words = sorted({word for pair in pairs for word in pair})
    lemmas = {f"{one}+{other}": [one, other] for one, other in pairwise(words)}
    lemmas |= {word: [word] for word in words[::2]} | {"none": []}
    knowledge = Knowledge(pairs, lemmas)

    def slowly(first, second):
        values = [
            ITSELF if one == other else pairs.get((one, other), NONE)
            for one in knowledge.base_forms(first)
            for other in knowledge.base_forms(second)
        ]
        return Relations(*map(max, zip(NONE, *values, strict=True)))

    asked = [*lemmas, "unknown"]
    found = knowledge.between(asked, asked)
    for (row, one), (column, other) in product(enumerate(asked), enumerate(asked)):
        assert tuple(found[row, column]) == slowly(one, other), (one, other)
        assert knowledge.relations(one, other) == slowly(one, other)
    places = [(row, column) for row, column, _ in knowledge.related(asked, asked)]
    assert places == [*zip(*found.any(-1).nonzero(), strict=True)]


def test_the_tables_round_trip_with_the_same_bytes(tmp_path, made, pairs):
    knowledge = Knowledge(pairs, find_lemmas(["dogs", "Rex", "left"], made, {}))
    for folder in ("a", "b"):
        write_knowledge(knowledge, tmp_path / folder)
    assert read_knowledge(tmp_path / "a") == knowledge
    for name in (PAIRS, LEMMAS):
        packed = (tmp_path / "a" / name).read_bytes()
        assert packed == (tmp_path / "b" / name).read_bytes()
        assert packed[4:8] == bytes(4)  # no time
    lines = gzip.decompress((tmp_path / "a" / PAIRS).read_bytes()).decode().splitlines()
    assert lines[0] == "word1\tword2\thypernymy\thyponymy\tco_hyponymy\tantonymy\tsynonymy"
    assert "poodle\tdog\t0.875\t0\t0\t0\t0" in lines
    (tmp_path / "plain.tsv").write_text("\n".join(lines))
    assert read_pairs(tmp_path / "plain.tsv") == pairs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with the columns"),
        (b"a\tb\n", "line 1: has 2 columns, not 7"),
        (b"\xff", "is damaged"),
        (b"\x1f\x8bnothing", "is damaged"),
        (b"HEADER\na\tb\t0\t0\t0\t0\tx\n", "line 2: its values"),
        (b"HEADER\na\tb\t0\t0\t0\t0\t2\n", "line 2: its values"),
        (b"HEADER\na\tb\t0\t0\t0\t0\tnan\n", "line 2: its values"),
        (b"HEADER\na\tb\t0\t0\t0\t0\t0\n", "line 2: its values"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, content, message):
    header = b"\t".join(name.encode() for name in ("word1", "word2", *NAMES))
    (tmp_path / PAIRS).write_bytes(content.replace(b"HEADER", header))
    with pytest.raises(UserError, match=message):
        read_pairs(tmp_path / PAIRS)


@pytest.fixture(scope="module")
def real():
    """WordNet 3.0."""
    if SHARED is None:
        pytest.skip("GPTJAX_SHARED is not set: WordNet's recorded relations are not at hand")
    if not (INSTALLED / "data.noun").exists():
        pytest.skip(f"no WordNet in {INSTALLED}: apt-get install wordnet-base, or GPTJAX_WORDNET")
    found = read_wordnet(INSTALLED)
    if found.notice is not None:
        pytest.skip(f"WordNet 3.0 is needed, and {INSTALLED} has {found.version}")
    return found


def test_the_relations_of_nli_are_the_recorded_ones(real, tmp_path):
    folder = Path(SHARED) / "data" / "wordnet"
    lemmas = read_lemmas(folder / "lemmas_nli.tsv.gz")
    words = {*lemmas, *(form for forms in lemmas.values() for form in forms)}
    found, recorded = find_pairs(real, words), read_pairs(folder / "pairs_nli.tsv.gz")
    assert found == recorded
    write_knowledge(Knowledge(found, {}), tmp_path)
    packed = [(tmp_path / PAIRS), (folder / "pairs_nli.tsv.gz")]
    assert len({gzip.decompress(file.read_bytes()) for file in packed}) == 1


def test_the_pairs_that_were_recorded_singly(real):
    file = Path(SHARED) / "reference" / "ancestors" / "kim_wordnet.json"
    recorded = json.loads(file.read_text())
    assert recorded["order"] == list(NAMES)
    split = {tuple(pair.split(";")): values for pair, values in recorded["pairs"].items()}
    words = {word for pair in split for word in pair}
    knowledge = Knowledge(find_pairs(real, words), {word: [word] for word in words & real.known})
    for (first, second), values in split.items():
        assert knowledge.relations(first, second) == tuple(values or NONE), (first, second)
    counts = recorded["counts"]
    assert len(real.synsets) == counts["synsets"]
    assert sum(len(one.hypernyms) for one in real.synsets.values()) == counts["hypernym_links"]
    assert sum(len(one.antonyms) for one in real.synsets.values()) == counts["antonym_links"]
    assert len(real.known) == counts["words_without_phrases"]


def test_the_rules_give_nearly_the_recorded_base_forms(real):
    recorded = read_lemmas(Path(SHARED) / "data" / "wordnet" / "lemmas_nli.tsv.gz")
    # Those there are of any capitals.
    known = {
        word: [form for form in forms if form in real.known] for word, forms in recorded.items()
    }
    same = [list(base_forms(word, real)) == forms for word, forms in known.items()]
    assert np.mean(same) > 0.997
