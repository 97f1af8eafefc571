"""The scripts lie on the path (`pythonpath` in setup.cfg); what they start is played."""

from tests.sweep.conftest import no_pictures, player, pretrained

__all__ = ["no_pictures", "player", "pretrained"]
