"""Image -> PD, T1 and T2 maps: the diffusion prior, reverse imaging, and the map files on disk."""
