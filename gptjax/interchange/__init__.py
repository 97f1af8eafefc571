"""Models in other people's files: OpenAI's of 2018, and the hub's."""
