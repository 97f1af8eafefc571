"""The command line when nobody reads what it prints any more, as after `| head`."""

import os
import subprocess
import sys

import pytest

from gptjax.cli import main


@pytest.fixture
def closed_pipe():
    """The writing end of a pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_a_reader_that_has_left_is_no_error(closed_pipe, word):
    words = [sys.executable, "-m", "gptjax", word]
    done = subprocess.run(words, stdout=closed_pipe, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_nor_is_it_one_for_the_help_of_a_command(closed_pipe, monkeypatch):
    with open(closed_pipe, "w", closefd=False, encoding="utf-8") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        assert main(["tokenizer", "--help"]) == 0


def test_without_a_standard_output_errors_are_still_told(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout", None)  # as Python has it where there is none
    assert main(["--version"]) == 0
    assert main(["pretrian"]) == 2
    assert "did you mean 'pretrain'" in capsys.readouterr().err
