"""What a GPU makes of this package: do its results agree with a CPU's, and how fast is it. See `__main__.py`."""
