"""What `gptjax doctor` says of extras."""

import sys

from gptjax.commands.doctor import _extras

GPTJAX = """Metadata-Version: 2.4
Name: gptjax
Version: 1
Requires-Dist: numpy>=2
Requires-Dist: jax[cuda13]; extra == "gpu"
Requires-Dist: lm_eval>=0.4; extra == "one"
Requires-Dist: lm_eval; extra == "two"
Requires-Dist: not-here<3; python_version > "3" and extra == 'two'
"""


def test_extras_are_those_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert _extras() == {}
    for name, text in (("gptjax", GPTJAX), ("lm_eval", "Name: lm-eval\nVersion: 1\n")):
        (tmp_path / f"{name}-1.dist-info").mkdir()
        (tmp_path / f"{name}-1.dist-info" / "METADATA").write_text(text)
    assert _extras() == {"one": [], "two": ["not-here"]}
