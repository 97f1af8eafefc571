"""Configs: TOML round trip, strict keys, options over files."""

import dataclasses
import pickle
from pathlib import Path
from typing import Literal

import pytest

from gptjax import config, options
from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.models.lstm_config import LSTMConfig
from gptjax.models.transformer import TransformerConfig


@dataclasses.dataclass(frozen=True)
class Section:
    steps: int | None = None
    """Updates."""
    rate: float = 0.1
    """Learning rate."""
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ("x", "y")
    flag: bool = True
    told: bool | None = None


@dataclasses.dataclass(frozen=True)
class Root:
    """A command."""

    section: Section = Section()
    init: str | None = None
    out: str | None = config.invocation(None)


def test_toml_round_trip(tmp_path):
    value = Root(section=Section(steps=3, rate=1e-4, names=("z",), flag=False), out="somewhere")
    config.write(value, tmp_path / "c.toml")
    assert config.read(Root, tmp_path / "c.toml") == dataclasses.replace(value, out=None)
    assert "out" not in (tmp_path / "c.toml").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sektion]\n", "unknown key 'sektion'; did you mean 'section'?"),
        ("[section]\nstep = 1\n", "unknown key 'section.step'; did you mean 'steps'?"),
        ("[section]\nqqq = 1\n", "known: flag, kind, names, rate, steps, told"),
        ("[section]\nsteps = 'many'\n", "section.steps = 'many' is no int"),
        ("[section]\nsteps = true\n", "section.steps = True is no int"),
        ("[section]\nsteps = 1.5\n", "section.steps = 1.5 is no int"),
        ("[section]\nkind = 'c'\n", "section.kind = 'c'; one of 'a', 'b'"),
        ("section = 3\n", "'section' is a section"),
        ("out = 'x'\n", "unknown key 'out'"),
        ("[section\n", "cannot be read as TOML"),
        ("[section]\nrate = inf\n", "section.rate = inf: it must be a finite number"),
        ("[section]\nrate = nan\n", "section.rate = nan: it must be a finite number"),
        ("[section]\nrate = -1e39\n", "section.rate = -1e+39: it must be a finite number"),
    ],
)
def test_bad_toml_is_one_line(tmp_path, text, message):
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        config.read(Root, path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such config file"):
        config.read(Root, tmp_path / "c.toml")


def test_an_integer_fits_a_float_field(tmp_path):
    (tmp_path / "c.toml").write_text("[section]\nrate = 1\n")
    value = config.read(Root, tmp_path / "c.toml").section.rate
    assert value == 1.0
    assert isinstance(value, float)


def test_options_win_over_the_file_and_the_file_over_defaults(tmp_path):
    (tmp_path / "c.toml").write_text("[section]\nrate = 0.5\nsteps = 7\n")

    def defaults(given: Root):
        assert given.section.rate == 0.25  # what was typed is known when the file is chosen
        return config.read(Root, tmp_path / "c.toml")

    value = options.parse(Root, ["--section.rate", "0.25"], prog="x", defaults=defaults)
    assert value.section == Section(rate=0.25, steps=7)


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e39"])
def test_an_option_is_a_finite_number(number):
    def base_of(given: Root) -> Root:
        return Root()

    for defaults in (None, base_of):
        with pytest.raises(UserError, match=r"`section\.rate=\S+`: it must be a finite number"):
            options.parse(Root, [f"--section.rate={number}"], prog="x", defaults=defaults)


@pytest.mark.parametrize(
    ("word", "value"),
    [("true", True), ("False", False), ("false", False), ("None", None), ("none", None)],
)
def test_yes_no_or_unsaid_in_any_case(word, value, capsys):
    typed = options.parse(Root, ["--section.told", word], prog="test")
    assert typed.section.told is value
    with pytest.raises(SystemExit, match="2"):
        options.parse(Root, ["--section.told", "maybe"], prog="test")
    assert "'maybe' is none of True, False and None" in capsys.readouterr().err


def test_an_unknown_option_exits_2_and_names_the_nearest(capsys):
    with pytest.raises(SystemExit) as caught:
        options.parse(Root, ["--section.rat", "1"], prog="x")
    assert caught.value.code == 2
    assert "--section.rate" in capsys.readouterr().err


def test_a_preset_is_named_and_a_file_has_a_path():
    for path in ("./tiny", "some/tiny", "/tiny", "tiny.toml", "tiny/"):
        assert config.config_file(path) == Path(path)
    tiny = config.config_file("tiny")
    assert tiny.is_file()
    assert tiny.parent == Path(config.__file__).parent / "configs"
    for name, hint in (
        ("tinny", "did you mean 'tiny'? presets: awd-lstm, bilm, gpt1, "),
        ("qq", "presets: awd-lstm, bilm, gpt1, "),
    ):
        with pytest.raises(UserError, match="no such preset") as caught:
            config.config_file(name)
        assert hint in str(caught.value)
        assert "\n" not in str(caught.value)


@dataclasses.dataclass(frozen=True)
class Model:
    """A command with a model."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)


@dataclasses.dataclass(frozen=True)
class Nothing:
    """No option chooses the defaults."""


def parse_model(*words, **defaults):
    def over(given: Nothing):
        return Model(ModelConfig(**defaults))

    return options.parse(Model, words, prog="x", defaults=over)


def read_model(tmp_path, text):
    (tmp_path / "c.toml").write_text(f"[model]\n{text}")
    return config.read_resolved(Model, tmp_path / "c.toml").model


def test_a_kind_has_a_config_of_its_own(tmp_path):
    assert type(ModelConfig(num_layers=3)) is TransformerConfig
    lstm = ModelConfig(kind="lstm", units=5, num_layers=3)
    assert lstm == LSTMConfig(units=5, num_layers=3) == pickle.loads(pickle.dumps(lstm))
    for model in (lstm, TransformerConfig(norm="pre", mlp_width=7)):
        config.write(Model(model), tmp_path / "c.toml")
        assert config.read(Model, tmp_path / "c.toml") == Model(model)
        assert config.read_resolved(Model, tmp_path / "c.toml") == Model(model)
    assert "norm" not in config.to_table(lstm)


def test_an_old_table_has_the_settings_of_every_kind(tmp_path):
    shared = 'width = 32\nnum_heads = 2\nnorm = "post"\nattention_dropout = 0.3\n'
    shared += 'fidelity = "paper"\nattention = "fused"\nrematerialize = false\n'
    expected = LSTMConfig(width=32, num_heads=2, units=9)
    assert read_model(tmp_path, f'kind = "lstm"\nunits = 9\n{shared}') == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kind = "lstm"\nnorm = "pre"', "model.norm pre: an LSTM has no such thing"),
        ('kind = "lstm"\nnrom = "pre"', "unknown key 'model.nrom'"),
        ('kind = "lstm"\nwidht = 3', "did you mean 'width'?"),
        ("units = 3", "model.units 3: a transformer has no such thing"),
        ('kind = "lstn"', "model.kind = 'lstn'; one of .*'lstm', 'mlstm', 'transformer'"),
        ("kind = [1]", r"model.kind = \[1\]; one of"),
    ],
)
def test_settings_of_another_kind_are_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read_model(tmp_path, text)
    assert str(tmp_path / "c.toml") in str(caught.value)


def test_the_kind_that_is_typed_has_the_options():
    typed = parse_model("--model.kind", "lstm", "--model.units", "4", width=24, num_heads=2)
    assert typed == Model(LSTMConfig(width=24, num_heads=2, units=4))
    assert parse_model("--model.kind=transformer", kind="lstm").model == TransformerConfig()
    assert parse_model("--model.units", "4", kind="lstm").model == LSTMConfig(units=4)
    assert parse_model("--model.norm", "pre").model == TransformerConfig(norm="pre")


@pytest.mark.parametrize(
    ("words", "base", "message"),
    [
        (("--model.kind", "lstm", "--model.norm", "pre"), {}, "--model.norm: an LSTM has no such"),
        (("--model.no-rematerialize",), {"kind": "lstm"}, "--model.rematerialize: an LSTM"),
        (("--model.units", "3"), {}, "--model.units: a transformer has no such thing"),
        (("--model.kind", "lstm"), {"norm": "pre"}, "model.norm pre: an LSTM has no such thing"),
        (("--model.kind", "gru"), {}, "model.kind = 'gru'; one of"),
    ],
)
def test_an_option_of_another_kind_is_refused(words, base, message):
    with pytest.raises(UserError, match=message):
        parse_model(*words, **base)


def test_help_shows_one_kind(capsys):
    with pytest.raises(SystemExit):
        parse_model("--model.kind", "lstm", "--help")
    shown = capsys.readouterr().out
    assert "--model.units" in shown
    assert "--model.norm" not in shown


def test_options_of_another_kind_that_change_nothing_are_left_out():
    """They could always be typed with an LSTM, which has no attention and no LayerNorm."""
    words = ["--model.norm", "post", "--model.width", "8", "--model.attention_dropout", "0.2"]
    model = parse_model("--model.kind", "lstm", *words, "--model.attention=fused").model
    assert model == LSTMConfig(width=8)


def test_fields_that_came_later(tmp_path):
    """An older run has what was done before; what is False in a run that goes on stays False."""

    @dataclasses.dataclass(frozen=True)
    class Inner:
        links: bool | None = config.since(before=False, now=True)
        end: bool | None = config.since(before=False)

    @dataclasses.dataclass(frozen=True)
    class Outer:
        inner: Inner = dataclasses.field(default_factory=Inner)

    new, typed = config.settled(Outer()), Outer(Inner(links=False, end=True))
    assert new == Outer(Inner(links=True, end=None))
    assert config.settled(typed) == typed
    older = Outer(Inner(links=False, end=False))
    assert config.settled(Outer(), older) == older
    assert config.settled(typed, new) == typed
    (tmp_path / "config.toml").write_text("[inner]\n")
    assert config.read_resolved(Outer, tmp_path / "config.toml") == older
