"""Random contrasts from PD, T1 and T2 maps, as batchgeneratorsv2 transforms."""
