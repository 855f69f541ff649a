"""Know what a language model knows before you fine-tune it, and prove that the tuning did not break it."""

__version__ = "0.1.0"
