"""From images to PD, T1 and T2 maps: the diffusion prior, reverse imaging, and the maps' copies for nnU-Net."""
