"""Defaults of the commands, apart from the modules that use them: `-h` must not import torch."""

DENOISER_STEPS = 6000
"""Optimiser steps of the denoiser. A choice."""
PIXEL_MM = 1.0
"""Pixel size at which a model works: a usual one of LGE, finer than most cine and T2 images. A choice."""
STEPS = 25
"""Steps of DPM-Solver++ (Lu et al., 2022, arXiv:2211.01095), which needs 15 to 20 for guided sampling."""
STRENGTH = 0.7
"""Share of the steps that are taken from a given channel with noise. A choice."""
