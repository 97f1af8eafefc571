"""`gptjax tasks` and `gptjax completion`."""

import shutil
import subprocess

import pytest

from gptjax.cli import COMMANDS, main
from gptjax.commands import completion
from gptjax.data.tasks.table import TASKS


def test_the_table_of_tasks_has_them_all(capsys):
    assert main(["tasks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, task in TASKS.items():
        (line,) = (line for line in lines if line.split()[:1] == [name])
        assert task.format in line
        assert task.metrics[0] in line
    assert any("89.9" in line for line in lines if line.startswith("snli"))


def complete(script, *words):
    """What bash offers for the last word."""
    typed = " ".join(f"'{word}'" for word in words)
    code = f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _gptjax"
    run = subprocess.run(
        ["bash", "-c", f'{code}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_commands_and_options(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    assert main(["completion"]) == 0
    script = tmp_path / ".local/share/bash-completion/completions/gptjax"
    assert str(script) in capsys.readouterr().out
    assert complete(script, "gptjax", "pre") == ["predict", "pretrain"]
    assert complete(script, "gptjax", "pretrain", "--train.ba") == ["--train.batch-size"]
    assert complete(script, "gptjax", "finetune", "--max-t") == ["--max-train"]
    assert complete(script, "gptjax", "import", "--i") == ["--init"]
    assert complete(script, "gptjax", "pretrain", "book") == []
    assert set(complete(script, "gptjax", "")) == set(COMMANDS)


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_has_all_commands(shell, capsys):
    assert main(["completion", "--shell", shell, "--show"]) == 0
    script = capsys.readouterr().out
    for command in COMMANDS:
        assert f" {command}" in script
    assert "train.batch-size" in script


def test_an_unknown_shell_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("SHELL", "/bin/csh")
    assert main(["completion"]) == 2
    assert "choose one of bash, zsh, fish" in capsys.readouterr().err
