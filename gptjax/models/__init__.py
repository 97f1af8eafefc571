"""The arrays wing: parameters and arrays in, arrays out; knows no text, no task, no device."""

from gptjax.models import backbone as backbone  # Every family is known wherever there is a config.
