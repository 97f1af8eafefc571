"""A language model on the text of a task, before fine-tuning on it."""

import json

import pytest

from gptjax.cli import main
from gptjax.data.tokenizers.open import load_tokenizer
from tests.commands.conftest import TINY
from tests.commands.finetune.common import results
from tests.commands.test_resume import assert_same_arrays

pytestmark = pytest.mark.usefixtures("own_cache")
